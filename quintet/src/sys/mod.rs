//! The only system calls.
