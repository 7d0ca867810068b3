//! The trace of calls for `QUINTET_LOG=debug`, in the notation of strace(1).
//!
//! A line begins before its call, with the time and the arguments, and is written after the call. A
//! call that goes to sleep also writes its line then, because it may never return. Data that the
//! program's pointers refer to is copied as a call copies it, so a bad pointer is shown as a
//! number.
//!
//! A thread may be cancelled in a traced call: [`cancel`] states what that requires of [`record`].
//!
//! # Safety
//!
//! The line that a thread is writing is a local of [`record`]. That function resets the pointer to
//! it before it returns, and so does a jump. A signal handler that runs in between has a line of
//! its own, and restores the pointer.
#![allow(unsafe_code)]

use crate::base::call::run_outlined;
use crate::base::cancel;
use crate::base::errno::{errno, preserving_errno};
use crate::log::line::Line;
use crate::log::messages::{Level, may_trace, now, stamped, wants};
use crate::log::output::put;
use libc::{c_int, c_void};
use quintet::Errno;
use std::cell::Cell;
use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

/// The value of a call.
pub trait Outcome: Copy + PartialEq {
    /// The value that refers to `errno`.
    const FAILED: Self;
    fn write(self, line: &mut Line) -> fmt::Result;
}

impl Outcome for c_int {
    const FAILED: c_int = -1;

    fn write(self, line: &mut Line) -> fmt::Result {
        write!(line, "{self}")
    }
}

impl Outcome for isize {
    const FAILED: isize = -1;

    fn write(self, line: &mut Line) -> fmt::Result {
        write!(line, "{self}")
    }
}

impl Outcome for *mut c_void {
    const FAILED: *mut c_void = usize::MAX as *mut c_void;

    fn write(self, line: &mut Line) -> fmt::Result {
        write!(line, "{:#x}", self as usize)
    }
}

/// Returns `true` if an exported call has nothing to do but its work: no call is traced, and no
/// thread has asked for asynchronous cancellation.
#[inline(always)]
pub fn is_plain() -> bool {
    !cancel::is_asynchronous_used() && !may_trace()
}

/// Runs an exported call in every case: with deferred cancellation and, if calls are traced, with a
/// line in the log. `call` gets the time that earlier attempts have taken. `arguments` writes the
/// line up to the closing parenthesis; `filled` writes what the call has filled in, and gets `true`
/// if the call succeeded.
#[inline(always)]
pub fn observed<T: Outcome>(
    call: impl Fn(Duration) -> T,
    arguments: impl Fn(&mut Line) -> fmt::Result,
    filled: impl Fn(&mut Line, bool) -> fmt::Result,
) -> T {
    cancel::deferred(|spent| match may_trace() {
        true => record(|| call(spent), &arguments, &filled),
        false => call(spent),
    })
}

/// As [`observed`], for an exported function that runs `body` and returns its value as C does.
#[inline(always)]
pub fn observed_call<T: Outcome>(
    body: impl Fn() -> Result<T, Errno>,
    arguments: impl Fn(&mut Line) -> fmt::Result,
    filled: impl Fn(&mut Line, bool) -> fmt::Result,
) -> T {
    observed(|_| run_outlined(T::FAILED, &body), arguments, filled)
}

/// For a call that fills in nothing.
pub fn nothing(_line: &mut Line, _done: bool) -> fmt::Result {
    Ok(())
}

thread_local! {
    /// The line of the call that this thread is in, or null.
    static CURRENT: Cell<*const Line> = const { Cell::new(std::ptr::null()) };
}

#[cold]
#[inline(never)]
fn record<T: Outcome>(
    call: impl FnOnce() -> T,
    arguments: impl Fn(&mut Line) -> fmt::Result,
    filled: impl Fn(&mut Line, bool) -> fmt::Result,
) -> T {
    if !wants(Level::Debug) {
        return call();
    }
    let mut line = stamped();
    preserving_errno(|| _ = arguments(&mut line));
    let begun = now();
    let outer = CURRENT.replace(&raw const line);
    let ret = call();
    CURRENT.set(outer);
    let taken = now().saturating_sub(begun);
    let errno = Errno::from_raw(errno());
    preserving_errno(|| {
        let failed = ret == T::FAILED;
        let _ = filled(&mut line, !failed).and_then(|()| line.write_str(") = "));
        let _ = if failed { write!(line, "-1 {}", Failure(errno)) } else { ret.write(&mut line) };
        let _ = write!(line, " <{}>", Seconds(taken));
        put(&mut line);
    });
    ret
}

/// Forgets the thread's line, because the thread leaves its call by a jump.
pub fn leave_by_jump() {
    CURRENT.set(std::ptr::null());
}

/// Writes the line of the thread's call, which goes to sleep.
pub fn sleeps() {
    // SAFETY: null, or the line of a call of this thread that has not returned; see the module.
    let Some(line) = (unsafe { CURRENT.get().as_ref() }) else { return };
    preserving_errno(|| {
        let mut line = line.clone();
        let _ = line.write_str(") waits");
        put(&mut line);
    });
}

/// Nanoseconds, shown as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

struct Failure(Errno);

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0.name() {
            Some(name) => write!(f, "{name} ({})", self.0.description()),
            None => write!(f, "errno {}", self.0.raw()),
        }
    }
}
