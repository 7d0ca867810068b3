//! Hidden namespaces: shared namespaces under a random name, in a directory that other users cannot
//! list.
//!
//! A program of root may give up its privileges and continue to use its namespace. Root's namespace
//! must therefore be a shared one. To keep other users out, it lies under a random name in a
//! directory of mode 0711. Only a program that gets the name from a program of root can find it.

use crate::backend::directory::files::{create_unnamed, explain_create, publish};
use crate::types::error::{Errno, Error, Result};
use rustix::fs::{self, Mode};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

/// The file with the name of the default namespace. Only root may read it.
const DEFAULT: &str = "default";

/// Returns 128 random bits as hexadecimal digits. The standard library keys its hashers by random
/// numbers of the system.
pub fn random_name() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// Returns the default namespace under `base`, if one exists.
pub fn default_in(base: &Path) -> Option<PathBuf> {
    let name = crate::sys::file::read(&*base.join(DEFAULT)).ok()?;
    let valid = name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| base.join(name))
}

/// Returns the default namespace under `base`. Chooses one if none exists. Concurrent callers get
/// the same one.
pub fn choose_default(base: &Path) -> Result<PathBuf> {
    if let Some(path) = default_in(base) {
        return Ok(path);
    }
    let create = || -> std::result::Result<(), Errno> {
        match fs::mkdir(base, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        fs::chmod(base, Mode::from_raw_mode(0o711))?;
        let name = random_name();
        let len = name.len() as u64;
        publish(base, DEFAULT, &create_unnamed(base, 0o600, len, len, name.as_bytes())?)
    };
    create().map_err(|e| explain_create(e, base))?;
    default_in(base).ok_or_else(|| {
        Error::at(Errno::BADMSG, "use", base)
            .reason(format!("its file '{DEFAULT}' does not name a namespace"))
            .hint("remove this file")
    })
}

/// The prefix of the directories of temporary namespaces.
const TEMPORARY_PREFIX: &str = "quintet-private-";

/// Removes the parent directory of a removed namespace, if it existed only to hold the namespace.
pub fn remove_parent(own: &Path, removed: &Path) {
    let Some(parent) = removed.parent() else { return };
    if parent == own && default_in(own).is_some_and(|path| path == removed) {
        let _ = std::fs::remove_file(own.join(DEFAULT));
    }
    let is_temporary = parent.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY_PREFIX));
    if parent == own || is_temporary {
        // Fails if the directory is not empty.
        let _ = std::fs::remove_dir(parent);
    }
}
