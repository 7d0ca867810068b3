//! Shared memory segments.

use super::perm::{KeyView, UserView, mode_text};
use super::process::AttacherView;
use crate::system::users::Users;
use quintet::{ModeFlags, SegmentStatus};
use serde::Serialize;

/// The status of a segment.
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
    pub attached: Vec<AttacherView>,
}

impl SegmentView {
    pub fn new(status: &SegmentStatus, users: &Users) -> SegmentView {
        let (stat, perm) = (&status.stat, &status.stat.perm);
        SegmentView {
            id: stat.id.raw(),
            key: stat.key.into(),
            owner: UserView::owner(perm, users),
            creator: UserView::creator(perm, users),
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
            attached: status.attached.iter().map(|a| AttacherView::new(a, users)).collect(),
        }
    }
}

fn status_words(flags: ModeFlags) -> Vec<&'static str> {
    [(ModeFlags::DEST, "dest"), (ModeFlags::LOCKED, "locked")]
        .into_iter()
        .filter_map(|(flag, word)| flags.contains(flag).then_some(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_names_each_flag() {
        assert_eq!(status_words(ModeFlags::all()), ["dest", "locked"]);
    }
}
