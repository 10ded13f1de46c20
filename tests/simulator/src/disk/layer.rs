//! SQLite's calls of its file system.

#![expect(unsafe_code, reason = "SQLite calls its file system through pointers")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::size_of,
    ptr, thread,
};

use libsqlite3_sys as sqlite;
use sqlite::{sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::{Disk, Fate, Operation, Unsynced};

/// Our part of an open file; SQLite's own follows it in memory.
#[repr(C)]
struct File {
    base: sqlite3_file,
    about: *mut About,
}

/// Whose file it is.
struct About {
    disk: Disk,
    run: u64,
    path: Option<String>,
}

/// Our file system, and the one beneath.
struct Layer {
    disk: Disk,
    beneath: *mut sqlite3_vfs,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

pub(super) fn register(disk: &Disk) -> anyhow::Result<()> {
    // SAFETY: `sqlite3_vfs_find` returns SQLite's own layer, which lives as long as the process. Ours is leaked, so it does, too.
    unsafe {
        let beneath = sqlite::sqlite3_vfs_find(ptr::null());
        anyhow::ensure!(!beneath.is_null(), "SQLite has no file system");
        let layer = Box::leak(Box::new(Layer { disk: disk.clone(), beneath }));
        let mut vfs = ptr::read(beneath);
        vfs.iVersion = 2;
        vfs.szOsFile += c_int::try_from(size_of::<File>())?;
        vfs.pNext = ptr::null_mut();
        vfs.zName = c"simulated".as_ptr();
        vfs.pAppData = ptr::from_mut(layer).cast();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.xAccess = Some(access);
        vfs.xFullPathname = Some(full_pathname);
        vfs.xRandomness = Some(randomness);
        vfs.xSleep = Some(sleep);
        vfs.xCurrentTime = Some(current_time);
        vfs.xCurrentTimeInt64 = Some(current_time_int64);
        vfs.xGetLastError = Some(get_last_error);
        let done = sqlite::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1);
        anyhow::ensure!(done == sqlite::SQLITE_OK, "SQLite refuses the simulated file system: {done}");
    }
    Ok(())
}

/// What a function answers whose counterpart beneath is missing, which no version of SQLite lacks.
const MISSING: c_int = sqlite::SQLITE_ERROR;

/// Calls a method of SQLite's own part of a file.
macro_rules! beneath {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls our methods with files that `open` has set up, so its own part follows ours in memory, and its
        // methods are set as long as the file is open.
        unsafe {
            let own = $file.cast::<u8>().add(size_of::<File>()).cast::<sqlite3_file>();
            match (*own).pMethods.as_ref().and_then(|methods| methods.$method) {
                Some(method) => method(own $(, $argument)*),
                None => MISSING,
            }
        }
    }};
}

/// Calls a function of SQLite's own file system.
macro_rules! own_vfs {
    ($vfs:expr, $function:ident $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls our functions with the layer that `register` has made, which lives as long as the process.
        unsafe {
            let layer = &*(*$vfs).pAppData.cast::<Layer>();
            match (*layer.beneath).$function {
                Some(function) => function(layer.beneath $(, $argument)*),
                None => MISSING,
            }
        }
    }};
}

fn about<'a>(file: *mut sqlite3_file) -> &'a About {
    // SAFETY: `open` has set it, and `close` frees it last.
    unsafe { &*(*file.cast::<File>()).about }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: as in `beneath!`; SQLite gives us `szOsFile` bytes for the file, and a name that ends with a zero byte, if any.
    unsafe {
        let layer = &*(*vfs).pAppData.cast::<Layer>();
        let own = file.cast::<u8>().add(size_of::<File>()).cast::<sqlite3_file>();
        (*file).pMethods = ptr::null();
        (*own).pMethods = ptr::null();
        let Some(open) = (*layer.beneath).xOpen else { return MISSING };
        let done = open(layer.beneath, name, own, flags, out);
        if done != sqlite::SQLITE_OK {
            return done;
        }
        let path = (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned());
        let mut state = layer.disk.state();
        let run = state.current;
        *state.open.entry(run).or_default() += 1;
        drop(state);
        let about = Box::into_raw(Box::new(About { disk: layer.disk.clone(), run, path }));
        (*file.cast::<File>()).about = about;
        (*file).pMethods = &raw const METHODS;
    }
    sqlite::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let done = beneath!(file, xClose);
    // SAFETY: `open` has made it by `Box::into_raw`, and SQLite closes a file once.
    let about = unsafe { Box::from_raw((*file.cast::<File>()).about) };
    let mut state = about.disk.state();
    if let Some(open) = state.open.get_mut(&about.run) {
        *open -= 1;
    }
    drop(state);
    done
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, amount: c_int, offset: sqlite3_int64) -> c_int {
    let about = about(file);
    if let Fate::Fail(error) = about.disk.state().fate(about.run, Operation::Read) {
        return error;
    }
    beneath!(file, xRead, to, amount, offset)
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let about = about(file);
    let fate = about.disk.state().fate(about.run, Operation::Write);
    if let Fate::Fail(error) = fate {
        return error;
    }
    remember(file, u64::try_from(amount).unwrap_or(0), offset.unsigned_abs());
    beneath!(file, xWrite, from, amount, offset)
}

