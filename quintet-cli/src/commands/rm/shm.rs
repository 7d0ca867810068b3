//! The removal of a segment.

use super::{Removal, refusal};
use crate::commands::view::SegmentView;
use crate::failure::Failure;
use crate::users::Users;
use quintet::{Namespace, SegmentStatus};

pub fn remove(ns: &Namespace, status: &SegmentStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    let mut view = SegmentView::new(status, users);
    let kept = if dry_run {
        status.stat.nattch > 0
    } else {
        ns.shm_remove(id.raw()).map_err(|errno| refusal(&format!("segment {id}"), &view.owner.user, errno))?;
        // Asked again: whoever has come or gone meanwhile decides.
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
