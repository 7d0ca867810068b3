//! The time, asked of the kernel and not of the C library, whose functions a program may have others in place of (`faketime`).

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// A moment of the clock that nobody sets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Instant {
        Instant(duration(clock_gettime(ClockId::Monotonic)))
    }

    pub fn checked_add(self, time: Duration) -> Option<Instant> {
        self.0.checked_add(time).map(Instant)
    }

    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn elapsed(self) -> Duration {
        Instant::now().saturating_duration_since(self)
    }
}

/// Seconds since the Epoch, as the kernel stamps its objects.
#[inline]
pub fn now() -> i64 {
    clock_gettime(ClockId::RealtimeCoarse).tv_sec
}

/// The same in the hot path: the C library's cheapest clock makes no system call either, and takes half the time. It is used for stamps only.
#[inline]
pub fn time() -> i64 {
    #[allow(unsafe_code)]
    // SAFETY: null is allowed, and nothing is stored.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    now as i64
}

/// Now, in nanoseconds since the Epoch: for names that should differ.
pub fn nanos() -> u128 {
    duration(clock_gettime(ClockId::Realtime)).as_nanos()
}

/// Now, from a clock that costs little and steps a few milliseconds at a time, in nanoseconds since the Epoch.
pub fn coarse_nanos() -> u64 {
    duration(clock_gettime(ClockId::RealtimeCoarse)).as_nanos() as u64
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
