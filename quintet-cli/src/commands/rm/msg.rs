//! Removes a message queue.

use super::removal::{Removal, remove_failure};
use crate::failure::Failure;
use crate::system::users::Users;
use crate::view::queue::QueueView;
use quintet::{Namespace, QueueStatus};

pub fn remove(ns: &Namespace, status: &QueueStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    // The waiters are listed before the removal wakes them.
    let view = QueueView::new(ns, status, users);
    if !dry_run {
        ns.msg_remove(id.raw()).map_err(|errno| remove_failure(&format!("message queue {id}"), &view.owner.user, errno))?;
    }
    let result = if dry_run { "would-remove" } else { "removed" };
    let woken = view.waiters.into_iter().flatten().map(|waiter| waiter.process).collect();
    Ok(Removal {
        class: "msg",
        id: view.id,
        key: view.key,
        size: None,
        nsems: None,
        messages: Some(view.messages),
        result,
        kept_by: Vec::new(),
        woken,
    })
}
