//! How a program reaches the library: initialization, calls by number, and functions that the
//! program looks up.

#[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
mod dlopen;
mod load;
mod syscall;
