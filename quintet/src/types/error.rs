//! Errors: the kernel's numbers, and messages for users.

use std::fmt;
use std::path::Path;

/// An `errno` value, as the kernel's call sets it.
///
/// The known values are constants, not the variants of an enum: the host can return a number that
/// this crate does not know, and the crate returns it unchanged.
///
/// ```
/// use quintet::Errno;
/// assert_eq!(Errno::NOENT.name(), Some("ENOENT"));
/// assert_eq!(Errno::NOENT.raw(), 2);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $value:ident, $text:literal;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($value), "`: ", $text, ".")]
            pub const $name: Errno = Errno(libc::$value);)*

            /// Returns the symbolic name, or `None` if this crate does not know the value.
            ///
            /// ```
            /// assert_eq!(quintet::Errno::INVAL.name(), Some("EINVAL"));
            /// ```
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $(libc::$value => Some(stringify!($value)),)* _ => None }
            }

            /// Returns a short description, similar to that of `errno(3)`.
            ///
            /// ```
            /// assert_eq!(quintet::Errno::IDRM.description(), "identifier removed");
            /// ```
            pub fn description(self) -> &'static str {
                match self.0 { $(libc::$value => $text,)* _ => "unknown error" }
            }
        }
    };
}

errnos! {
    PERM = EPERM, "operation not permitted";
    NOENT = ENOENT, "no such object";
    INTR = EINTR, "interrupted by a signal";
    IO = EIO, "input/output error";
    TOOBIG = E2BIG, "argument list too long";
    NOEXEC = ENOEXEC, "not an executable format";
    AGAIN = EAGAIN, "resource temporarily unavailable";
    NOMEM = ENOMEM, "not enough memory";
    ACCES = EACCES, "permission denied";
    FAULT = EFAULT, "bad address";
    BUSY = EBUSY, "device or resource busy";
    EXIST = EEXIST, "object exists";
    NODEV = ENODEV, "no such device";
    NOTDIR = ENOTDIR, "not a directory";
    ISDIR = EISDIR, "is a directory";
    INVAL = EINVAL, "invalid argument";
    NFILE = ENFILE, "too many open files in system";
    MFILE = EMFILE, "too many open files";
    FBIG = EFBIG, "file too large";
    NOSPC = ENOSPC, "no space left";
    ROFS = EROFS, "read-only file system";
    MLINK = EMLINK, "too many links";
    RANGE = ERANGE, "result out of range";
    NAMETOOLONG = ENAMETOOLONG, "file name too long";
    NOSYS = ENOSYS, "function not implemented";
    NOTEMPTY = ENOTEMPTY, "directory not empty";
    LOOP = ELOOP, "too many levels of symbolic links";
    NOMSG = ENOMSG, "no message of the desired type";
    IDRM = EIDRM, "identifier removed";
    OPNOTSUPP = EOPNOTSUPP, "operation not supported";
    TIMEDOUT = ETIMEDOUT, "timed out";
    NXIO = ENXIO, "no such device or address";
    BADF = EBADF, "bad file descriptor";
    BADMSG = EBADMSG, "damaged data";
    PROTONOSUPPORT = EPROTONOSUPPORT, "version not supported";
    SRCH = ESRCH, "no such process";
    CHILD = ECHILD, "no child processes";
    DEADLK = EDEADLK, "resource deadlock avoided";
    NOLCK = ENOLCK, "no locks available";
    NODATA = ENODATA, "no data available";
    XDEV = EXDEV, "invalid cross-device link";
    TXTBSY = ETXTBSY, "text file busy";
    SPIPE = ESPIPE, "illegal seek";
    PIPE = EPIPE, "broken pipe";
    OVERFLOW = EOVERFLOW, "value too large";
    NOTTY = ENOTTY, "inappropriate ioctl for device";
    STALE = ESTALE, "stale file handle";
    DQUOT = EDQUOT, "disk quota exceeded";
    NOTCONN = ENOTCONN, "not connected";
    HOSTDOWN = EHOSTDOWN, "host is down";
    REMOTEIO = EREMOTEIO, "remote input/output error";
    CANCELED = ECANCELED, "operation cancelled";
    CONNREFUSED = ECONNREFUSED, "connection refused";
    NOMEDIUM = ENOMEDIUM, "no medium found";
    UCLEAN = EUCLEAN, "damaged file system";
    NOKEY = ENOKEY, "required key not available";
}

