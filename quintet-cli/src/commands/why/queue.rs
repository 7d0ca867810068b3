//! One call that waits at a message queue: for what, behind whom, and who could let it go on.

use super::wait::{Busy, Last};
use crate::commands::view::queue::{QueueWaiterView, TypeView, WantsView};
use crate::commands::view::{KeyView, count};
use crate::duration::spoken;
use crate::output::text::{BOLD, Page};
use crate::time::local;
use serde::Serialize;
use std::io;

/// A process that may send or receive again, because it was the last to do so.
#[derive(Serialize)]
pub struct Peer {
    #[serde(flatten)]
    pub last: Last,
    /// What it waits for itself.
    #[serde(flatten)]
    pub busy: Busy,
}

#[derive(Serialize)]
pub struct QueueWaitView {
    pub id: i32,
    pub key: KeyView,
    pub waiter: QueueWaiterView,
    pub messages: u64,
    pub bytes: u64,
    pub capacity: u64,
    #[serde(skip)]
    pub types: Vec<TypeView>,
    /// Of a receiver who sent last, of a sender who received last.
    pub last: Option<Peer>,
    /// Of a receiver: who waits for room to send what it would take.
    pub would_send: Vec<QueueWaiterView>,
    /// Who has waited longer for the same.
    pub before: Vec<QueueWaiterView>,
    #[serde(skip)]
    pub now: i64,
}

impl QueueWaitView {
    pub fn print(&self, page: &mut Page) -> io::Result<()> {
        let QueueWaitView { id, key, waiter, .. } = self;
        let thread = if waiter.tid == waiter.who.pid { String::new() } else { format!(" (thread {})", waiter.tid) };
        let key = if key.number == 0 { String::new() } else { format!(" (key {})", key.text) };
        page.line(format_args!("{BOLD}{}{BOLD:#}{thread}", page.fit(&waiter.who.sentence(), 0)))?;
        let mut field = |name: &str, value: String| page.line(format_args!("  {name:<11} {}", page.fit(&value, 14)));
        field("waits for", format!("{} at msg:{id}{key}", waiter.wants.sentence()))?;
        field("since", format!("{} ({})", local(waiter.since), spoken(self.now - waiter.since)))?;
        field("blocked by", self.blocked())?;
        field("hint", self.hint())?;
        if let Some(waiting) = self.last.as_ref().and_then(|last| last.busy.sentence()) {
            field("", waiting)?;
        }
        for other in &self.would_send {
            field("would send", format!("{}, which waits for {} itself", other.who.sentence(), other.wants.sentence()))?;
        }
        for other in &self.before {
            field("before it", format!("{} wants {}", other.who.sentence(), other.wants.sentence()))?;
        }
        Ok(())
    }

    fn blocked(&self) -> String {
        let QueueWaitView { messages, bytes, capacity, types, .. } = self;
        let others = || types.iter().map(|t| format!("{}:{}", t.mtype, t.messages)).collect::<Vec<_>>().join(" ");
        match self.waiter.wants {
            WantsView::Send { length, .. } if length as u64 > *capacity => {
                format!("the queue takes {} in all: somebody must raise that", count(*capacity, "byte"))
            }
            WantsView::Send { .. } => {
                format!("the queue has {}, {bytes} bytes of {capacity}", count(*messages, "message"))
            }
            WantsView::Receive { .. } if *messages == 0 => "the queue is empty".to_owned(),
            WantsView::Receive { .. } if types.iter().any(|t| self.waiter.wants.takes(t.mtype)) => {
                "nothing any more: there is such a message".to_owned()
            }
            WantsView::Receive { .. } if types.is_empty() => {
                format!("the queue has {}, of other types", count(*messages, "message"))
            }
            WantsView::Receive { .. } => format!("the queue has other messages only (type:count): {}", others()),
        }
    }

    /// Anybody may send and receive; who did so last is the best guess.
    fn hint(&self) -> String {
        let (who, verb) = if self.waiter.wants.sends() { ("receive", "received") } else { ("send", "sent") };
        match &self.last {
            None => format!("nobody has {verb} yet"),
            Some(peer) => format!("who {verb} last may {who} again: {}", peer.last.sentence()),
        }
    }
}
