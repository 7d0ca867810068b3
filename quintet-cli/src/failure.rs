//! A failed command: the sentence for the user, the error number and the exit code.

use crate::exit::Exit;
use crate::words::clean;
use quintet::Errno;
use std::fmt;
use std::io;
use std::path::Path;

/// A failure. It prints as `cannot VERB OBJECT: REASON (ERRNO); HINT`.
#[derive(Debug)]
pub struct Failure {
    message: String,
    remedy: Option<String>,
    errno: Option<Errno>,
    exit: Exit,
    /// Standard output is a pipe without a reader. There is nothing to report.
    reader_gone: bool,
}

/// The result of every subcommand.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// Returns a failure that ends with exit code 1.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), remedy: None, errno: None, exit: Exit::Failure, reader_gone: false }
    }

    /// Returns a failure for an invalid command line.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(message).exit(Exit::Usage)
    }

    /// Returns the failure of a call that set `errno`: `cannot VERB OBJECT: REASON (ERRNO)`.
    pub fn call(what: impl fmt::Display, errno: Errno) -> Failure {
        Failure::new(format!("cannot {what}: {errno}")).errno(errno)
    }

    /// Returns the failure of an operation on a file: `cannot VERB PATH: REASON (ERRNO)`.
    pub fn io(verb: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::system(format_args!("{verb} {}", clean(&path.to_string_lossy())), error)
    }

    /// Returns the failure of a system call: `cannot VERB OBJECT: REASON (ERRNO)`.
    pub fn system(what: impl fmt::Display, error: &io::Error) -> Failure {
        let mut failure = Failure::new(format!("cannot {what}: {}", reason_with_errno(error)));
        failure.errno = error.raw_os_error().map(Errno::from_raw);
        failure
    }

    /// Sets the exit code.
    pub fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// Sets the exit code to `other`, unless it is `kept`.
    pub fn exit_unless(self, kept: Exit, other: Exit) -> Failure {
        if self.exit == kept { self } else { self.exit(other) }
    }

    /// Sets the error number.
    pub fn errno(mut self, errno: Errno) -> Failure {
        self.errno = Some(errno);
        self
    }

    /// Sets the hint: what the user can do about the failure.
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Failure {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// Returns the message and the hint.
    pub fn into_parts(self) -> (String, Option<String>) {
        (self.message, self.remedy)
    }

    /// Returns the error number, if the failure has one.
    pub fn number(&self) -> Option<Errno> {
        self.errno
    }

    /// Returns the exit code.
    pub fn exit_code(&self) -> Exit {
        self.exit
    }

    /// Returns `true` if the failure is a write to a pipe without a reader.
    pub fn is_reader_gone(&self) -> bool {
        self.reader_gone
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
        Failure::new(clean(&error.to_string())).errno(error.errno())
    }
}

/// Converts a failed write to standard output. Other input and output is reported with its path.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let mut failure = Failure::system("write to standard output", &error);
        failure.reader_gone = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }
}

/// Returns the system's description of an error, without the suffix "(os error 2)" of `std`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Returns the system's description of an error and the name of its number: `No such file or
/// directory (ENOENT)`.
pub fn reason_with_errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{} ({:?})", reason(error), Errno::from_raw(number)),
        None => reason(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_system_call_names_its_errno() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        let failure = Failure::io("read", Path::new("/no/\x1b"), &error).remedy("create it");
        assert_eq!(failure.to_string(), "cannot read /no/\u{fffd}: No such file or directory (ENOENT); create it");
        assert_eq!(failure.number(), Some(Errno::NOENT));
    }
}
