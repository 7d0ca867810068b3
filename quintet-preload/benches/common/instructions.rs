//! How many instructions a call takes in user space, counted by callgrind: the same on a noisy machine. What the kernel
//! does in a system call is not counted.

use std::path::PathBuf;
use std::process::Command;

/// So many operations are taken away from twice as many. (Numbers of as many digits, which are read the same way.)
const TIMES: u32 = 400;

/// Why nothing can be counted, if so.
pub fn missing() -> Option<String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("valgrind: {}", output.status)),
        Err(e) => Some(format!("valgrind: {e}")),
    }
}

/// Of one operation through the drop-in (its library and its namespace), with the few that the caller needs for it. This
/// program does it when it is run with `--count`, the case's name and how many times.
pub fn count(name: &str, drop_in: &(PathBuf, PathBuf)) -> Result<f64, String> {
    let (less, more) = (total(name, drop_in, TIMES)?, total(name, drop_in, 2 * TIMES)?);
    Ok((more - less) as f64 / f64::from(TIMES))
}

/// Of the whole life of a client, an unmodified program with the drop-in.
fn total(name: &str, (library, namespace): &(PathBuf, PathBuf), times: u32) -> Result<i64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().expect("this program's path"))
        .args(["--count", name, &times.to_string()])
        .env("LD_PRELOAD", library)
        .env("QUINTET_NAMESPACE", namespace)
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected : ")).filter(|_| output.status.success());
    line.and_then(|(_, number)| number.trim().parse().ok()).ok_or_else(|| format!("{name}: the client failed: {text}"))
}
