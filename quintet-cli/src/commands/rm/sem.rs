//! The removal of a semaphore set.

use super::{Removal, refusal};
use crate::commands::view::set::SetView;
use crate::failure::Failure;
use crate::users::Users;
use quintet::{Namespace, SetStatus};

pub fn remove(ns: &Namespace, status: &SetStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    // Who waits is asked before they are woken.
    let view = SetView::new(ns, status, users);
    if !dry_run {
        ns.sem_remove(id.raw()).map_err(|errno| refusal(&format!("semaphore set {id}"), &view.owner.user, errno))?;
    }
    let result = if dry_run { "would-remove" } else { "removed" };
    let woken = view.waiters.into_iter().flatten().map(|waiter| waiter.who).collect();
    Ok(Removal {
        class: "sem",
        id: view.id,
        key: view.key,
        size: None,
        nsems: Some(view.nsems),
        messages: None,
        result,
        kept_by: Vec::new(),
        woken,
    })
}