impl Errno {
    /// Creates the value from its number.
    ///
    /// ```
    /// use quintet::Errno;
    /// assert_eq!(Errno::from_raw(22), Errno::INVAL);
    /// ```
    pub const fn from_raw(raw: i32) -> Errno {
        Errno(raw)
    }

    /// Returns the number, as in `<errno.h>`.
    ///
    /// ```
    /// assert_eq!(quintet::Errno::AGAIN.raw(), 11);
    /// ```
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.description(), self)
    }
}

impl std::error::Error for Errno {}

impl From<rustix::io::Errno> for Errno {
    fn from(e: rustix::io::Errno) -> Errno {
        Errno(e.raw_os_error())
    }
}

impl From<Errno> for std::io::Error {
    fn from(e: Errno) -> std::io::Error {
        std::io::Error::from_raw_os_error(e.0)
    }
}

/// A failed operation, with a message for the user.
///
/// It prints as "cannot VERB OBJECT: REASON (ERRNO); HINT". The hint is missing where the user can
/// do nothing. [`Error::errno`] returns the number.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap(); let path = dir.path().join("ns");
/// use quintet::{Errno, Key, Kind, Namespace, Segment};
/// let ns = Namespace::create(&path, Kind::Private)?;
/// let error = Segment::open_or_create(&ns, Key::new(0x5eed), 0).unwrap_err();
/// assert_eq!(error.errno(), Errno::INVAL);
/// assert!(error.to_string().starts_with("cannot create a segment of 0 bytes with key 0x00005eed: "));
/// # Ok::<(), quintet::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    errno: Errno,
    /// "cannot VERB OBJECT"; `None` if only the errno is known.
    failure: Option<String>,
    /// A more exact reason than the errno's description.
    reason: Option<String>,
    hint: Option<String>,
}

impl Error {
    /// Creates an error; `failure` is "cannot VERB OBJECT".
    pub(crate) fn new(errno: Errno, failure: impl Into<String>) -> Error {
        Error { errno, failure: Some(failure.into()), reason: None, hint: None }
    }

    /// Replaces the errno's description with a more exact reason.
    pub(crate) fn reason(mut self, reason: impl Into<String>) -> Error {
        self.reason = Some(reason.into());
        self
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Creates the error "cannot VERB PATH".
    pub(crate) fn at(errno: Errno, verb: &str, path: &Path) -> Error {
        Error::new(errno, format!("cannot {verb} {}", shown(path)))
    }

    /// Returns the number that the C call sets.
    ///
    /// ```
    /// use quintet::{Errno, Error};
    /// assert_eq!(Error::from(Errno::NOENT).errno(), Errno::NOENT);
    /// ```
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

/// Returns the text as one word of a shell command line.
///
/// Backslashes are used rather than quotes, because the command line itself is in quotes.
pub fn shell_word(text: &str) -> String {
    let mut word = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_alphanumeric() && !"/._-+,:=@%".contains(c) {
            word.push('\\');
        }
        word.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    word
}

/// Returns a path for a message. The middle of a very long path is omitted.
fn shown(path: &Path) -> String {
    const ENDS: usize = 100;
    let text = path.display().to_string();
    let count = text.chars().count();
    if count <= 4 * ENDS {
        return text;
    }
    text.chars().take(ENDS).chain("...".chars()).chain(text.chars().skip(count - ENDS)).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            write!(f, "{failure}: ")?;
        }
        match &self.reason {
            Some(reason) => write!(f, "{reason} ({:?})", self.errno)?,
            None => write!(f, "{}", self.errno)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// Converts an errno, so that `?` works on the C calls' verbs, too. The message is the errno's own.
///
/// ```
/// fn key() -> quintet::Result<quintet::Key> {
///     let key = quintet::Key::ftok("/", 1)?;
///     Ok(key)
/// }
/// assert!(key().is_ok());
///
/// let error = quintet::Error::from(quintet::Errno::NOENT);
/// assert_eq!(error.to_string(), "no such object (ENOENT)");
/// ```
impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error { errno, failure: None, reason: None, hint: None }
    }
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> std::io::Error {
        let kind = std::io::Error::from_raw_os_error(e.errno.raw()).kind();
        std::io::Error::new(kind, e)
    }
}

/// The result of the safe API.
///
/// ```
/// fn create(path: &std::path::Path) -> quintet::Result<quintet::Namespace> {
///     quintet::Namespace::create(path, quintet::Kind::Private)
/// }
/// # let dir = tempfile::tempdir().unwrap();
/// assert!(create(&dir.path().join("ns")).is_ok());
/// ```
pub type Result<T> = std::result::Result<T, Error>;
