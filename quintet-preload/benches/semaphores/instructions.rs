//! How many instructions a call takes in user space, counted by callgrind: the same on a noisy machine. What the kernel
//! does in a system call is not counted.

use crate::calls;
use crate::side::Side;
use std::process::Command;

/// So many operations are taken away from twice as many. (Numbers of as many digits, which are read the same way.)
const TIMES: u32 = 400;

/// A client's life: does a case so many times.
pub fn be_client(name: &str, times: u32) {
    let side = Side::plain();
    let cases = calls::cases(&side, &side);
    let case = cases.iter().find(|case| case.name == name).expect("a case's name");
    (case.set_up)(&side)(times);
}

/// Why nothing can be counted, if so.
pub fn missing() -> Option<String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("valgrind: {}", output.status)),
        Err(e) => Some(format!("valgrind: {e}")),
    }
}

/// Of one operation through the drop-in, with the few that the caller needs for it.
pub fn count(name: &str, side: &Side) -> Result<f64, String> {
    let (less, more) = (total(name, side, TIMES)?, total(name, side, 2 * TIMES)?);
    Ok((more - less) as f64 / f64::from(TIMES))
}

/// Of the whole life of a client, an unmodified program with the drop-in.
fn total(name: &str, side: &Side, times: u32) -> Result<i64, String> {
    let (library, namespace) = side.drop_in.as_ref().ok_or("not the drop-in")?;
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
