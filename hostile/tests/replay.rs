//! Attacks that are the same each time, as far as two processes can do the same: some of those that once found something, and the first ones.

use std::process::Command;

/// For all of them together; what has not been done by then is left.
const SECONDS: &str = "18";

fn replay(seed: u64) {
    let output = Command::new(env!("CARGO_BIN_EXE_hostile"))
        .args(["--seconds", SECONDS, "--seed", &seed.to_string()])
        .output()
        .expect("the harness");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{}", output.status);
    assert!(text.contains(" corruptions, "));
}

#[test]
fn what_once_found_something() {
    replay(1);
}

#[test]
fn further_attacks() {
    replay(2000);
}
