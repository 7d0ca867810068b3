//! What a namespace does when this process forks, ends, or was made by a bare `clone`.
//!
//! The functions lie in one section of the text: a child maps what it runs again, page by page.

use crate::backend::directory::Directory;
use crate::layout::{HEADER_BYTES, Header, REGISTRY_BYTES, Registry};
use crate::msg;
use crate::process::fork::ProcessHooks;

impl ProcessHooks for Directory {
    fn before_gate(&self) {
        msg::lock::release_interrupted();
    }

    /// Gives the child a slot, its lock, and an entry at each segment that it will have from its
    /// first instant. If that fails, the child joins when it first calls.
    #[allow(unsafe_code)]
    // SAFETY: any section of code will do.
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
    // SAFETY: any section of code will do.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    fn after_fork_in_parent(&self) {
        self.core.participants.after_fork_in_parent();
    }

    /// The order is: slot, undo, announcement.
    #[allow(unsafe_code)]
    // SAFETY: any section of code will do.
    #[unsafe(link_section = ".text.hot.quintet_fork")]
    fn after_fork_in_child(&self) {
        let joined = self.core.participants.after_fork_in_child();
        self.sets.after_fork_in_child();
        self.queues.after_fork_in_child();
        if !joined && !self.segments.attachments.is_empty() {
            self.segments.announce_late();
        }
    }

    /// A child of a bare `clone` has the attachments of its parent, uncounted so far, and no slot.
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
        self.segments.leave();
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
