//! What every other module builds on: the frame of an exported call, `errno`, the next library's
//! functions, and memory. Nothing here knows which call is made.

pub mod allocator;
pub mod call;
pub mod cancel;
#[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
pub mod dlsym;
pub mod errno;
pub mod next;
pub mod page_cache;
pub mod raw;
pub mod scratch;
pub mod strings;
pub mod user;

/// The interface of crate `quintet` that exists for this library.
pub use quintet::preload_api;
