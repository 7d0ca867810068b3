//! System calls and what is known of this process without asking the kernel again.
//!
//! Calls go to the kernel by rustix's raw backend, which is no cancellation point, leaves `errno`
//! alone and is not intercepted by other preloaded libraries. Calls on paths that only one layer
//! makes (`mkdir`, `unlink`, `symlinkat`, `fchmod`) go straight to rustix in that layer.

pub mod clock;
pub mod credentials;
pub mod errno;
pub mod fd;
pub mod fd_thread;
pub mod file;
pub mod fork;
pub mod fork_page;
pub mod futex;
pub mod ids;
pub mod memory;
pub mod path_buffer;
pub mod rseq;
pub mod sigframe_probe;
pub mod signal;
pub mod table;
pub mod truncation;
