//! Namespaces that everybody may enter who knows the name, in a directory that others cannot list.
//!
//! The superuser's programs give up their rights and go on using what they had: their namespace must be a shared one.
//! But it is nobody else's business. So it lies under a random name in a directory of mode 0711, and
//! who does not get the name from the superuser's programs cannot find it.

use crate::backend::directory::files::{explain_create, publish, unnamed};
use crate::types::error::{Errno, Error, Result};
use rustix::fs::{self, Mode};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

/// The file that tells the superuser, and nobody else, which one is the default.
const DEFAULT: &str = "default";

/// 128 random bits: std's hashers are keyed by the system's random numbers.
pub fn random_name() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// The default namespace under `base`, if one has been chosen.
pub fn default_in(base: &Path) -> Option<PathBuf> {
    let name = crate::sys::file::read(&*base.join(DEFAULT)).ok()?;
    let valid = name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| base.join(name))
}

/// The default namespace under `base`, chosen now if none has been: of several who choose at once one decides.
pub fn choose_default(base: &Path) -> Result<PathBuf> {
    if let Some(path) = default_in(base) {
        return Ok(path);
    }
    let made = || -> std::result::Result<(), Errno> {
        match fs::mkdir(base, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        fs::chmod(base, Mode::from_raw_mode(0o711))?;
        let name = random_name();
        let len = name.len() as u64;
        publish(base, DEFAULT, &unnamed(base, 0o600, len, len, name.as_bytes())?)
    };
    made().map_err(|e| explain_create(e, base))?;
    default_in(base).ok_or_else(|| {
        Error::at(Errno::BADMSG, "use", base)
            .reason(format!("its file '{DEFAULT}' does not name a namespace"))
            .hint("remove that file")
    })
}

/// What throw-away namespaces' directories are called.
const THROW_AWAY: &str = "quintet-private-";

/// After a namespace has been removed: nothing stays of the directory that was made only to hold it.
pub fn tidy(own: &Path, removed: &Path) {
    let Some(around) = removed.parent() else { return };
    if around == own && default_in(own).is_some_and(|path| path == removed) {
        let _ = std::fs::remove_file(own.join(DEFAULT));
    }
    let throw_away = around.file_name().is_some_and(|name| name.to_string_lossy().starts_with(THROW_AWAY));
    if around == own || throw_away {
        // Only if it is empty.
        let _ = std::fs::remove_dir(around);
    }
}
