//! Counts the instructions of a call in user space with callgrind. The count does not depend on the
//! load of the machine. It excludes the kernel's part of a system call.

use std::path::PathBuf;
use std::process::Command;

/// The number of operations. A run of this many is subtracted from one of twice as many. (Both
/// numbers have the same number of digits, so that parsing costs the same.)
const TIMES: u32 = 400;

/// Returns the reason if instructions cannot be counted.
pub fn missing() -> Option<String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("valgrind: {}", output.status)),
        Err(e) => Some(format!("valgrind: {e}")),
    }
}

/// Counts one operation through the library (its path and its namespace), with the few instructions
/// of its caller. This program performs the operation when it is run with `--count`, the name of
/// the case and the number of repetitions.
pub fn count(name: &str, preload: &(PathBuf, PathBuf)) -> Result<f64, String> {
    let (less, more) = (total(name, preload, TIMES)?, total(name, preload, 2 * TIMES)?);
    Ok((more - less) as f64 / f64::from(TIMES))
}

/// Counts the whole run of a client, an unmodified program with the library.
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
