//! The time, read from the kernel.
//!
//! A program can replace the C library's functions (`faketime`), so they are not used, with one
//! exception: [`time`].

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// A moment of the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(Duration);

impl Instant {
    /// Returns the present moment.
    pub fn now() -> Instant {
        Instant(duration(clock_gettime(ClockId::Monotonic)))
    }

    /// Returns the moment that is `time` later, or `None` if the clock cannot express it.
    pub fn checked_add(self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }

    /// Returns the time since `earlier`, or 0 if that is later.
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the time since this moment.
    pub fn elapsed(self) -> Duration {
        Instant::now().saturating_duration_since(self)
    }
}

/// Returns the time in seconds since the Epoch, from the clock with which the kernel stamps its
/// objects.
#[inline]
pub fn now() -> i64 {
    clock_gettime(ClockId::RealtimeCoarse).tv_sec
}

/// Returns the time in seconds since the Epoch, for the stamps of the hot paths.
///
/// This is the C library's `time`. It makes no system call either, and takes half the time of
/// [`now`].
#[inline]
pub fn time() -> i64 {
    #[allow(unsafe_code)]
    // SAFETY: time(2) accepts a null pointer, and then stores nothing.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    now as i64
}

/// Returns the time in nanoseconds since the Epoch, precise enough for names that should differ.
pub fn nanos() -> u128 {
    duration(clock_gettime(ClockId::Realtime)).as_nanos()
}

/// Returns the time in nanoseconds since the Epoch, from a cheap clock that advances every few
/// milliseconds.
pub fn coarse_nanos() -> u64 {
    duration(clock_gettime(ClockId::RealtimeCoarse)).as_nanos() as u64
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
