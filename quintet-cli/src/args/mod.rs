//! Values on the command line: how each kind is written, and what `--help` says about it.

pub mod duration;
pub mod message_type;
pub mod object;
pub mod operations;
pub mod size;
pub mod values;
