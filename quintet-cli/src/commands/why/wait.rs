//! One call that waits for a semaphore: for what, behind whom, and who could release it.

use crate::commands::view::queue::WantsView;
use crate::commands::view::set::{OperationView, UndoView, WaiterView};
use crate::commands::view::{KeyView, Who};
use crate::duration::spoken;
use crate::output::text::{BOLD, Page};
use crate::time::local;
use serde::Serialize;
use std::io;

/// Who changed a semaphore last.
#[derive(Serialize)]
pub struct Last {
    pub pid: i32,
    /// Whether it still uses the namespace; `None` if that cannot be told.
    pub running: Option<bool>,
    pub command: Option<String>,
}

impl Last {
    pub fn sentence(&self) -> String {
        let pid = self.pid;
        match (self.running, &self.command) {
            (Some(true), Some(command)) => format!("pid {pid} {command}"),
            (Some(false), _) => format!("pid {pid} (it has ended)"),
            _ => format!("pid {pid}"),
        }
    }
}

/// What somebody will give back to a set when he ends.
#[derive(Serialize)]
pub struct Holding {
    pub id: i32,
    #[serde(flatten)]
    pub undo: UndoView,
}

/// A process that has units of the semaphore, by `SEM_UNDO`.
#[derive(Serialize)]
pub struct Holder {
    #[serde(flatten)]
    pub who: Who,
    pub adjust: i16,
    #[serde(flatten)]
    pub busy: Busy,
}

/// What a process waits for that others wait for.
#[derive(Default, Serialize)]
pub struct Busy {
    pub waits: Vec<Place>,
    pub queues: Vec<QueuePlace>,
    /// The children for whose end it waits.
    pub children: Vec<i32>,
}

/// A semaphore.
#[derive(Serialize)]
pub struct Place {
    pub id: i32,
    pub num: u16,
}

/// A queue, and what is wanted of it.
#[derive(Serialize)]
pub struct QueuePlace {
    pub id: i32,
    #[serde(flatten)]
    pub wants: WantsView,
}

impl Busy {
    /// For what it waits itself.
    pub fn sentence(&self) -> Option<String> {
        let places = self.waits.iter().map(|p| format!("semaphore {} of sem:{}", p.num, p.id));
        let queues = self.queues.iter().map(|q| format!("{} at msg:{}", q.wants.sentence(), q.id));
        let children = self.children.iter().map(|pid| format!("its child pid {pid}"));
        let waits: Vec<String> = places.chain(queues).chain(children).collect();
        (!waits.is_empty()).then(|| format!("which waits itself for {}", waits.join(" and ")))
    }
}

#[derive(Serialize)]
pub struct WaitView {
    pub id: i32,
    pub key: KeyView,
    pub waiter: WaiterView,
    /// The semaphore that blocks it.
    pub num: Option<u16>,
    pub value: Option<u16>,
    pub last: Option<Last>,
    pub holders: Vec<Holder>,
    /// Who has waited longer for the same semaphore.
    pub before: Vec<WaiterView>,
    #[serde(skip)]
    pub now: i64,
}

impl WaitView {
    pub fn print(&self, page: &mut Page) -> io::Result<()> {
        let WaitView { id, key, waiter, .. } = self;
        let thread = if waiter.tid == waiter.who.pid { String::new() } else { format!(" (thread {})", waiter.tid) };
        let key = if key.number == 0 { String::new() } else { format!(" (key {})", key.text) };
        page.line(format_args!("{BOLD}{}{BOLD:#}{thread}", page.fit(&waiter.who.sentence(), 0)))?;
        let mut field = |name: &str, value: String| page.line(format_args!("  {name:<11} {}", page.fit(&value, 14)));
        let together = if waiter.ops.len() > 1 { ", all at once" } else { "" };
        field("waits for", format!("sem:{id}{key}: {}{together}", waiter.wanted()))?;
        field("since", format!("{} ({})", local(waiter.since), spoken(self.now - waiter.since)))?;
        let Some(op) = waiter.blocked() else { return Ok(()) };
        field("blocked by", self.blocked(op))?;
        for holder in &self.holders {
            field("held by", holder.sentence(op))?;
            holder.busy.sentence().into_iter().try_for_each(|waiting| field("", waiting))?;
        }
        if self.holders.is_empty() {
            field("held by", "nobody that SEM_UNDO knows of".to_owned())?;
            field("hint", self.hint(op))?;
        }
        for other in &self.before {
            field("before it", format!("{} wants {}", other.who.sentence(), other.wanted()))?;
        }
        Ok(())
    }

    fn blocked(&self, op: &OperationView) -> String {
        let value = self.value.map_or("a value that may not be read".to_owned(), |value| format!("the value {value}"));
        let needed = match i32::from(op.op) {
            0 => "must be 0".to_owned(),
            op => format!("must be at least {}", op.abs()),
        };
        format!("semaphore {}: it has {value}, and for {} it {needed}", op.num, op.text)
    }

    /// What there is to say where `SEM_UNDO` names nobody.
    fn hint(&self, op: &OperationView) -> String {
        let verb = if op.op == 0 { "raised" } else { "took" };
        match &self.last {
            None => "nobody has changed it yet".to_owned(),
            Some(last) => format!("who {verb} it may be who changed it last, but need not: {}", last.sentence()),
        }
    }
}

impl Holder {
    /// "1 by pid 13 (ann) ./server".
    fn sentence(&self, op: &OperationView) -> String {
        let raised = if op.op == 0 { "raised by " } else { "" };
        format!("{raised}{} by {}", self.adjust.unsigned_abs(), self.who.sentence())
    }
}
