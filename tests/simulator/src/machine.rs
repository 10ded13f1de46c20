//! The machine that the services see: a clock that only the simulation moves, and randomness that the seed determines.
//!
//! The standard library, `chrono`, `uuid`, `rand` and hash maps all read time and randomness through two functions of the C
//! library. This program defines them itself, so the services run unchanged. Only this program may do so, since the linker prefers its
//! definitions to the library's.
//!
//! Threads of SQLite get constant bytes: they need randomness for nothing that shows, and would take numbers at times of their own.

#![expect(unsafe_code, reason = "functions of the C library are defined here")]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use libc::{c_int, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};

/// The simulated time in microseconds since the start of the run.
static NOW: AtomicU64 = AtomicU64::new(0);
/// The state of the generator of bytes.
static BYTES: AtomicU64 = AtomicU64::new(0);
/// The thread of the simulation.
static THREAD: AtomicUsize = AtomicUsize::new(0);
/// Whether time and randomness are simulated.
static SIMULATED: AtomicBool = AtomicBool::new(false);

/// 2026-01-05 08:00:00 UTC, a Monday, in seconds: when every run starts.
const EPOCH: u64 = 1_767_600_000;
/// How long the machine has been up when a run starts, in seconds.
const UPTIME: u64 = 10_000;

/// Simulates time and randomness from now on, for this thread.
pub fn simulate(seed: u64) {
    THREAD.store(this_thread(), Ordering::SeqCst);
    BYTES.store(seed, Ordering::SeqCst);
    NOW.store(0, Ordering::SeqCst);
    SIMULATED.store(true, Ordering::SeqCst);
}

/// Sets the simulated time, in microseconds since the start of the run.
pub fn set_time(micros: u64) {
    NOW.store(micros, Ordering::SeqCst);
}

/// The time that really passes, for the report.
pub fn real_time() -> Duration {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into `time`, which lives until the call returns.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn this_thread() -> usize {
    // SAFETY: it only reads the caller's own id.
    unsafe { libc::pthread_self() as usize }
}

/// Takes the place of the C library's function.
///
/// # Safety
/// `time` points to a `timespec` that may be written, as for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    if !SIMULATED.load(Ordering::Relaxed) {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    }
    let micros = NOW.load(Ordering::Relaxed);
    let from = if clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE { EPOCH } else { UPTIME };
    let (seconds, nanos) = (from + micros / 1_000_000, micros % 1_000_000 * 1_000);
    // SAFETY: the caller promises that `time` may be written.
    unsafe { time.write(timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanos.cast_signed() }) };
    0
}

/// Takes the place of the C library's function.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written, as for the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    if !SIMULATED.load(Ordering::Relaxed) {
        // SAFETY: the caller's promise is passed on.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as ssize_t;
    }
    let own = this_thread() == THREAD.load(Ordering::Relaxed);
    for index in 0..length {
        let state = if own { BYTES.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) } else { index as u64 };
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // SAFETY: the caller promises that `length` bytes may be written.
        unsafe { buffer.cast::<u8>().add(index).write((z ^ (z >> 31)).to_le_bytes()[0]) };
    }
    length.cast_signed()
}
