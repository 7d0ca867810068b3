//! The calls of programs on each class, and their text.

pub mod queues;
pub mod segments;
pub mod sets;
