//! A received message that is as long as it is.
//!
//! # Safety
//!
//! The pieces of a message are readable, as who has them made says; what is read there is bytes.
#![allow(unsafe_code)]

use crate::types::error::Errno;
use crate::types::message_bytes::{Piece, Sink};

/// Where a message of whatever length goes.
#[derive(Default)]
pub struct WholeMessage {
    pub mtype: i64,
    pub bytes: Vec<u8>,
}

impl WholeMessage {
    /// No message is longer: `msgmax` is a C `int`.
    pub const LONGEST: usize = i32::MAX as usize;
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
            // SAFETY: see the module; there is room for all of them.
            unsafe { std::ptr::copy_nonoverlapping(piece.at, to, piece.len) };
            to = to.wrapping_add(piece.len);
        }
        self.mtype = mtype;
        Ok(())
    }
}
