//! The removal of a message queue.

use super::{Removal, refusal};
use crate::commands::view::queue::QueueView;
use crate::failure::Failure;
use crate::users::Users;
use quintet::{Namespace, QueueStatus};

pub fn remove(ns: &Namespace, status: &QueueStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    // Who waits is asked before they are woken.
    let view = QueueView::new(ns, status, users);
    if !dry_run {
        ns.msg_remove(id.raw()).map_err(|errno| refusal(&format!("message queue {id}"), &view.owner.user, errno))?;
    }
    let result = if dry_run { "would-remove" } else { "removed" };
    let woken = view.waiters.into_iter().flatten().map(|waiter| waiter.who).collect();
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
