//! This machine: its programs, processes and users, and what the tool itself starts and creates.

pub mod child;
pub mod process;
pub mod program;
pub mod temp_namespace;
pub mod users;
