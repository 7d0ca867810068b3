//! How `quintet` ends: every exit code there is.

use std::process::ExitCode;

/// The exit codes, which scripts may rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// 0: all was done.
    Success,
    /// 1: something failed, or `doctor` found something that fails.
    Failure,
    /// 2: the command line makes no sense.
    Usage,
    /// 124: `sem op`, `msg send` or `msg recv` would have to wait, and was told not to, or not any longer.
    WouldWait,
    /// 125: `run`, or `sem op` with a program, itself failed, before the program was reached.
    RunFailed,
    /// 126: the program was found, and cannot be run or cannot be carried.
    CannotRun,
    /// 127: the program was not found.
    NotFound,
    /// What the program of `run --private` or `sem op` returned, or 128 and the signal it died of.
    Program(u8),
}

impl Exit {
    /// The number that the shell shows as `$?`.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::WouldWait => 124,
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
