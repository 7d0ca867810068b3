//! Whether programs can be run: the library, and one program.

use super::finding::Finding;
use crate::{preload, program};
use std::ffi::OsStr;

/// Examines a program.
pub fn examine(name: &OsStr, findings: &mut Vec<Finding>) {
    findings.push(match program::find(name) {
        Ok(path) => {
            Finding::ok("program", format!("{} can be run by 'quintet run'", crate::output::clean(&path.to_string_lossy())))
        }
        Err(failure) => {
            let (message, remedy) = failure.into_parts();
            Finding { remedy, ..Finding::fail("program", message, "") }
        }
    });
}

/// Examines whether the drop-in library has a place to be.
pub fn examine_library(findings: &mut Vec<Finding>) {
    findings.push(match preload::install() {
        Ok(path) => Finding::ok("drop-in", format!("installed at {}", crate::output::clean(&path.to_string_lossy()))),
        Err(failure) => {
            let (message, remedy) = failure.into_parts();
            Finding { remedy, ..Finding::fail("drop-in", message, "") }
        }
    });
}
