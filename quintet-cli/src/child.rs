//! A program as a child, for which this process stands while it runs: signals reach it, and its end is ours.

use crate::exit::Exit;
use crate::failure::{Failure, reason};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, setrlimit, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

/// Runs a program to its end. `path` is its name for messages.
pub fn run(mut command: Command, path: &Path) -> Result<ExitStatus, Failure> {
    // Before the child is there, so that no signal finds us unprepared.
    let signals = watch_signals().map_err(|failure| failure.exit(Exit::RunFailed))?;
    match command.spawn() {
        Ok(child) => wait(child, signals),
        Err(error) => Err(not_started(path, &error)),
    }
}

/// Why a program was not started.
pub fn not_started(path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::NotFound { Exit::NotFound } else { Exit::CannotRun };
    Failure::new(format!("cannot run {}: {}", crate::output::clean(&path.to_string_lossy()), reason(error))).exit(exit)
}

/// Catches what would end us before the child: a terminal's ^C reaches the child without us, other
/// signals are passed on. A signal that we were started to ignore (nohup) stays ignored, also by the child.
fn watch_signals() -> Result<Signals, Failure> {
    Signals::new(heeded()).map_err(|e| Failure::new(format!("cannot catch signals: {}", reason(&e))))
}

/// The signals that end programs, without those that we were started to ignore.
pub fn heeded() -> impl Iterator<Item = i32> {
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
            // It may have ended; its pid is ours until it is reaped below.
            let _ = kill_process(pid, signal);
        }
    });
    // Reaped only after the last signal is passed on: until then nobody else gets its pid.
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    handle.close();
    let _ = forwarder.join();
    child.wait().map_err(|e| Failure::new(format!("cannot wait for the program: {}", reason(&e))).exit(Exit::RunFailed))
}

/// Ends as the program has ended.
pub fn ended(status: ExitStatus) -> Exit {
    if let Some(number) = status.signal() {
        // The program has dumped its core, if any; ours is of no interest.
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        let _ = match number {
            libc::SIGKILL => kill_process(rustix::process::getpid(), Signal::KILL).map_err(std::io::Error::from),
            _ => emulate_default_handler(number),
        };
        return Exit::Program(128u8.wrapping_add(number as u8));
    }
    Exit::Program(status.code().unwrap_or(0) as u8)
}
