//! Names of users, from /etc/passwd. A user without a name is shown by number.

use crate::words::clean;
use std::collections::HashMap;

/// The users of this machine.
pub struct Users(HashMap<u32, String>);

impl Users {
    pub fn load() -> Users {
        Users::parse(&std::fs::read("/etc/passwd").map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
    }

    fn parse(passwd: &str) -> Users {
        let mut names = HashMap::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|u| u.parse().ok())) {
                names.entry(uid).or_insert_with(|| clean(name));
            }
        }
        Users(names)
    }

    /// Returns the name of the user, or the number as text.
    pub fn name(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_uid_counts() {
        let users = Users::parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbad line\nann:x:1000:1000::/home/ann:/bin/sh\n");
        assert_eq!((users.name(0), users.name(1000), users.name(7)), ("root".into(), "ann".into(), "7".into()));
    }
}
