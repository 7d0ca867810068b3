//! `write` and related functions.
//!
//! # Safety
//!
//! See the module above.
#![allow(unsafe_code)]

use crate::base::cancel::deferred_call;
use crate::base::errno::missing;
use crate::base::next::next_functions;
use crate::base::preload_api::{self, ProcFile};
use crate::base::user;
use crate::proc::{descriptor, memfd, writable};
use libc::{c_int, c_void, iovec, off_t, off64_t, size_t, ssize_t};
use quintet::Errno;
use rustix::fs;
use std::mem::MaybeUninit;

/// The kernel looks at this many bytes of a write.
const LOOKED_AT: usize = 4096;

/// The largest number of pieces of a call, `UIO_MAXIOV`.
const MOST_PIECES: usize = 1024;

/// Where a call writes.
#[derive(Clone, Copy)]
pub enum Place {
    /// At the offset of the descriptor.
    Current,
    At(i64),
}

/// Writes to an emulated file. Returns `None`, without effect, if the descriptor is not one of such
/// a file.
pub fn to_file(fd: c_int, pieces: &dyn Fn(&mut Gathered) -> Result<(), Errno>, place: Place) -> Option<ssize_t> {
    if !writable::any() {
        return None;
    }
    let Ok(file) = std::panic::catch_unwind(|| writable::file(fd)) else { return None };
    file.map(|file| {
        deferred_call(-1, || {
            let mut gathered = Gathered::default();
            pieces(&mut gathered)?;
            apply(fd, file, &gathered, place).map(|len| len as ssize_t)
        })
    })
}

fn apply(fd: c_int, file: ProcFile, what: &Gathered, place: Place) -> Result<usize, Errno> {
    let descriptor = descriptor::borrow(fd).ok_or(Errno::BADF)?;
    // Pending data of a stream comes first.
    let _ = writable::apply(fd);
    let position = match place {
        Place::Current => fs::tell(descriptor)? as i64,
        Place::At(position) => position,
    };
    let len = match position {
        _ if matches!(file, ProcFile::List(_)) => return Err(Errno::IO),
        ..0 => return Err(Errno::INVAL),
        // Everything is taken, but only the first page is looked at.
        0 => what.len - (what.seen - preload_api::proc_write(file, what.text())?),
        // A value is written with one call. Further data is ignored without an error.
        1.. => what.len,
    };
    memfd::refresh(descriptor, file)?;
    if let Place::Current = place {
        fs::seek(descriptor, fs::SeekFrom::Current(len as i64))?;
    }
    Ok(len)
}

/// The data of a call, as far as the kernel looks at it.
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

    /// Adds memory of the program.
    pub fn add(&mut self, from: *const c_void, len: usize) -> Result<(), Errno> {
        let more = len.min(LOOKED_AT - self.seen);
        let mut bytes = [const { MaybeUninit::uninit() }; LOOKED_AT];
        if more > 0 {
            user::read_bytes(from, &mut bytes[..more])?;
        }
        for (to, from) in self.bytes[self.seen..].iter_mut().zip(&bytes[..more]) {
            // SAFETY: this many bytes were filled.
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

/// Converts the offset of `pwritev2`: -1 stands for the offset of the descriptor.
fn place(offset: i64) -> Place {
    if offset == -1 { Place::Current } else { Place::At(offset) }
}

fn one(to: &mut Gathered, from: Bytes, len: size_t) -> Result<(), Errno> {
    to.add(from, len)
}

fn several(to: &mut Gathered, pieces: Pieces, count: c_int) -> Result<(), Errno> {
    to.add_all(pieces, count)
}

writes! {
    write(fd, from: Bytes, len: size_t) as one(from, len), Place::Current;
    __write(fd, from: Bytes, len: size_t) as one(from, len), Place::Current;
    pwrite(fd, from: Bytes, len: size_t, offset: off_t) as one(from, len), Place::At(offset.into());
    pwrite64(fd, from: Bytes, len: size_t, offset: off64_t) as one(from, len), Place::At(offset);
    writev(fd, pieces: Pieces, count: c_int) as several(pieces, count), Place::Current;
    pwritev(fd, pieces: Pieces, count: c_int, offset: off_t) as several(pieces, count), Place::At(offset.into());
    pwritev64(fd, pieces: Pieces, count: c_int, offset: off64_t) as several(pieces, count), Place::At(offset);
    pwritev2(fd, pieces: Pieces, count: c_int, offset: off_t, flags: c_int) as several(pieces, count), place(offset.into());
    pwritev64v2(fd, pieces: Pieces, count: c_int, offset: off64_t, flags: c_int) as several(pieces, count), place(offset);
}
