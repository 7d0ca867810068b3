//! The source and the destination of a message's bytes.

use crate::types::error::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// The bytes of a message to send: memory of the caller that is readable during the call.
///
/// It is not a reference, because another thread of the program can write there. It is then
/// unspecified what is sent, as in the kernel.
#[derive(Clone, Copy)]
pub struct Source {
    /// Their address.
    pub at: *const u8,
    /// Their number.
    pub len: usize,
}

impl Source {
    /// The bytes of a slice.
    pub fn new(bytes: &[u8]) -> Source {
        Source { at: bytes.as_ptr(), len: bytes.len() }
    }
}

/// A part of a message in shared memory. It is readable, but peers can change it at any time.
#[derive(Clone, Copy)]
pub struct Piece {
    /// Its address.
    pub at: *const u8,
    /// Its number of bytes.
    pub len: usize,
}

/// The destination of a received message.
pub trait Sink {
    /// Returns the address for `len` bytes, if they can certainly be written there without a system
    /// call.
    ///
    /// If the type goes to the program's memory, it must be writable, too. [`Sink::put_type`] gets
    /// it later.
    fn ready(&mut self, len: usize) -> Option<*mut u8>;

    /// Takes the type of a message after its bytes went to the address that [`Sink::ready`]
    /// returned.
    fn put_type(&mut self, mtype: i64);

    /// Takes a complete message.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the destination cannot be written. The message then stays in the queue.
    fn put(&mut self, mtype: i64, pieces: &[Piece]) -> Result<()>;
}
