//! One thing that the doctor looked at.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not always.
    Warn,
    /// It does not work.
    Fail,
}

/// What was looked at, how it is, in a sentence, and what to do.
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
}
