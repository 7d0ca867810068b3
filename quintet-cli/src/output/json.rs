//! JSON: one object on one line, `{"quintet": 1, "command": "ls", ...}`. docs/json.md describes it.

use crate::context::Context;
use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};

/// The version of the format. An added field does not change it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    quintet: u32,
    command: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Serialize)]
struct ErrorBody {
    error: ErrorView,
}

/// A failure in JSON.
#[derive(Serialize)]
pub struct ErrorView {
    message: String,
    errno: Option<i32>,
    errno_name: Option<&'static str>,
}

impl From<&Failure> for ErrorView {
    fn from(failure: &Failure) -> ErrorView {
        let number = failure.number();
        ErrorView {
            message: failure.to_string(),
            errno: number.map(quintet::Errno::raw),
            errno_name: number.and_then(quintet::Errno::name),
        }
    }
}

/// Returns a report as one line.
pub fn line(context: &Context, body: &impl Serialize) -> io::Result<Vec<u8>> {
    let envelope = Envelope { quintet: VERSION, command: context.command(), body };
    let mut text = serde_json::to_vec(&envelope)?;
    text.push(b'\n');
    Ok(text)
}

/// Prints a report.
pub fn report(context: &Context, body: &impl Serialize) -> io::Result<()> {
    io::stdout().lock().write_all(&line(context, body)?)
}

/// Prints a failure instead of a report.
pub fn error(context: &Context, failure: &Failure) -> io::Result<()> {
    report(context, &ErrorBody { error: failure.into() })
}
