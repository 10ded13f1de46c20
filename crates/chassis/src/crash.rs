//! Crash points: places where a test can abort the process, to check the recovery after the restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The armed crash point of a process, if any. `SOUK_CRASH_AT=name[:n]` arms one: the process aborts when
/// that point is reached for the n-th time.
#[derive(Clone, Debug, Default)]
pub struct CrashPoints {
    armed: Option<Arc<Armed>>,
}

#[derive(Debug)]
struct Armed {
    name: String,
    left: AtomicU64,
}

/// The error for a `SOUK_CRASH_AT` that names no crash point of the process.
#[derive(Debug, thiserror::Error)]
#[error("SOUK_CRASH_AT is {spec:?}, but must be NAME or NAME:COUNT with a NAME of: {known}")]
pub struct UnknownCrashPoint {
    spec: String,
    known: String,
}

impl CrashPoints {
    /// No crash point is armed.
    pub fn none() -> Self {
        Self::default()
    }

    /// Parses `name[:n]`; `None` and an empty text arm nothing.
    pub fn parse(spec: Option<&str>, known: &[&str]) -> Result<Self, UnknownCrashPoint> {
        let Some(spec) = spec.filter(|spec| !spec.is_empty()) else {
            return Ok(Self::none());
        };
        let unknown = || UnknownCrashPoint { spec: spec.to_owned(), known: known.join(", ") };
        let (name, count) = match spec.rsplit_once(':') {
            Some((name, count)) => (name, count.parse().ok().filter(|count| *count > 0).ok_or_else(unknown)?),
            None => (spec, 1),
        };
        if !known.contains(&name) {
            return Err(unknown());
        }
        Ok(Self { armed: Some(Arc::new(Armed { name: name.to_owned(), left: AtomicU64::new(count) })) })
    }

    /// Aborts the process if this point is armed and was reached for the n-th time.
    pub fn reach(&self, name: &'static str) {
        let Some(armed) = self.armed.as_ref().filter(|armed| armed.name == name) else {
            return;
        };
        if armed.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            eprintln!("crash point {name} reached: abort");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_point_is_named_and_counted_or_refused_with_the_known_names() {
        let known = ["order.before_reserve", "order.after_reserve"];
        assert!(CrashPoints::parse(None, &known).unwrap().armed.is_none());
        let armed = CrashPoints::parse(Some("order.after_reserve:3"), &known).unwrap();
        armed.reach("order.before_reserve");
        armed.reach("order.after_reserve");
        assert_eq!(armed.armed.unwrap().left.load(Ordering::Relaxed), 2);
        for bad in ["order.never", "order.after_reserve:0", "order.after_reserve:x"] {
            let err = CrashPoints::parse(Some(bad), &known).unwrap_err().to_string();
            assert!(err.contains(bad) && err.contains("order.before_reserve"), "{err}");
        }
    }
}
