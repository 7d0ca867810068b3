//! Removes a semaphore set.

use super::removal::{Removal, remove_failure};
use crate::failure::Failure;
use crate::system::users::Users;
use crate::view::set::SetView;
use quintet::{Namespace, SetStatus};

pub fn remove(ns: &Namespace, status: &SetStatus, dry_run: bool, users: &Users) -> Result<Removal, Failure> {
    let id = status.stat.id;
    // The waiters are listed before the removal wakes them.
    let view = SetView::new(ns, status, users);
    if !dry_run {
        ns.sem_remove(id.raw()).map_err(|errno| remove_failure(&format!("semaphore set {id}"), &view.owner.user, errno))?;
    }
    let result = if dry_run { "would-remove" } else { "removed" };
    let woken = view.waiters.into_iter().flatten().map(|waiter| waiter.process).collect();
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
