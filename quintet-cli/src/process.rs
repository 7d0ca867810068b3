//! Other processes, as /proc tells of them.

use crate::output::clean;

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

#[cfg(test)]
mod tests {
    #[test]
    fn tells_its_own_command_and_not_that_of_nobody() {
        let own = super::command(std::process::id() as i32).unwrap();
        assert!(own.contains("quintet"), "{own}");
        assert_eq!(super::command(-1), None);
    }
}
