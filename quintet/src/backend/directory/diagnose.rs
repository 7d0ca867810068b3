//! Diagnosis of a namespace that becomes unusable while a program uses it.
//!
//! The directory may have been removed or replaced, may forbid access, may be read-only, or may be
//! full. Mapped files continue to work. A call that needs another file gets an errno of the file
//! system, which the C call does not document or documents with another meaning.
//!
//! [`Directory::explain_errno`] finds the cause, reports it to the [`listener`], and translates the
//! errno to one that the C call documents. It only makes system calls that the failed call makes,
//! too, because a sandbox may allow no others.

use crate::backend::directory::Directory;
use crate::backend::directory::files::damaged;
use crate::process::listener;
use crate::sys::fd_thread::run_by_path;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{clock, file};
use crate::types::error::{Errno, Error};
use rustix::fs::{self, Mode, OFlags};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The kind of the failed call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The call looks for an object that may not exist.
    Find,
    /// The call creates an object if none exists.
    Create,
    /// The call has an identifier.
    Use,
}

/// A file system with less free space in bytes counts as full.
const MIN_FREE: u64 = 64 << 10;

/// The minimum time in nanoseconds between two diagnoses of errors that may be ordinary.
const PROBE_INTERVAL: u64 = 1_000_000_000;

impl Directory {
    /// Translates the errno of a failed call to one that the C call documents. Reports the cause if
    /// the namespace is unusable.
    #[cold]
    #[inline(never)]
    pub fn explain_errno(&self, call: Call, errno: Errno) -> Errno {
        let is_ordinary = matches!((call, errno), (_, Errno::ACCES) | (Call::Find, Errno::NOENT));
        let error = match errno {
            Errno::NOENT if is_ordinary => None,
            Errno::ACCES => run_by_path(|| self.may_probe().then(|| self.explain_missing_file()).flatten()),
            Errno::NOENT | Errno::NOTDIR => run_by_path(|| self.explain_missing_file()),
            Errno::ROFS => Some(self.error(errno).hint("use a directory on a writable file system")),
            Errno::NOMEM | Errno::NOSPC | Errno::DQUOT => run_by_path(|| self.may_probe().then(|| self.check_space()).flatten()),
            Errno::LOOP | Errno::STALE | Errno::IO | Errno::NODEV | Errno::NOTCONN | Errno::UCLEAN => Some(self.error(errno)),
            _ => return errno,
        };
        if let Some(error) = &error {
            listener::notify(|listener| listener.failed(error));
        }
        match (call, errno) {
            _ if is_ordinary => errno,
            (_, Errno::NOMEM | Errno::NOSPC) => errno,
            (_, Errno::DQUOT) => Errno::NOMEM,
            (Call::Use, Errno::ROFS) => Errno::ACCES,
            // The file of the object is gone.
            (Call::Use, _) => Errno::IDRM,
            _ => Errno::NOSYS,
        }
    }

    fn error(&self, errno: Errno) -> Error {
        Error::at(errno, "use the namespace", self.path())
    }

    /// Returns the error that describes the change, if the directory changed since it was opened.
    fn explain_missing_file(&self) -> Option<Error> {
        match self.identify(format_args!("/namespace")) {
            Ok(now) if now != self.core.identity => {
                Some(self.error(Errno::NOENT).reason("another namespace has taken its place").hint("start the program again"))
            }
            Ok(_) => ["shm", "sem", "msg", "key"].into_iter().find_map(|folder| {
                let missing = self.identify(format_args!("/{folder}")) == Err(rustix::io::Errno::NOENT);
                missing.then(|| damaged(self.path(), folder))
            }),
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => None,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                let why = "it was removed while the program used it";
                let remedy = "start it again to use a new one; its attachments stay valid until it exits";
                Some(self.error(Errno::NOENT).reason(why).hint(remedy))
            }
            Err(rustix::io::Errno::ACCESS) => {
                let why = "this program has no permission to enter it";
                Some(
                    self.error(Errno::ACCES)
                        .reason(why)
                        .hint("ask its owner for access, or create a shared one for programs that change their user"),
                )
            }
            Err(e) => Some(self.error(e.into())),
        }
    }

    /// Returns device and inode of a file in the directory.
    fn identify(&self, entry: std::fmt::Arguments) -> std::result::Result<(u64, u64), rustix::io::Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let stat = fs::fstat(fs::open(PathBuffer::new(self.core.directory(), entry).c_str(), flags, Mode::empty())?)?;
        Ok((stat.st_dev as u64, stat.st_ino as u64))
    }

    /// Returns an error if the file system is full: it cannot allocate `MIN_FREE` bytes for a file.
    fn check_space(&self) -> Option<Error> {
        file::fits_file_limit(MIN_FREE).ok()?;
        let folder = PathBuffer::new(self.core.directory(), format_args!("/sem"));
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = fs::open(folder.c_str(), flags, Mode::RUSR | Mode::WUSR);
        match file.and_then(|file| fs::fallocate(file, fs::FallocateFlags::empty(), 0, MIN_FREE)) {
            Err(e @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => {
                Some(self.error(e.into()).reason("its file system is full").hint("make room there, or use another directory"))
            }
            _ => None,
        }
    }

    /// Returns `true` once per `PROBE_INTERVAL`.
    fn may_probe(&self) -> bool {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (now, last) = (clock::coarse_nanos(), LAST.load(Relaxed));
        let due = now.wrapping_sub(last) > PROBE_INTERVAL;
        if due {
            LAST.store(now, Relaxed);
        }
        due
    }
}
