//! A call that is blocked at a semaphore: what it waits for, and which process can unblock it.

use crate::output::text::{BOLD, Page};
use crate::view::perm::KeyView;
use crate::view::process::ProcessView;
use crate::view::queue::CallView;
use crate::view::set::{OperationView, SetWaiterView, UndoView};
use crate::words::{age, local_time};
use serde::Serialize;
use std::io;

/// The process that last changed a semaphore, or last sent or received.
#[derive(Serialize)]
pub struct LastProcess {
    pub pid: i32,
    /// Whether it still uses the namespace. `None` if that is unknown.
    pub running: Option<bool>,
    pub command: Option<String>,
}

impl LastProcess {
    pub fn phrase(&self) -> String {
        let pid = self.pid;
        match (self.running, &self.command) {
            (Some(true), Some(command)) => format!("pid {pid} {command}"),
            (Some(false), _) => format!("pid {pid} (it has exited)"),
            _ => format!("pid {pid}"),
        }
    }
}

/// The undo adjustments of a process for the set `id`.
#[derive(Serialize)]
pub struct SetUndo {
    pub id: i32,
    #[serde(flatten)]
    pub undo: UndoView,
}

/// A process that holds the semaphore, according to its undo adjustments.
#[derive(Serialize)]
pub struct Holder {
    #[serde(flatten)]
    pub process: ProcessView,
    pub adjust: i16,
    #[serde(flatten)]
    pub own_waits: OwnWaits,
}

/// What a holder or peer waits for itself.
#[derive(Default, Serialize)]
pub struct OwnWaits {
    #[serde(rename = "waits")]
    pub semaphores: Vec<SemaphoreRef>,
    pub queues: Vec<QueueRef>,
    /// The children that it waits for.
    pub children: Vec<i32>,
}

/// A semaphore that a process waits for.
#[derive(Serialize)]
pub struct SemaphoreRef {
    pub id: i32,
    pub num: u16,
}

/// A queue that a process waits at, and its call.
#[derive(Serialize)]
pub struct QueueRef {
    pub id: i32,
    #[serde(flatten)]
    pub call: CallView,
}

impl OwnWaits {
    /// Returns "which itself waits for semaphore 1 of sem:0", or `None` if the process is not
    /// blocked.
    pub fn phrase(&self) -> Option<String> {
        let semaphores = self.semaphores.iter().map(|s| format!("semaphore {} of sem:{}", s.num, s.id));
        let queues = self.queues.iter().map(|q| format!("{} at msg:{}", q.call.awaited(), q.id));
        let children = self.children.iter().map(|pid| format!("its child pid {pid}"));
        let waits: Vec<String> = semaphores.chain(queues).chain(children).collect();
        (!waits.is_empty()).then(|| format!("which itself waits for {}", waits.join(" and ")))
    }
}

#[derive(Serialize)]
pub struct SemaphoreWaitView {
    pub id: i32,
    pub key: KeyView,
    pub waiter: SetWaiterView,
    /// The semaphore that blocks the call.
    pub num: Option<u16>,
    pub value: Option<u16>,
    pub last: Option<LastProcess>,
    pub holders: Vec<Holder>,
    /// The calls that have waited longer for the same semaphore.
    pub before: Vec<SetWaiterView>,
    #[serde(skip)]
    pub now: i64,
}

impl SemaphoreWaitView {
    pub fn print(&self, page: &mut Page) -> io::Result<()> {
        let SemaphoreWaitView { id, key, waiter, .. } = self;
        let thread = if waiter.tid == waiter.process.pid { String::new() } else { format!(" (thread {})", waiter.tid) };
        let key = if key.number == 0 { String::new() } else { format!(" (key {})", key.text) };
        page.line(format_args!("{BOLD}{}{BOLD:#}{thread}", page.fit(&waiter.process.phrase(), 0)))?;
        let mut field = |name: &str, value: String| page.line(format_args!("  {name:<11} {}", page.fit(&value, 14)));
        let atomically = if waiter.ops.len() > 1 { ", atomically" } else { "" };
        field("waits for", format!("sem:{id}{key}: {}{atomically}", waiter.operations()))?;
        field("since", format!("{} ({})", local_time(waiter.since), age(self.now - waiter.since)))?;
        let Some(op) = waiter.blocking() else { return Ok(()) };
        field("blocked by", self.obstacle(op))?;
        for holder in &self.holders {
            field("held by", holder.phrase(op))?;
            holder.own_waits.phrase().into_iter().try_for_each(|waits| field("", waits))?;
        }
        if self.holders.is_empty() {
            field("held by", "unknown: no process has an undo adjustment (SEM_UNDO) for it".to_owned())?;
            field("hint", self.hint(op))?;
        }
        for other in &self.before {
            field("before it", format!("{} waits for {}", other.process.phrase(), other.operations()))?;
        }
        Ok(())
    }

    /// Returns the value that blocks the call.
    fn obstacle(&self, op: &OperationView) -> String {
        let value = self.value.map_or("an unknown value".to_owned(), |value| format!("the value {value}"));
        let needed = match i32::from(op.op) {
            0 => "0".to_owned(),
            op => format!("at least {}", op.abs()),
        };
        format!("semaphore {}: it has {value}, and {} needs {needed}", op.num, op.text)
    }

    /// Returns the best guess if no undo adjustment names a holder.
    fn hint(&self, op: &OperationView) -> String {
        let verb = if op.op == 0 { "raised" } else { "taken" };
        match &self.last {
            None => "no process has changed it yet".to_owned(),
            Some(last) => format!("the process that last changed it may have {verb} it: {}", last.phrase()),
        }
    }
}

impl Holder {
    /// Returns "1 by pid 13 (ann) ./server".
    fn phrase(&self, op: &OperationView) -> String {
        let raised = if op.op == 0 { "raised by " } else { "" };
        format!("{raised}{} by {}", self.adjust.unsigned_abs(), self.process.phrase())
    }
}
