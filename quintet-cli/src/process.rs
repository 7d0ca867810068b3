//! Other processes, as /proc tells of them.

use crate::output::clean;
use std::os::unix::fs::MetadataExt;

/// The command line of a process, or its name in brackets where the line is empty or hidden; `None` when it is gone.
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

/// The user of a process; the superuser if it is gone.
pub fn user(pid: i32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}")).map_or(0, |metadata| metadata.uid())
}

/// The name of a thread of this program that only watches for signals, and does nothing to a namespace.
pub const WATCH: &str = "quintet-watch";

/// How many threads a process has, without those that only watch; `None` when it is gone or hidden.
pub fn threads(pid: i32) -> Option<usize> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let works = |task: &std::fs::DirEntry| {
        std::fs::read(task.path().join("comm")).is_ok_and(|name| name.trim_ascii_end() != WATCH.as_bytes())
    };
    Some(tasks.filter(works).count())
}

/// The children for which a process waits, if that is what its first thread does.
pub fn awaited_children(pid: i32) -> Vec<i32> {
    if !awaits_children(pid) {
        return Vec::new();
    }
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}

fn awaits_children(pid: i32) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    match read("wchan").trim() {
        // Some kernels do not tell the function in which it sleeps; then the system call, which fewer may see.
        "" | "0" => {
            let call = read("syscall").split(' ').next().and_then(|number| number.parse().ok());
            call.is_some_and(|number: libc::c_long| [libc::SYS_wait4, libc::SYS_waitid].contains(&number))
        }
        function => function == "do_wait",
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything, come the state and the parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether there is a process of this pid.
pub fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    #[test]
    fn tells_its_own_command_and_not_that_of_nobody() {
        let own = super::command(std::process::id() as i32).unwrap();
        assert!(own.contains("quintet"), "{own}");
        assert_eq!(super::command(-1), None);
        assert!(super::threads(std::process::id() as i32).is_some_and(|n| n >= 1) && super::threads(-1).is_none());
        assert_eq!(super::parent(std::process::id() as i32), Some(rustix::process::getppid().unwrap().as_raw_nonzero().get()));
        assert!(super::awaited_children(std::process::id() as i32).is_empty());
        assert!(super::exists(1) && !super::exists(-1));
    }
}
