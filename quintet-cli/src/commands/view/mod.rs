//! Objects as the subcommands show them: the JSON shapes that they share, and the words for them.

pub mod queue;
pub mod set;

use crate::process;
use crate::users::Users;
use quintet::{Attacher, Key, Kind, ModeFlags, Namespace, SegmentStatus};
use serde::Serialize;

/// A key, as number and as text.
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

/// A user and a group.
#[derive(Serialize)]
pub struct UserView {
    pub uid: u32,
    pub gid: u32,
    pub user: String,
}

/// A process.
#[derive(Clone, Debug, Serialize)]
pub struct Who {
    pub pid: i32,
    pub pid_visible: bool,
    pub uid: u32,
    pub user: String,
    pub command: Option<String>,
}

impl Who {
    pub fn new(pid: i32, pid_visible: bool, uid: u32, users: &Users) -> Who {
        let command = if pid_visible { process::command(pid) } else { None };
        Who { pid, pid_visible, uid, user: users.name(uid), command }
    }

    /// "pid 12 (ann) ./server".
    pub fn sentence(&self) -> String {
        self.noting("")
    }

    /// The same, with `note` after the user's name.
    fn noting(&self, note: &str) -> String {
        let Who { pid, user, .. } = self;
        match (&self.command, self.pid_visible) {
            (_, false) => format!("pid {pid} in another PID namespace ({user}{note})"),
            (Some(command), true) => format!("pid {pid} ({user}{note}) {command}"),
            // It has just ended, or /proc hides it.
            (None, true) => format!("pid {pid} ({user}{note})"),
        }
    }
}

/// A process that is attached, or uses the namespace.
#[derive(Serialize)]
pub struct ProcessView {
    #[serde(flatten)]
    pub who: Who,
    pub count: u32,
}

impl ProcessView {
    pub fn new(attacher: &Attacher, users: &Users) -> ProcessView {
        let who = Who::new(attacher.pid, attacher.pid_visible, attacher.uid, users);
        ProcessView { who, count: attacher.count }
    }

    /// "pid 12 (ann) ./server", and how often if more than once.
    pub fn sentence(&self) -> String {
        let times = if self.count > 1 { format!(", {} times", self.count) } else { String::new() };
        self.who.noting(&times)
    }
}

/// A segment with all that is known of it.
#[derive(Serialize)]
pub struct SegmentView {
    pub id: i32,
    pub key: KeyView,
    pub owner: UserView,
    pub creator: UserView,
    pub mode: u32,
    pub mode_text: String,
    pub size: u64,
    pub resident: u64,
    pub nattch: u64,
    pub status: Vec<&'static str>,
    pub orphan: bool,
    pub cpid: i32,
    pub lpid: i32,
    pub atime: i64,
    pub dtime: i64,
    pub ctime: i64,
    pub attached: Vec<ProcessView>,
}

impl SegmentView {
    pub fn new(status: &SegmentStatus, users: &Users) -> SegmentView {
        let (stat, perm) = (&status.stat, &status.stat.perm);
        SegmentView {
            id: stat.id.raw(),
            key: stat.key.into(),
            owner: UserView { uid: perm.uid, gid: perm.gid, user: users.name(perm.uid) },
            creator: UserView { uid: perm.cuid, gid: perm.cgid, user: users.name(perm.cuid) },
            mode: perm.mode,
            mode_text: mode_text(perm.mode),
            size: stat.size,
            resident: status.resident,
            nattch: stat.nattch,
            status: status_words(stat.flags),
            orphan: status.orphan,
            cpid: stat.cpid,
            lpid: stat.lpid,
            atime: stat.atime,
            dtime: stat.dtime,
            ctime: stat.ctime,
            attached: status.attached.iter().map(|a| ProcessView::new(a, users)).collect(),
        }
    }
}

/// A namespace: which one, and for whom.
#[derive(Serialize)]
pub struct NamespaceView {
    pub kind: &'static str,
    pub path: Option<String>,
}

impl NamespaceView {
    pub fn new(ns: &Namespace) -> NamespaceView {
        match ns.path() {
            Some(path) => NamespaceView { kind: kind_text(ns.kind()), path: Some(path.to_string_lossy().into_owned()) },
            None => NamespaceView { kind: "kernel", path: None },
        }
    }

    /// One that cannot be opened.
    pub fn damaged(path: &std::path::Path) -> NamespaceView {
        NamespaceView { kind: "damaged", path: Some(path.to_string_lossy().into_owned()) }
    }

    /// "namespace /dev/shm/quintet-0", or "the kernel's namespace".
    pub fn sentence(&self) -> String {
        match &self.path {
            Some(path) => format!("namespace {}", crate::output::clean(path)),
            None => "the kernel's namespace".to_owned(),
        }
    }
}

/// `private` or `shared`.
pub fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Private => "private",
        Kind::Shared => "shared",
    }
}

/// Nine bits as `rw-r-----`.
pub fn mode_text(mode: u32) -> String {
    let letter = |bit: u32| if mode >> bit & 1 == 0 { '-' } else { ['x', 'w', 'r'][bit as usize % 3] };
    (0..9).rev().map(letter).collect()
}

fn status_words(flags: ModeFlags) -> Vec<&'static str> {
    [(ModeFlags::DEST, "dest"), (ModeFlags::LOCKED, "locked")]
        .into_iter()
        .filter_map(|(flag, word)| flags.contains(flag).then_some(word))
        .collect()
}

/// "1 segment", "2 segments".
pub fn count(n: impl Into<u64>, noun: &str) -> String {
    match n.into() {
        1 => format!("1 {noun}"),
        n if noun.ends_with("ss") => format!("{n} {noun}es"),
        n => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(mode_text(0o640), "rw-r-----");
        assert_eq!(mode_text(0o777), "rwxrwxrwx");
        assert_eq!(count(1u32, "process"), "1 process");
        assert_eq!(count(2u32, "process"), "2 processes");
        assert_eq!(count(0u32, "segment"), "0 segments");
        assert_eq!(status_words(ModeFlags::all()), ["dest", "locked"]);
    }
}
