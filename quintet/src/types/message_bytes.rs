//! Where a message comes from, and where it goes.

use crate::types::error::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// The bytes of a message to be sent: memory of the caller that can be read for the time of the call. No reference, because another of the
/// program's threads may be writing there; then it is not said what is sent, as in the kernel.
#[derive(Clone, Copy)]
pub struct Source {
    /// Where they are.
    pub at: *const u8,
    /// How many.
    pub len: usize,
}

impl Source {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Source {
        Source { at: bytes.as_ptr(), len: bytes.len() }
    }
}

/// A stretch of a message's bytes in shared memory: mapped and readable, but peers may change it at any time.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Where it is.
    pub at: *const u8,
    /// How many bytes it has.
    pub len: usize,
}

/// Where a received message goes.
pub trait Sink {
    /// Where the message's bytes go, if `len` of them (and the type, if that goes to the program's memory, too) can be written for certain, without asking
    /// anybody. The type is given to [`Sink::put_type`] then.
    fn ready(&mut self, len: usize) -> Option<*mut u8>;

    /// Gets the type, where [`Sink::ready`] has said where the bytes go.
    fn put_type(&mut self, mtype: i64);

    /// Gets a whole message. `EFAULT`: it cannot be written there, and is not taken.
    fn put(&mut self, mtype: i64, pieces: &[Piece]) -> Result<()>;
}
