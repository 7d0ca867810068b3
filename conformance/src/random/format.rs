//! Results as text that means the same on every subject.

use crate::{Errno, Message, Outcome};

/// Returns the name of an errno.
pub(super) fn errno(e: Errno) -> String {
    format!("{e:?}")
}

pub(super) fn done(outcome: Outcome<()>) -> String {
    outcome.map_or_else(errno, |()| "done".to_owned())
}

pub(super) fn received(outcome: Outcome<Message>) -> String {
    outcome.map_or_else(errno, |got| message(&got))
}

/// Formats a message: type, length, and text. A long text is replaced by a checksum.
pub(super) fn message(message: &Message) -> String {
    let bytes = match message.text.len() {
        0..=20 => format!("{:?}", message.text),
        _ => format!("{:08x}", message.text.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))),
    };
    format!("{}:{}:{bytes}", message.mtype, message.text.len())
}
