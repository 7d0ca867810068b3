//! One finding of `quintet doctor`.

use crate::failure::Failure;
use serde::Serialize;

/// How serious a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// It works now, but may fail later.
    Warn,
    /// It does not work.
    Fail,
}

/// A subject, its level, a sentence about it, and what to do.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub subject: &'static str,
    pub level: Level,
    pub message: String,
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(subject: &'static str, message: impl Into<String>) -> Finding {
        Finding { subject, level: Level::Ok, message: message.into(), remedy: None }
    }

    pub fn warn(subject: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { subject, level: Level::Warn, message: message.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(subject: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { level: Level::Fail, ..Finding::warn(subject, message, remedy) }
    }

    /// Returns the finding for a failed operation, with the hint of the failure.
    pub fn failure(subject: &'static str, failure: Failure) -> Finding {
        let (message, remedy) = failure.into_parts();
        Finding { subject, level: Level::Fail, message, remedy }
    }
}
