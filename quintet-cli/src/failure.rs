//! What went wrong, told for a person, and how the program then ends.

use crate::context::Context;
use crate::exit::Exit;
use crate::output;
use quintet::Errno;
use std::fmt;
use std::io;
use std::path::Path;

/// A failure: what failed, on what, why, and where there is something to do, what.
#[derive(Debug)]
pub struct Failure {
    message: String,
    remedy: Option<String>,
    errno: Option<Errno>,
    exit: Exit,
    /// Nobody reads our output any more: there is nothing to say and nobody to say it to.
    reader_gone: bool,
}

/// What every subcommand returns.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure that ends with exit code 1.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), remedy: None, errno: None, exit: Exit::Failure, reader_gone: false }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(message).exit(Exit::Usage)
    }

    /// A failed system call: "cannot `verb` `path`: why".
    pub fn io(verb: &str, path: &Path, error: &io::Error) -> Failure {
        let path = output::clean(&path.to_string_lossy());
        let mut failure = Failure::new(format!("cannot {verb} {path}: {}", reason(error)));
        failure.errno = error.raw_os_error().map(Errno::from_raw);
        failure
    }

    /// The same failure with another exit code.
    pub fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// The same failure with the exit code `other`, unless it has `kept`.
    pub fn unless(self, kept: Exit, other: Exit) -> Failure {
        if self.exit == kept { self } else { self.exit(other) }
    }

    /// The same failure with the number that explains it.
    pub fn errno(mut self, errno: Errno) -> Failure {
        self.errno = Some(errno);
        self
    }

    /// The same failure, and what to do.
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Failure {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// What failed and why, and what to do.
    pub fn into_parts(self) -> (String, Option<String>) {
        (self.message, self.remedy)
    }

    /// The number that explains it, if one does.
    pub fn number(&self) -> Option<Errno> {
        self.errno
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl From<quintet::Error> for Failure {
    fn from(error: quintet::Error) -> Failure {
        Failure::new(output::clean(&error.to_string())).errno(error.errno())
    }
}

/// A failure to write to standard output: the other kinds are reported with their path.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let mut failure = Failure::new(format!("cannot write to standard output: {}", reason(&error)));
        failure.errno = error.raw_os_error().map(Errno::from_raw);
        failure.reader_gone = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }
}

/// The system's words for an error, without the "(os error 2)" that std adds.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Reports a failure, if there is one, and decides the exit code.
pub fn conclude(context: &Context, outcome: Outcome) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(failure) if failure.reader_gone => Exit::Success,
        Err(failure) => {
            if context.json() {
                // The sentence on standard error follows in any case.
                let _ = output::json::error(context, &failure);
            }
            output::complain(context, &failure.to_string());
            failure.exit
        }
    }
}
