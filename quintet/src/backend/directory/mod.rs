//! A namespace that is a directory.

pub mod diagnose;
pub mod files;
pub mod hidden;
pub mod proc_files;
