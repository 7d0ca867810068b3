//! The report of `quintet why`.

use super::cycle::{self, EdgeView};
use super::queue_wait::{LastPeer, QueueWaitView};
use super::semaphore_wait::{LastProcess, SemaphoreWaitView, SetUndo};
use crate::hint;
use crate::output::Report;
use crate::output::text::Page;
use crate::view::namespace::NamespaceView;
use crate::words::count;
use quintet::Namespace;
use serde::Serialize;
use std::io;

/// What the kernel does not record about sets.
const KERNEL: &str = "The kernel does not list blocked processes or undo adjustments (SEM_UNDO). \
                      It only counts waiters and records the process that last changed a semaphore.";

/// What the kernel does not record about queues.
pub const KERNEL_QUEUE: &str = "The kernel neither lists nor counts the processes that are blocked at a queue.";

#[derive(Serialize)]
pub struct Answer {
    pub namespace: NamespaceView,
    /// The process in question.
    pub pid: Option<i32>,
    /// The set or queue in question.
    pub id: Option<i32>,
    /// The class of the object in question: `sem` or `msg`.
    pub class: Option<&'static str>,
    /// Whether the process uses the namespace. `None` for a set or queue, and for the kernel's
    /// namespace.
    pub uses_namespace: Option<bool>,
    /// The children that the process waits for. `waits` and `queue_waits` hold their blocked calls.
    pub children: Vec<i32>,
    pub waits: Vec<SemaphoreWaitView>,
    pub queue_waits: Vec<QueueWaitView>,
    /// The queue in question.
    pub queue: Option<QueueState>,
    /// The number of processes that use the namespace, if all of them are blocked.
    pub all_wait: Option<usize>,
    pub holds: Vec<SetUndo>,
    pub deadlocks: Vec<Vec<EdgeView>>,
    /// The numbers of waiters at the kernel's semaphores.
    pub counted: Vec<WaiterCount>,
    /// What the answer leaves open.
    pub unknown: Option<&'static str>,
}

/// The number of waiters at a semaphore of the kernel.
#[derive(Serialize)]
pub struct WaiterCount {
    pub num: usize,
    pub value: u16,
    pub ncnt: u32,
    pub zcnt: u32,
    pub last: Option<LastProcess>,
}

impl WaiterCount {
    fn print(&self, page: &mut Page) -> io::Result<()> {
        let WaiterCount { num, value, ncnt, zcnt, last } = self;
        let changed = last.as_ref().map_or("never changed".to_owned(), |last| format!("last changed by {}", last.phrase()));
        page.line(format_args!(
            "semaphore {num} has the value {value}; {ncnt} waiting for more, {zcnt} waiting for zero; {changed}"
        ))
    }
}

/// The content of a queue, and the processes that last used it.
#[derive(Serialize)]
pub struct QueueState {
    pub messages: u64,
    pub bytes: u64,
    pub capacity: u64,
    pub last_sender: Option<LastPeer>,
    pub last_receiver: Option<LastPeer>,
}

impl QueueState {
    fn print(&self, id: i32, page: &mut Page) -> io::Result<()> {
        let last = |peer: &Option<LastPeer>, noun| match peer {
            Some(peer) => format!("last {noun}: {}", peer.last.phrase()),
            None => format!("no {noun} yet"),
        };
        let sender = last(&self.last_sender, "sender");
        let receiver = last(&self.last_receiver, "receiver");
        let (messages, capacity) = (count(self.messages, "message"), count(self.capacity, "byte"));
        page.line(format_args!("message queue {id} has {messages}, {} of {capacity}; {sender}; {receiver}", self.bytes))
    }
}

impl Answer {
    /// Returns an answer without content.
    pub fn new(ns: &Namespace) -> Answer {
        Answer {
            namespace: NamespaceView::new(ns),
            pid: None,
            id: None,
            class: None,
            uses_namespace: None,
            children: Vec::new(),
            waits: Vec::new(),
            queue_waits: Vec::new(),
            queue: None,
            all_wait: None,
            holds: Vec::new(),
            deadlocks: Vec::new(),
            counted: Vec::new(),
            unknown: ns.path().is_none().then_some(KERNEL),
        }
    }

    /// Returns `true` if no process is blocked.
    pub fn is_idle(&self) -> bool {
        self.waits.is_empty() && self.queue_waits.is_empty()
    }
}

impl Report for Answer {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        self.print_waits(page)?;
        if let (Some(state), Some(id), true) = (&self.queue, self.id, self.queue_waits.is_empty()) {
            state.print(id, page)?;
        }
        self.counted.iter().try_for_each(|semaphore| semaphore.print(page))?;
        if self.is_idle() && self.unknown.is_none() {
            page.line(format_args!("{}", self.idle_sentence()))?;
        }
        self.print_holds(page)?;
        self.print_all_wait(page)?;
        self.deadlocks.iter().try_for_each(|deadlock| cycle::print(deadlock, page))?;
        match self.unknown {
            Some(unknown) => page.line(format_args!("{unknown}")),
            None => Ok(()),
        }
    }
}

impl Answer {
    fn print_waits(&self, page: &mut Page) -> io::Result<()> {
        if let (Some(pid), false) = (self.pid, self.children.is_empty()) {
            let pids: Vec<String> = self.children.iter().map(|child| format!("pid {child}")).collect();
            let noun = if pids.len() == 1 { "its child" } else { "its children" };
            page.line(format_args!("pid {pid} waits for {noun} {}", pids.join(", ")))?;
        }
        for (i, wait) in self.waits.iter().enumerate() {
            if i > 0 {
                page.gap()?;
            }
            wait.print(page)?;
        }
        for (i, wait) in self.queue_waits.iter().enumerate() {
            if i > 0 || !self.waits.is_empty() {
                page.gap()?;
            }
            wait.print(page)?;
        }
        Ok(())
    }

    /// Returns the sentence for a process or object without a blocked call.
    fn idle_sentence(&self) -> String {
        let namespace = self.namespace.phrase();
        match (self.pid, self.id) {
            (Some(pid), _) if self.uses_namespace == Some(false) => {
                format!("pid {pid} does not use {namespace}; {} lists all namespaces.", hint::command("namespace ls"))
            }
            (Some(pid), _) => format!("pid {pid} is not blocked at a semaphore or message queue in {namespace}."),
            (_, Some(id)) if self.queue.is_some() => format!("No process is blocked at message queue {id} in {namespace}."),
            (_, id) => format!("No process is blocked at semaphore set {} in {namespace}.", id.unwrap_or(-1)),
        }
    }

    fn print_holds(&self, page: &mut Page) -> io::Result<()> {
        if !self.is_idle() && !self.holds.is_empty() {
            page.gap()?;
        }
        for SetUndo { id, undo } in &self.holds {
            page.line(format_args!("{}", page.fit(&format!("sem:{id} gets {}", undo.phrase()), 0)))?;
        }
        Ok(())
    }

    fn print_all_wait(&self, page: &mut Page) -> io::Result<()> {
        let Some(n) = self.all_wait else { return Ok(()) };
        page.gap()?;
        match n {
            1 => page.line(format_args!("No other process uses the namespace, so none can unblock it.")),
            n => page.line(format_args!("All {n} processes that use the namespace are blocked, so none can unblock another.")),
        }
    }
}
