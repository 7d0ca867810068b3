//! Removes a segment.

use super::removal::{Removal, remove_failure};
use crate::failure::Failure;
use crate::system::users::Users;
use crate::view::segment::SegmentView;
use quintet::{Namespace, SegmentStatus};

pub fn remove(ns: &Namespace, status: &SegmentStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    let mut view = SegmentView::new(status, users);
    let kept = if dry_run {
        status.stat.nattch > 0
    } else {
        ns.shm_remove(id.raw()).map_err(|errno| remove_failure(&format!("segment {id}"), &view.owner.user, errno))?;
        // Processes may have attached or detached meanwhile, so the segment is looked up again.
        match ns.segments()?.iter().find(|s| s.stat.id == id) {
            Some(now) => {
                view.attached = SegmentView::new(now, users).attached;
                true
            }
            None => false,
        }
    };
    let result = match (dry_run, kept) {
        (false, false) => "removed",
        (false, true) => "marked",
        (true, false) => "would-remove",
        (true, true) => "would-mark",
    };
    let kept_by = if kept { view.attached } else { Vec::new() };
    Ok(Removal {
        class: "shm",
        id: view.id,
        key: view.key,
        size: Some(view.size),
        nsems: None,
        messages: None,
        result,
        kept_by,
        woken: Vec::new(),
    })
}
