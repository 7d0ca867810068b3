//! The file of a program: arbitrary bytes that may be ELF, a script, or neither.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Checks the file as the tool and the drop-in do before they run it.
pub fn run(directory: &Path, data: &[u8]) {
    let path = directory.join("program");
    std::fs::write(&path, data).expect("there is room");
    File::open(&path).and_then(|file| file.set_permissions(Permissions::from_mode(0o755))).expect("the owner may");
    if let Err(refusal) = quintet_program::check(&path) {
        assert!(!refusal.reason.is_empty() && !refusal.reason.contains(char::is_control), "{:?}", refusal.reason);
    }
    let started = quintet_program::started_by(&path);
    assert!(started.interpreters.len() <= 2 * 5, "{:?}", started.interpreters);
}
