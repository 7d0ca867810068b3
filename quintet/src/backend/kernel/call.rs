//! What the calls of all classes share: results, and limits in `/proc/sys/kernel`.

use crate::sys::file;
use crate::types::error::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// Selects the 64-bit structures on the architectures that have older ones.
pub const IPC_64: i32 = if cfg!(any(target_arch = "x86", target_arch = "arm")) { 0x100 } else { 0 };

pub fn check(ret: std::result::Result<usize, syscalls::Errno>) -> Result<libc::c_long> {
    ret.map(|value| value as libc::c_long).map_err(|e| Errno::from_raw(e.into_raw()))
}

pub fn sysctl(name: &str) -> Result<String> {
    file::read(&*format!("/proc/sys/kernel/{name}")).map(|s| s.trim().to_owned())
}

pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    let fd = open(format!("/proc/sys/kernel/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, value.as_bytes())?;
    Ok(())
}

pub fn number<T: std::str::FromStr>(name: &str) -> Result<T> {
    sysctl(name)?.parse().map_err(|_| Errno::IO)
}
