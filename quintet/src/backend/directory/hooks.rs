//! The steps of a namespace at a fork, at exit, and in the child of a raw `clone`.
//!
//! The fork functions lie in one section of the text, because a child faults in again each page of
//! code that it runs.

use crate::backend::directory::Directory;
use crate::layout::{HEADER_BYTES, Header, REGISTRY_BYTES, Registry};
use crate::msg;
use crate::process::fork::ProcessHooks;

impl ProcessHooks for Directory {
    fn before_gate(&self) {
        msg::lock::release_interrupted();
    }

    /// Prepares a slot with its lock for the child, and counts the parent's attachments for it. The
    /// child has them from its first instant. If this fails, the child joins at its first call.
    #[allow(unsafe_code)]
    // SAFETY: the section holds only code, and any section of code may hold a function.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    fn before_fork(&self) {
        if self.segments.attachments.is_empty() {
            return;
        }
        let Some(child) = self.core.participants.take_fork_slot() else { return };
        self.segments.announce_all(child.0);
        self.core.participants.set_fork_slot(child);
    }

    #[allow(unsafe_code)]
    // SAFETY: the section holds only code, and any section of code may hold a function.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    fn after_fork_in_parent(&self) {
        self.core.participants.after_fork_in_parent();
    }

    /// Takes over the slot first, then resets the undo state, then counts the attachments.
    #[allow(unsafe_code)]
    // SAFETY: the section holds only code, and any section of code may hold a function.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    fn after_fork_in_child(&self) {
        let joined = self.core.participants.after_fork_in_child();
        self.sets.after_fork_in_child();
        self.queues.after_fork_in_child();
        if !joined && !self.segments.attachments.is_empty() {
            self.segments.announce_late();
        }
    }

    /// Joins the child of a raw `clone`. The child has no slot yet, and its attachments are not
    /// counted yet.
    fn raw_clone_child(&self) {
        self.core.participants.after_raw_clone();
        self.sets.after_fork_in_child();
        self.queues.after_fork_in_child();
        if !self.segments.attachments.is_empty() {
            self.segments.announce_late();
        }
    }

    fn at_exit(&self) {
        self.sets.apply_own_undo();
        self.segments.detach_all();
    }

    fn maps(&self, address: usize) -> bool {
        let within = |at: usize, len: u64| (at..at + len as usize).contains(&address);
        within(std::ptr::from_ref::<Header>(&self.core.header) as usize, HEADER_BYTES)
            || within(std::ptr::from_ref::<Registry>(&self.core.registry) as usize, REGISTRY_BYTES)
            || self.segments.maps(address)
            || self.sets.maps(address)
            || self.queues.maps(address)
    }
}
