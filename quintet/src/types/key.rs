//! Keys: the numbers by which programs find an object.

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
    /// `IPC_PRIVATE`: creates a new object, which cannot be found by a key.
    #[doc(alias = "IPC_PRIVATE")]
    pub const PRIVATE: Key = Key(0);

    /// Creates a key from its number. 0 is [`Key::PRIVATE`].
    ///
    /// ```
    /// use quintet::Key;
    /// assert_eq!(Key::new(0), Key::PRIVATE);
    /// ```
    pub const fn new(raw: i32) -> Key {
        Key(raw)
    }

    /// Returns the number.
    ///
    /// ```
    /// assert_eq!(quintet::Key::new(1234).raw(), 1234);
    /// ```
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// Returns `true` if this is `IPC_PRIVATE`.
    ///
    /// ```
    /// assert!(!quintet::Key::new(1234).is_private());
    /// ```
    pub const fn is_private(self) -> bool {
        self.0 == 0
    }

    /// Returns the key of a file: `key_t ftok(const char *pathname, int proj_id)`.
    ///
    /// - `path` is any existing file.
    /// - `project` is any number, of which the low 8 bits are used.
    ///
    /// The key has the same bits as glibc's: the low 16 bits of the inode number, the low 8 bits of
    /// the device number, and the low 8 bits of `project`.
    ///
    /// ```
    /// let key = quintet::Key::ftok("/", 'q' as i32)?;
    /// assert_eq!(key.raw() >> 24, 'q' as i32);
    /// # Ok::<(), quintet::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `stat(2)`:
    ///
    /// | errno | when |
    /// |---|---|
    /// | `EACCES` | a directory of the path cannot be searched |
    /// | `ELOOP` | the path has too many symbolic links |
    /// | `ENAMETOOLONG` | the path is too long |
    /// | `ENOENT` | the file does not exist |
    /// | `ENOTDIR` | a part of the path is not a directory |
    ///
    /// # References
    ///
    /// ftok(3)
    pub fn ftok(path: impl AsRef<Path>, project: i32) -> Result<Key, Errno> {
        let stat = rustix::fs::statx(rustix::fs::CWD, path.as_ref(), rustix::fs::AtFlags::empty(), rustix::fs::StatxFlags::INO)?;
        Ok(Key::from_parts(stat.stx_ino, stat.stx_dev_minor, project))
    }

    /// Returns the key for a file's inode number, the minor number of its device, and a project
    /// number.
    ///
    /// The low 8 bits of `st_dev` are those of the minor number.
    ///
    /// ```
    /// assert_eq!(quintet::Key::from_parts(0x1234, 0x56, 0x78).raw(), 0x7856_1234);
    /// ```
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

/// Parses a decimal or `0x` hexadecimal number of 32 bits, or `private`.
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
    fn display_round_trips() {
        for raw in [0, 1, 1234, -1, i32::MIN, i32::MAX] {
            assert_eq!(Key::new(raw).to_string().parse::<Key>().unwrap(), Key::new(raw));
        }
    }

    #[test]
    fn invalid_text_is_rejected() {
        for text in ["", "x", "0x", "0x1ffffffff", "4294967296", "-2147483649", "0x-1", "1 "] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn ftok_matches_glibc() {
        for path in ["/", "/proc/self/exe", "/dev/null"] {
            for project in [0, 1, 255, 256, -1, 'q' as i32] {
                let c = std::ffi::CString::new(path).unwrap();
                #[allow(unsafe_code)]
                // SAFETY: ftok(3) reads a C string; `c` is one and outlives the call.
                let glibc = unsafe { libc::ftok(c.as_ptr(), project) };
                assert_eq!(Key::ftok(path, project).unwrap().raw(), glibc, "{path} {project}");
            }
        }
        assert_eq!(Key::ftok("/no/such", 1), Err(Errno::NOENT));
    }
}
