//! The files in the directory of a soak run.

use std::io::Write;
use std::path::Path;

/// The namespace under test.
pub const NAMESPACE: &str = "ns";
/// The workers' shared bookkeeping.
pub const LEDGER: &str = "ledger";
/// One line for each violation that a worker finds.
pub const FINDINGS: &str = "findings";

/// Appends a violation to the findings.
pub fn report(directory: &Path, what: &str) {
    let file = std::fs::File::options().append(true).create(true).open(directory.join(FINDINGS));
    let _ = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
}
