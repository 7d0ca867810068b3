//! Errors: the kernel's numbers, and sentences for people.

use std::fmt;
use std::path::Path;

/// An `errno` value, exactly as the kernel's call would set it.
///
/// A set of constants and not a closed enum: the host may return a number that
/// this crate does not know, and it is passed on as it is.
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

            /// The symbolic name, `"EINVAL"` for example, where this crate knows it.
            pub fn name(self) -> Option<&'static str> {
                match self.0 { $(libc::$value => Some(stringify!($value)),)* _ => None }
            }

            /// A short description, in the words of `errno(3)`.
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
    /// The value from its number.
    pub const fn from_raw(raw: i32) -> Errno {
        Errno(raw)
    }

    /// The number, as in `<errno.h>`.
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

/// A failed operation, told for a person: what was tried, on what, why it failed
/// and, where something can be done, what to do.
///
/// The number is kept: [`Error::errno`].
#[derive(Clone, Debug)]
pub struct Error {
    errno: Errno,
    what: String,
    why: Option<String>,
    remedy: Option<String>,
}

impl Error {
    pub(crate) fn new(errno: Errno, what: impl Into<String>) -> Error {
        Error { errno, what: what.into(), why: None, remedy: None }
    }

    pub(crate) fn why(mut self, why: impl Into<String>) -> Error {
        self.why = Some(why.into());
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Error {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn at(errno: Errno, verb: &str, path: &Path) -> Error {
        Error::new(errno, format!("cannot {verb} {}", shown(path)))
    }

    /// The number that the C call would have set.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

/// A path, without the middle if it is very long: who reads it wants to know why, too.
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
        f.write_str(&self.what)?;
        match &self.why {
            Some(why) => write!(f, ": {why} ({:?})", self.errno)?,
            None => write!(f, ": {}", self.errno)?,
        }
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> std::io::Error {
        let kind = std::io::Error::from_raw_os_error(e.errno.raw()).kind();
        std::io::Error::new(kind, e)
    }
}

/// The result of the safe API.
pub type Result<T> = std::result::Result<T, Error>;
