//! Repeats attacks with fixed seeds, as far as two concurrent processes can repeat.

use std::process::Command;

/// Time limit of a run.
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
fn known_seeds() {
    replay(1);
}

#[test]
fn further_attacks() {
    replay(2000);
}
