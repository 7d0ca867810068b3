//! Keys: the names by which programs find an object.

use crate::types::error::Errno;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The key of an object, `key_t`.
///
/// ```
/// use quintet::Key;
/// assert_eq!("0x4d2".parse::<Key>().unwrap(), Key::new(1234));
/// assert_eq!(Key::new(1234).to_string(), "0x000004d2");
/// assert!(Key::PRIVATE.is_private());
/// ```
///
/// # References
///
/// sysvipc(7), ftok(3)
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[doc(alias = "key_t")]
pub struct Key(i32);

impl Key {
    /// `IPC_PRIVATE`: always a new object, which no key finds.
    #[doc(alias = "IPC_PRIVATE")]
    pub const PRIVATE: Key = Key(0);

    /// A key from its number. 0 is [`Key::PRIVATE`].
    pub const fn new(raw: i32) -> Key {
        Key(raw)
    }

    /// The number.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// Whether this is `IPC_PRIVATE`.
    pub const fn is_private(self) -> bool {
        self.0 == 0
    }

    /// The key of a file: `key_t ftok(const char *pathname, int proj_id)`, bit for bit as glibc makes it:
    /// the low 16 bits of the inode number, the low 8 of the device number, the low 8 of `project`.
    ///
    /// `path` is any existing file; `project` any number, of which the low 8 bits count.
    ///
    /// ```
    /// let key = quintet::Key::ftok("/", 'q' as i32).unwrap();
    /// assert_eq!(key.raw() >> 24, 'q' as i32);
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `stat(2)`: `ENOENT` no such file, `EACCES` a folder on the way may not be searched,
    /// `ENOTDIR`, `ELOOP`, `ENAMETOOLONG`.
    ///
    /// # References
    ///
    /// ftok(3)
    pub fn ftok(path: impl AsRef<Path>, project: i32) -> Result<Key, Errno> {
        let stat = rustix::fs::statx(rustix::fs::CWD, path.as_ref(), rustix::fs::AtFlags::empty(), rustix::fs::StatxFlags::INO)?;
        Ok(Key::from_parts(stat.stx_ino, stat.stx_dev_minor, project))
    }

    /// The key made of a file's inode number, its device's minor number and the project number.
    /// (The low 8 bits of `st_dev` are those of the minor number.)
    pub fn from_parts(inode: u64, dev_minor: u32, project: i32) -> Key {
        let bits = (inode & 0xffff) as u32 | (dev_minor & 0xff) << 16 | (project as u32 & 0xff) << 24;
        Key(bits as i32)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

/// Decimal or `0x` hexadecimal, of 32 bits; or `private`.
impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let wrong = || format!("'{text}' is not a key: give a number of 32 bits, decimal or 0x hexadecimal, or 'private'");
        if text.eq_ignore_ascii_case("private") {
            return Ok(Key::PRIVATE);
        }
        let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) if !hex.starts_with(['+', '-']) => i64::from_str_radix(hex, 16).map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
            None => text.parse::<i64>().map_err(|_| wrong())?,
        };
        if value < i64::from(i32::MIN) || value > i64::from(u32::MAX) {
            return Err(wrong());
        }
        Ok(Key(value as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        for raw in [0, 1, 1234, -1, i32::MIN, i32::MAX] {
            assert_eq!(Key::new(raw).to_string().parse::<Key>().unwrap(), Key::new(raw));
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        for text in ["", "x", "0x", "0x1ffffffff", "4294967296", "-2147483649", "0x-1", "1 "] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn ftok_is_glibcs() {
        for path in ["/", "/proc/self/exe", "/dev/null"] {
            for project in [0, 1, 255, 256, -1, 'q' as i32] {
                let c = std::ffi::CString::new(path).unwrap();
                #[allow(unsafe_code)]
                // SAFETY: ftok(3) reads a C string, which `c` is and outlives the call.
                let glibc = unsafe { libc::ftok(c.as_ptr(), project) };
                assert_eq!(Key::ftok(path, project).unwrap().raw(), glibc, "{path} {project}");
            }
        }
        assert_eq!(Key::ftok("/no/such", 1), Err(Errno::NOENT));
    }
}
