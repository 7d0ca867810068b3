//! The calls as lines of text, as strace(1) has them, for `QUINTET_LOG=debug`.
//!
//! A line is begun before its call, with the time and the arguments, and written after it; one that goes to sleep is written then, too, as
//! it may never come back. What the program's pointers point at is copied as a call copies it, so a bad one is shown as a number.
//!
//! A thread may end in a call that is traced, by being cancelled: [`cancel`] says what that asks of [`told`].
//!
//! # Safety
//!
//! The line that a thread is at is a local of [`told`], which takes the pointer to it back before it returns, or a jump does; a signal
//! handler that comes in between has a line of its own, and puts the pointer back.
#![allow(unsafe_code)]

use crate::base::call::run_outlined;
use crate::base::cancel;
use crate::base::errno::{errno, preserving_errno};
use crate::log::line::Line;
use crate::log::messages::{Level, may_trace, now, stamped, wants};
use crate::log::output::put;
use libc::{c_int, c_void};
use std::cell::Cell;
use std::fmt::{self, Display, Formatter, Write};

/// What a call returns.
pub trait Outcome: Copy + PartialEq {
    /// -1 says that `errno` tells more.
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

/// Makes a call. If calls are traced, a line says so: `arguments` writes it as far as it is known before, without the last parenthesis, and
/// `filled` what it has filled in, if (`true`) it has not failed.
#[inline(always)]
pub fn traced<T: Outcome>(
    call: impl FnOnce() -> T,
    arguments: impl Fn(&mut Line) -> fmt::Result,
    filled: impl Fn(&mut Line, bool) -> fmt::Result,
) -> T {
    if may_trace() { told(call, arguments, filled) } else { call() }
}

/// The same for an exported function that has nothing else to do.
#[inline(always)]
pub fn traced_call<T: Outcome>(
    call: impl Fn() -> Result<T, quintet::Errno>,
    arguments: impl Fn(&mut Line) -> fmt::Result,
    filled: impl Fn(&mut Line, bool) -> fmt::Result,
) -> T {
    cancel::export(|_| traced(|| run_outlined(T::FAILED, &call), &arguments, &filled))
}

/// For a call that fills in nothing.
pub fn nothing(_line: &mut Line, _done: bool) -> fmt::Result {
    Ok(())
}

thread_local! {
    /// The line of the call that this thread is in.
    static CURRENT: Cell<*const Line> = const { Cell::new(std::ptr::null()) };
}

#[cold]
#[inline(never)]
fn told<T: Outcome>(
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
    let errno = quintet::Errno::from_raw(errno());
    preserving_errno(|| {
        let failed = ret == T::FAILED;
        let _ = filled(&mut line, !failed).and_then(|()| line.write_str(") = "));
        let _ = if failed { write!(line, "-1 {}", Failure(errno)) } else { ret.write(&mut line) };
        let _ = write!(line, " <{}>", Taken(taken));
        put(&mut line);
    });
    ret
}

/// The thread leaves its call by a jump.
pub fn jumping() {
    CURRENT.set(std::ptr::null());
}

/// The call that this thread is in goes to sleep.
pub fn waits() {
    // SAFETY: null, or a line of this thread, whose call has not returned; see the module.
    let Some(line) = (unsafe { CURRENT.get().as_ref() }) else { return };
    preserving_errno(|| {
        let mut line = line.clone();
        let _ = line.write_str(") waits");
        put(&mut line);
    });
}

/// Nanoseconds, as seconds.
struct Taken(u64);

impl Display for Taken {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

struct Failure(quintet::Errno);

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0.name() {
            Some(name) => write!(f, "{name} ({})", self.0.description()),
            None => write!(f, "errno {}", self.0.raw()),
        }
    }
}
