//! A call that is blocked at a message queue: what it waits for, and which process can unblock it.

use super::semaphore_wait::{LastProcess, OwnWaits};
use crate::output::text::{BOLD, Page};
use crate::view::perm::KeyView;
use crate::view::queue::{CallView, QueueWaiterView, TypeView};
use crate::words::{age, count, local_time};
use serde::Serialize;
use std::io;

/// The process that last sent or received. It is the most likely to do so again.
#[derive(Serialize)]
pub struct LastPeer {
    #[serde(flatten)]
    pub last: LastProcess,
    /// What it waits for itself.
    #[serde(flatten)]
    pub own_waits: OwnWaits,
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
    /// The last sender if the waiter receives, the last receiver if it sends.
    pub last: Option<LastPeer>,
    /// The blocked senders of a message that this receiver waits for.
    pub would_send: Vec<QueueWaiterView>,
    /// The calls of the same kind that have waited longer.
    pub before: Vec<QueueWaiterView>,
    #[serde(skip)]
    pub now: i64,
}

impl QueueWaitView {
    pub fn print(&self, page: &mut Page) -> io::Result<()> {
        let QueueWaitView { id, key, waiter, .. } = self;
        let thread = if waiter.tid == waiter.process.pid { String::new() } else { format!(" (thread {})", waiter.tid) };
        let key = if key.number == 0 { String::new() } else { format!(" (key {})", key.text) };
        page.line(format_args!("{BOLD}{}{BOLD:#}{thread}", page.fit(&waiter.process.phrase(), 0)))?;
        let mut field = |name: &str, value: String| page.line(format_args!("  {name:<11} {}", page.fit(&value, 14)));
        field("waits for", format!("{} at msg:{id}{key}", waiter.call.awaited()))?;
        field("since", format!("{} ({})", local_time(waiter.since), age(self.now - waiter.since)))?;
        field("blocked by", self.obstacle())?;
        field("hint", self.hint())?;
        if let Some(waits) = self.last.as_ref().and_then(|last| last.own_waits.phrase()) {
            field("", waits)?;
        }
        for sender in &self.would_send {
            field("would send", format!("{}, but waits for {} itself", sender.process.phrase(), sender.call.awaited()))?;
        }
        for other in &self.before {
            field("before it", format!("{} waits for {}", other.process.phrase(), other.call.awaited()))?;
        }
        Ok(())
    }

    /// Returns the state of the queue that blocks the call.
    fn obstacle(&self) -> String {
        let (messages, capacity) = (count(self.messages, "message"), count(self.capacity, "byte"));
        match self.waiter.call {
            CallView::Send { length, .. } if length as u64 > self.capacity => {
                format!("the capacity of the queue is {capacity}: it must be raised")
            }
            CallView::Send { .. } => format!("the queue has {messages}, {} of {capacity}", self.bytes),
            CallView::Receive { .. } if self.messages == 0 => "the queue is empty".to_owned(),
            CallView::Receive { .. } if self.types.iter().any(|t| self.waiter.call.receives(t.mtype)) => {
                "nothing any more: there is such a message".to_owned()
            }
            CallView::Receive { .. } if self.types.is_empty() => format!("the queue has {messages}, of other types"),
            CallView::Receive { .. } => {
                let types: Vec<String> = self.types.iter().map(|t| format!("{}:{}", t.mtype, t.messages)).collect();
                format!("the queue has only messages of other types (type:count): {}", types.join(" "))
            }
        }
    }

    /// Returns the best guess. Any process may send or receive; the last one is the most likely.
    fn hint(&self) -> String {
        let (noun, verb) = if self.waiter.call.sends() { ("receiver", "received") } else { ("sender", "sent") };
        match &self.last {
            None => format!("no process has {verb} yet"),
            Some(peer) => format!("the last {noun} may help again: {}", peer.last.phrase()),
        }
    }
}
