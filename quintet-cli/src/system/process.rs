//! Processes, as /proc shows them.

use crate::words::clean;
use std::os::unix::fs::MetadataExt;

/// Returns the command line of a process, or its name in brackets if the line is empty or hidden.
///
/// Returns `None` if the process does not exist.
pub fn command(pid: i32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line.split(|b| *b == 0).map(|w| clean(&String::from_utf8_lossy(w))).collect();
    let line = words.join(" ");
    if !line.trim().is_empty() {
        return Some(line.trim_end().to_owned());
    }
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("[{}]", clean(String::from_utf8_lossy(&name).trim_end())))
}

/// Returns the user id of a process, or 0 if it does not exist.
pub fn user(pid: i32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}")).map_or(0, |metadata| metadata.uid())
}

/// Name of the thread of this tool that only watches for signals and makes no System V IPC call.
pub const WATCH_THREAD: &str = "quintet-watch";

/// Returns the number of threads of a process, without those that only watch for signals.
///
/// Returns `None` if the process does not exist or is hidden.
pub fn threads(pid: i32) -> Option<usize> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let is_worker = |task: &std::fs::DirEntry| {
        std::fs::read(task.path().join("comm")).is_ok_and(|name| name.trim_ascii_end() != WATCH_THREAD.as_bytes())
    };
    Some(tasks.filter(is_worker).count())
}

/// Returns the children that a process waits for, if its first thread is in `wait`.
pub fn awaited_children(pid: i32) -> Vec<i32> {
    if !is_in_wait(pid) {
        return Vec::new();
    }
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}

fn is_in_wait(pid: i32) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    match read("wchan").trim() {
        // Some kernels hide the function in which a thread sleeps. The system call needs more
        // permission.
        "" | "0" => {
            let call = read("syscall").split(' ').next().and_then(|number| number.parse().ok());
            call.is_some_and(|number: libc::c_long| [libc::SYS_wait4, libc::SYS_waitid].contains(&number))
        }
        function => function == "do_wait",
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which may contain parentheses, is followed by the state and the parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Returns `true` if a process has this pid.
pub fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_exists_and_pid_minus_1_does_not() {
        let own = super::command(std::process::id() as i32).unwrap();
        assert!(own.contains("quintet"), "{own}");
        assert_eq!(super::command(-1), None);
        assert!(super::threads(std::process::id() as i32).is_some_and(|n| n >= 1) && super::threads(-1).is_none());
        assert_eq!(super::parent(std::process::id() as i32), Some(rustix::process::getppid().unwrap().as_raw_nonzero().get()));
        assert!(super::awaited_children(std::process::id() as i32).is_empty());
        assert!(super::exists(1) && !super::exists(-1));
    }
}
