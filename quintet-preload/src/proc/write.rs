//! `write` and its like.
//!
//! # Safety
//!
//! As in the module above.
#![allow(unsafe_code)]

use crate::base::cancel::c_call;
use crate::base::errno::missing;
use crate::base::next::next_functions;
use crate::base::preload_api::{self, ProcFile};
use crate::base::user;
use crate::proc::{descriptor, memfd, writable};
use libc::{c_int, c_void, iovec, off_t, off64_t, size_t, ssize_t};
use quintet::Errno;
use rustix::fs;
use std::mem::MaybeUninit;

/// More the kernel does not look at.
const LOOKED_AT: usize = 4096;

/// Most pieces that a call may have, `UIO_MAXIOV`.
const MOST_PIECES: usize = 1024;

/// Where a call writes to.
#[derive(Clone, Copy)]
pub enum Place {
    /// Where the descriptor has come to.
    Here,
    At(i64),
}

/// Writes to one of the files, as its descriptor is one. `None`: it is not, and nothing was done.
pub fn to_file(fd: c_int, pieces: &dyn Fn(&mut Gathered) -> Result<(), Errno>, place: Place) -> Option<ssize_t> {
    if !writable::any() {
        return None;
    }
    let Ok(file) = std::panic::catch_unwind(|| writable::file(fd)) else { return None };
    file.map(|file| {
        c_call(-1, || {
            let mut gathered = Gathered::default();
            pieces(&mut gathered)?;
            carry_out(fd, file, &gathered, place).map(|len| len as ssize_t)
        })
    })
}

fn carry_out(fd: c_int, file: ProcFile, what: &Gathered, place: Place) -> Result<usize, Errno> {
    let descriptor = descriptor::borrow(fd).ok_or(Errno::BADF)?;
    // What a stream has written before comes first.
    let _ = writable::deliver(fd);
    let position = match place {
        Place::Here => fs::tell(descriptor)? as i64,
        Place::At(position) => position,
    };
    let len = match position {
        _ if matches!(file, ProcFile::List(_)) => return Err(Errno::IO),
        ..0 => return Err(Errno::INVAL),
        // Of what is beyond a page nothing is looked at, and all is taken.
        0 => what.len - (what.seen - preload_api::proc_write(file, what.text())?),
        // A value is written in one go. What follows is ignored, but is no error.
        1.. => what.len,
    };
    memfd::renew(descriptor, file)?;
    if let Place::Here = place {
        fs::seek(descriptor, fs::SeekFrom::Current(len as i64))?;
    }
    Ok(len)
}

/// What a call writes: as much as the kernel looks at.
pub struct Gathered {
    bytes: [u8; LOOKED_AT],
    seen: usize,
    len: usize,
}

impl Default for Gathered {
    fn default() -> Gathered {
        Gathered { bytes: [0; LOOKED_AT], seen: 0, len: 0 }
    }
}

impl Gathered {
    fn text(&self) -> &[u8] {
        &self.bytes[..self.seen]
    }

    /// Adds memory of the program's.
    pub fn add(&mut self, from: *const c_void, len: usize) -> Result<(), Errno> {
        let more = len.min(LOOKED_AT - self.seen);
        let mut bytes = [const { MaybeUninit::uninit() }; LOOKED_AT];
        if more > 0 {
            user::read_bytes(from, &mut bytes[..more])?;
        }
        for (to, from) in self.bytes[self.seen..].iter_mut().zip(&bytes[..more]) {
            // SAFETY: so many were filled.
            *to = unsafe { from.assume_init() };
        }
        self.seen += more;
        self.len = self.len.checked_add(len).filter(|len| *len <= isize::MAX as usize).ok_or(Errno::INVAL)?;
        Ok(())
    }

    /// Adds pieces of the program's memory.
    pub fn add_all(&mut self, pieces: *const iovec, count: c_int) -> Result<(), Errno> {
        let count = usize::try_from(count).ok().filter(|count| *count <= MOST_PIECES).ok_or(Errno::INVAL)?;
        for index in 0..count {
            let piece: iovec = user::read(pieces.wrapping_add(index))?;
            self.add(piece.iov_base, piece.iov_len)?;
        }
        Ok(())
    }
}

macro_rules! writes {
    ($($name:ident($fd:ident, $($arg:ident: $type:ty),*) as $gather:ident($($from:ident),*), $place:expr;)*) => {
        next_functions! { $($name: unsafe extern "C-unwind" fn(c_int, $($type),*) -> ssize_t;)* }

        $(
            #[doc = concat!("`", stringify!($name), "`: write(2)")]
            ///
            /// # Safety
            ///
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($fd: c_int, $($arg: $type),*) -> ssize_t {
                let Some(real) = next::$name.get() else { return missing(-1) };
                if writable::any() && let Some(done) = to_file($fd, &|to| $gather(to, $($from),*), $place) {
                    return done;
                }
                // SAFETY: the caller's contract is the same.
                unsafe { real($fd, $($arg),*) }
            }
        )*
    };
}

type Bytes = *const c_void;
type Pieces = *const iovec;

/// An offset of `pwritev2`: -1 is where the descriptor has come to.
fn place(offset: i64) -> Place {
    if offset == -1 { Place::Here } else { Place::At(offset) }
}

fn one(to: &mut Gathered, from: Bytes, len: size_t) -> Result<(), Errno> {
    to.add(from, len)
}

fn several(to: &mut Gathered, pieces: Pieces, count: c_int) -> Result<(), Errno> {
    to.add_all(pieces, count)
}

writes! {
    write(fd, from: Bytes, len: size_t) as one(from, len), Place::Here;
    __write(fd, from: Bytes, len: size_t) as one(from, len), Place::Here;
    pwrite(fd, from: Bytes, len: size_t, offset: off_t) as one(from, len), Place::At(offset.into());
    pwrite64(fd, from: Bytes, len: size_t, offset: off64_t) as one(from, len), Place::At(offset);
    writev(fd, pieces: Pieces, count: c_int) as several(pieces, count), Place::Here;
    pwritev(fd, pieces: Pieces, count: c_int, offset: off_t) as several(pieces, count), Place::At(offset.into());
    pwritev64(fd, pieces: Pieces, count: c_int, offset: off64_t) as several(pieces, count), Place::At(offset);
    pwritev2(fd, pieces: Pieces, count: c_int, offset: off_t, flags: c_int) as several(pieces, count), place(offset.into());
    pwritev64v2(fd, pieces: Pieces, count: c_int, offset: off64_t, flags: c_int) as several(pieces, count), place(offset);
}
