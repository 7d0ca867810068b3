//! The exit codes of `quintet`.

use std::process::ExitCode;

/// How `quintet` ends. Scripts may rely on these codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// 0: success.
    Success,
    /// 1: something failed, or `doctor` reports a failure.
    Failure,
    /// 2: the command line is invalid.
    Usage,
    /// 124: `sem op`, `msg send` or `msg recv` would block and must not, or timed out.
    WouldBlock,
    /// 125: `run`, or `sem op` with a program, failed before it started the program.
    RunFailed,
    /// 126: the program exists, but cannot be run or cannot be intercepted.
    CannotRun,
    /// 127: the program was not found.
    NotFound,
    /// The exit code of the program of `run --private` or `sem op`, or 128 plus the signal that
    /// killed it.
    Program(u8),
}

impl Exit {
    /// Returns the number that the shell shows as `$?`.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::WouldBlock => 124,
            Exit::RunFailed => 125,
            Exit::CannotRun => 126,
            Exit::NotFound => 127,
            Exit::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
