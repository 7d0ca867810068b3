//! A received message of any length.
//!
//! # Safety
//!
//! The pieces of a message are readable, by the contract of [`Piece`]. Peers can change them, so
//! they are copied as bytes.
#![allow(unsafe_code)]

use crate::types::error::Errno;
use crate::types::message_bytes::{Piece, Sink};

/// A [`Sink`] for a message of any length.
#[derive(Default)]
pub struct WholeMessage {
    /// The message's type.
    pub mtype: i64,
    /// The message's bytes.
    pub bytes: Vec<u8>,
}

impl WholeMessage {
    /// The greatest length of a message in bytes: `msgmax` is a C `int`.
    pub const MAX_LEN: usize = i32::MAX as usize;
}

impl Sink for WholeMessage {
    fn ready(&mut self, len: usize) -> Option<*mut u8> {
        self.bytes.clear();
        self.bytes.try_reserve_exact(len).ok()?;
        self.bytes.resize(len, 0);
        Some(self.bytes.as_mut_ptr())
    }

    fn put_type(&mut self, mtype: i64) {
        self.mtype = mtype;
    }

    fn put(&mut self, mtype: i64, pieces: &[Piece]) -> Result<(), Errno> {
        let mut to = self.ready(pieces.iter().map(|piece| piece.len).sum()).ok_or(Errno::NOMEM)?;
        for piece in pieces {
            // SAFETY: the piece is readable; see the module. `ready` has made room for all pieces.
            unsafe { std::ptr::copy_nonoverlapping(piece.at, to, piece.len) };
            to = to.wrapping_add(piece.len);
        }
        self.mtype = mtype;
        Ok(())
    }
}
