//! What changes the process: exec and the environment that a program inherits, exit, credentials,
//! the root directory, jumps, and truncated files.

pub mod credentials;
pub mod environment;
pub mod exec;
#[cfg(any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))]
mod execl;
pub mod exit;
pub mod jump;
pub mod root;
pub mod spawn;
pub mod truncation;
