//! A namespace that stops being usable while a program uses it: its directory was removed, or replaced, or may not be entered any more; it
//! cannot be written, or is full.
//!
//! What is mapped goes on working. A call that needs a file gets a number from the file system that the C call does not have,
//! or that means something else there. So it is found out what has happened, who wants to know is told, and the number is
//! made one that a program understands. It is found out by system calls that the failed call has just made, or would have:
//! a sandbox may allow no others.

use crate::backend::directory::Directory;
use crate::backend::directory::files::damaged;
use crate::process::listener;
use crate::sys::fd_thread::run_by_path;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{clock, file};
use crate::types::error::{Errno, Error};
use rustix::fs::{self, Mode, OFlags};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a call is that has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It looks for an object, which need not be there.
    Find,
    /// It makes an object if there is none.
    Make,
    /// It has an identifier.
    Use,
}

/// A file system with less than this is full.
const FULL: u64 = 64 << 10;

/// What may be as it should be is looked into once in so many nanoseconds.
const SELDOM: u64 = 1_000_000_000;

impl Directory {
    /// What the number of a failed call is to a program.
    #[cold]
    #[inline(never)]
    pub fn explained(&self, call: Call, errno: Errno) -> Errno {
        let usual = matches!((call, errno), (_, Errno::ACCES) | (Call::Find, Errno::NOENT));
        let trouble = match errno {
            Errno::NOENT if usual => None,
            Errno::ACCES => run_by_path(|| self.may_look().then(|| self.explain_missing_file()).flatten()),
            Errno::NOENT | Errno::NOTDIR => run_by_path(|| self.explain_missing_file()),
            Errno::ROFS => Some(self.trouble(errno).hint("a namespace must be on a file system that can be written")),
            Errno::NOMEM | Errno::NOSPC | Errno::DQUOT => run_by_path(|| self.may_look().then(|| self.room()).flatten()),
            Errno::LOOP | Errno::STALE | Errno::IO | Errno::NODEV | Errno::NOTCONN | Errno::UCLEAN => Some(self.trouble(errno)),
            _ => return errno,
        };
        if let Some(trouble) = &trouble {
            listener::tell(|listener| listener.trouble(trouble));
        }
        match (call, errno) {
            _ if usual => errno,
            (_, Errno::NOMEM | Errno::NOSPC) => errno,
            (_, Errno::DQUOT) => Errno::NOMEM,
            (Call::Use, Errno::ROFS) => Errno::ACCES,
            // Its file has gone.
            (Call::Use, _) => Errno::IDRM,
            _ => Errno::NOSYS,
        }
    }

    fn trouble(&self, errno: Errno) -> Error {
        Error::at(errno, "use the namespace", self.path())
    }

    /// What has become of the directory, if it is not as it was.
    fn explain_missing_file(&self) -> Option<Error> {
        match self.look_at(format_args!("/namespace")) {
            Ok(now) if now != self.core.identity => {
                Some(self.trouble(Errno::NOENT).reason("another one was put in its place").hint("start the program again"))
            }
            Ok(_) => ["shm", "sem", "msg", "key"].into_iter().find_map(|folder| {
                let missing = self.look_at(format_args!("/{folder}")) == Err(rustix::io::Errno::NOENT);
                missing.then(|| damaged(self.path(), folder))
            }),
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => None,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                let why = "it was removed while the program used it";
                let remedy = "what the program has attached stays; start it again for a new one";
                Some(self.trouble(Errno::NOENT).reason(why).hint(remedy))
            }
            Err(rustix::io::Errno::ACCESS) => {
                let why = "this program may not enter it, or not any more";
                Some(
                    self.trouble(Errno::ACCES)
                        .reason(why)
                        .hint("ask its owner, or make a shared one for programs that change their user"),
                )
            }
            Err(e) => Some(self.trouble(e.into())),
        }
    }

    /// Which file this is.
    fn look_at(&self, entry: std::fmt::Arguments) -> std::result::Result<(u64, u64), rustix::io::Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let stat = fs::fstat(fs::open(PathBuffer::new(self.core.directory(), entry).c_str(), flags, Mode::empty())?)?;
        Ok((stat.st_dev as u64, stat.st_ino as u64))
    }

    /// Whether the file system is full: a file of some size cannot be had.
    fn room(&self) -> Option<Error> {
        file::fits_file_limit(FULL).ok()?;
        let folder = PathBuffer::new(self.core.directory(), format_args!("/sem"));
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = fs::open(folder.c_str(), flags, Mode::RUSR | Mode::WUSR);
        match file.and_then(|file| fs::fallocate(file, fs::FallocateFlags::empty(), 0, FULL)) {
            Err(e @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Some(
                self.trouble(e.into()).reason("its file system is full").hint("make room there, or choose another directory"),
            ),
            _ => None,
        }
    }

    fn may_look(&self) -> bool {
        static LOOKED: AtomicU64 = AtomicU64::new(0);
        let (now, looked) = (clock::coarse_nanos(), LOOKED.load(Relaxed));
        let may = now.wrapping_sub(looked) > SELDOM;
        if may {
            LOOKED.store(now, Relaxed);
        }
        may
    }
}
