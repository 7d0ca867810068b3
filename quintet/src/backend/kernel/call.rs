//! Results of system calls, and the limits in `/proc/sys/kernel`.

use crate::sys::file;
use crate::types::error::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// The kernel's System V IPC in this process's IPC namespace.
#[derive(Clone, Copy)]
pub struct Kernel;

/// The flag that selects the 64-bit structures on architectures that also have older ones.
pub const IPC_64: i32 = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 0x100 } else { 0 };

/// Converts the result of a system call.
pub fn check(ret: std::result::Result<usize, syscalls::Errno>) -> Result<libc::c_long> {
    ret.map(|value| value as libc::c_long).map_err(|e| Errno::from_raw(e.into_raw()))
}

/// Reads the file `name` in `/proc/sys/kernel`.
pub fn sysctl(name: &str) -> Result<String> {
    file::read(&*format!("/proc/sys/kernel/{name}")).map(|s| s.trim().to_owned())
}

/// Writes the file `name` in `/proc/sys/kernel`.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    let fd = open(format!("/proc/sys/kernel/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, value.as_bytes())?;
    Ok(())
}

/// Reads one number from the file `name` in `/proc/sys/kernel`.
pub fn number<T: std::str::FromStr>(name: &str) -> Result<T> {
    sysctl(name)?.parse().map_err(|_| Errno::IO)
}
