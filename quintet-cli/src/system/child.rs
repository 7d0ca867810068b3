//! A program as a child process. Signals to the tool reach the program, and the tool exits as the
//! program exits.

use crate::exit::Exit;
use crate::failure::Failure;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, setrlimit, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

/// Runs a program until it exits. Error messages name it `path`.
pub fn run(mut command: Command, path: &Path) -> Result<ExitStatus, Failure> {
    // The handlers are in place before the child exists, so that no signal ends only this process.
    let signals = catch_signals().map_err(|failure| failure.exit(Exit::RunFailed))?;
    match command.spawn() {
        Ok(child) => wait(child, signals),
        Err(error) => Err(start_failure(path, &error)),
    }
}

/// Returns the failure of a program that did not start.
pub fn start_failure(path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::NotFound { Exit::NotFound } else { Exit::CannotRun };
    Failure::io("execute", path, error).exit(exit)
}

/// Catches the signals that would end this process before the child.
///
/// The terminal sends Ctrl-C to the child as well. The other signals are forwarded. A signal that
/// this process ignores from its start, as under nohup, stays ignored in the child, too.
fn catch_signals() -> Result<Signals, Failure> {
    Signals::new(terminating_signals()).map_err(|e| Failure::system("catch signals", &e))
}

/// Returns the signals that terminate programs, except those that this process ignores from its
/// start.
pub fn terminating_signals() -> impl Iterator<Item = i32> {
    let ignored = ignored_signals();
    [SIGINT, SIGQUIT, SIGTERM, SIGHUP].into_iter().filter(move |n| ignored >> (n - 1) & 1 == 0)
}

fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn wait(mut child: Child, mut signals: Signals) -> Result<ExitStatus, Failure> {
    let handle = signals.handle();
    let pid = Pid::from_child(&child);
    let forwarder = std::thread::spawn(move || {
        for number in signals.forever() {
            let signal = match number {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            // The child may have exited. Its pid is not reused before it is reaped below.
            let _ = kill_process(pid, signal);
        }
    });
    // The child is reaped after the forwarder has ended, so that no signal goes to a reused pid.
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    handle.close();
    let _ = forwarder.join();
    child.wait().map_err(|e| Failure::system("wait for the program", &e).exit(Exit::RunFailed))
}

/// Exits as the program exited. Raises the signal that killed it.
pub fn exit_like(status: ExitStatus) -> Exit {
    let Some(number) = status.signal() else {
        return Exit::Program(status.code().unwrap_or(0) as u8);
    };
    // A core dump of this process would help nothing; the program has written its own.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = match number {
        libc::SIGKILL => kill_process(rustix::process::getpid(), Signal::KILL).map_err(std::io::Error::from),
        _ => emulate_default_handler(number),
    };
    Exit::Program(128u8.wrapping_add(number as u8))
}
