//! Child processes: fork, wait and kill.
//!
//! # Safety
//!
//! This process has one thread, so its children can go on after `fork`.

use crate::memory::StatusPage;
use std::time::{Duration, Instant};

/// Limit for a process to exit, on any machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(180);

/// A forked process.
pub struct Process {
    pub pid: i32,
    pub page: &'static StatusPage,
}

pub fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: see the module.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: no pointers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(if ok { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            pid
        }
    }
}

/// Returns the status of a child that has exited, or `None` while it runs.
pub fn ended(pid: i32, wait: bool) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a local.
    let got = unsafe { libc::waitpid(pid, &raw mut status, if wait { 0 } else { libc::WNOHANG }) };
    (got == pid).then_some(status)
}

pub fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("it was killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("it ended with status {}", libc::WEXITSTATUS(status))
    }
}

/// Blocks until a child has exited, which must be with status 0.
pub fn must_end(pid: i32, what: &str) -> Result<(), String> {
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = ended(pid, false) {
            break status;
        }
        if begin.elapsed() > EXIT_TIMEOUT {
            show(pid);
            kill(pid);
            return Err(format!("{what}: it hangs"));
        }
        std::thread::sleep(Duration::from_micros(200));
    };
    if status == 0 { Ok(()) } else { Err(format!("{what}: {}", describe(status))) }
}

fn kill(pid: i32) {
    // SAFETY: a child that has not been waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    ended(pid, true);
}

/// Prints the stack of a process.
pub fn show(pid: i32) {
    let gdb = std::process::Command::new("gdb").args(["-batch", "-p", &pid.to_string(), "-ex", "bt"]).output();
    if let Ok(output) = gdb {
        println!(
            "{}",
            String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n")
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.pid != 0 {
            kill(self.pid);
        }
    }
}