/// Remembers what is there before it is written.
fn remember(file: *mut sqlite3_file, amount: u64, offset: u64) {
    let about = about(file);
    let Some(path) = &about.path else { return };
    let mut size: sqlite3_int64 = 0;
    if beneath!(file, xFileSize, &raw mut size) != sqlite::SQLITE_OK {
        return;
    }
    let length_before = size.unsigned_abs();
    let mut before = vec![0_u8; usize::try_from(amount.min(length_before.saturating_sub(offset))).unwrap_or(0)];
    if !before.is_empty() {
        let length = c_int::try_from(before.len()).unwrap_or(0);
        if beneath!(file, xRead, before.as_mut_ptr().cast(), length, offset.cast_signed()) != sqlite::SQLITE_OK {
            return;
        }
    }
    let write = Unsynced { offset, before, length_before };
    about.disk.state().unsynced.entry(path.clone()).or_default().push(write);
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let about = about(file);
    if about.disk.is_dead(about.run) {
        return sqlite::SQLITE_IOERR_TRUNCATE;
    }
    remember(file, u64::MAX >> 1, size.unsigned_abs());
    beneath!(file, xTruncate, size)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    let about = about(file);
    let fate = about.disk.state().fate(about.run, Operation::Sync);
    if let Fate::Fail(error) = fate {
        return error;
    }
    let done = beneath!(file, xSync, flags);
    let mut state = about.disk.state();
    if let (sqlite::SQLITE_OK, Some(path)) = (done, &about.path) {
        state.unsynced.remove(path);
    }
    if let Fate::Fail(error) = state.fate(about.run, Operation::Synced) {
        return error;
    }
    done
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    beneath!(file, xFileSize, size)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // With a write-ahead log only the last connection that closes a file takes this lock, to empty the log. A process that dies does
    // not come to that; and it would happen on a thread that nobody waits for.
    if level == sqlite::SQLITE_LOCK_EXCLUSIVE && about(file).disk.state().never_emptied {
        return sqlite::SQLITE_BUSY;
    }
    beneath!(file, xLock, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    beneath!(file, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    beneath!(file, xCheckReservedLock, out)
}

/// The last setting of a new connection.
const LAST_SETTING: &CStr = c"wal_autocheckpoint";

unsafe extern "C" fn file_control(file: *mut sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    if operation == sqlite::SQLITE_FCNTL_PRAGMA {
        // SAFETY: the argument is an array of texts, of which the second one is the setting's name.
        let name = unsafe { CStr::from_ptr(*argument.cast::<*const c_char>().add(1)) };
        if name == LAST_SETTING {
            about(file).disk.state().established.insert(thread::current().id());
        }
    }
    beneath!(file, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    beneath!(file, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    beneath!(file, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    beneath!(file, xShmMap, page, size, extend, out)
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    beneath!(file, xShmLock, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: as in `beneath!`.
    unsafe {
        let own = file.cast::<u8>().add(size_of::<File>()).cast::<sqlite3_file>();
        if let Some(barrier) = (*own).pMethods.as_ref().and_then(|methods| methods.xShmBarrier) {
            barrier(own);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    beneath!(file, xShmUnmap, delete)
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: as in `own_vfs!`.
    let disk = unsafe { &(*(*vfs).pAppData.cast::<Layer>()).disk };
    if disk.state().reaping {
        return sqlite::SQLITE_IOERR_DELETE;
    }
    own_vfs!(vfs, xDelete, name, sync_folder)
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    own_vfs!(vfs, xAccess, name, flags, out)
}

unsafe extern "C" fn full_pathname(vfs: *mut sqlite3_vfs, name: *const c_char, size: c_int, out: *mut c_char) -> c_int {
    own_vfs!(vfs, xFullPathname, name, size, out)
}

unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    own_vfs!(vfs, xRandomness, size, out)
}

unsafe extern "C" fn sleep(vfs: *mut sqlite3_vfs, micros: c_int) -> c_int {
    own_vfs!(vfs, xSleep, micros)
}

unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    own_vfs!(vfs, xCurrentTime, out)
}

unsafe extern "C" fn current_time_int64(vfs: *mut sqlite3_vfs, out: *mut sqlite3_int64) -> c_int {
    own_vfs!(vfs, xCurrentTimeInt64, out)
}

unsafe extern "C" fn get_last_error(vfs: *mut sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    own_vfs!(vfs, xGetLastError, size, out)
}
