//! The fields of `struct ipc_perm`: key, owner, creator and mode.

use crate::system::users::Users;
use quintet::{Key, Permissions};
use serde::Serialize;

/// A key as a number and as text.
#[derive(Serialize)]
pub struct KeyView {
    pub number: i32,
    pub text: String,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> KeyView {
        KeyView { number: key.raw(), text: key.to_string() }
    }
}

impl KeyView {
    /// Returns the key for a detailed listing. A private key is explained.
    pub fn explained(&self) -> String {
        let private = if self.number == 0 { " (IPC_PRIVATE: found by its id only)" } else { "" };
        format!("{}{private}", self.text)
    }
}

/// A user and a group.
#[derive(Serialize)]
pub struct UserView {
    pub uid: u32,
    pub gid: u32,
    pub user: String,
}

impl UserView {
    pub fn owner(perm: &Permissions, users: &Users) -> UserView {
        UserView { uid: perm.uid, gid: perm.gid, user: users.name(perm.uid) }
    }

    pub fn creator(perm: &Permissions, users: &Users) -> UserView {
        UserView { uid: perm.cuid, gid: perm.cgid, user: users.name(perm.cuid) }
    }

    /// Returns "ann (uid 1000, gid 1000)".
    pub fn phrase(&self) -> String {
        format!("{} (uid {}, gid {})", self.user, self.uid, self.gid)
    }
}

/// Returns nine permission bits as `rw-r-----`.
pub fn mode_text(mode: u32) -> String {
    let letter = |bit: u32| if mode >> bit & 1 == 0 { '-' } else { ['x', 'w', 'r'][bit as usize % 3] };
    (0..9).rev().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_shown_as_ls_shows_it() {
        assert_eq!(mode_text(0o640), "rw-r-----");
        assert_eq!(mode_text(0o777), "rwxrwxrwx");
    }
}
