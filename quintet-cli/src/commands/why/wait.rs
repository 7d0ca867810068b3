//! One call that waits: for what, behind whom, and who could release it.

use crate::commands::view::set::{OperationView, UndoView, WaiterView};
use crate::commands::view::{KeyView, Who};
use crate::deadlock::{Graph, Reason, blocking, helps};
use crate::duration::spoken;
use crate::output::text::{BOLD, Page};
use crate::process;
use crate::time::local;
use crate::users::Users;
use quintet::{Attacher, Namespace, SemOp, SemUndo, SemWaiter, SetStatus};
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
struct Holder {
    #[serde(flatten)]
    who: Who,
    adjust: i16,
    /// What it waits for itself.
    waits: Vec<Place>,
    /// The children for whose end it waits itself.
    children: Vec<i32>,
}

/// A semaphore.
#[derive(Serialize)]
struct Place {
    id: i32,
    num: u16,
}

#[derive(Serialize)]
pub struct WaitView {
    id: i32,
    key: KeyView,
    pub waiter: WaiterView,
    /// The semaphore that blocks it.
    num: Option<u16>,
    value: Option<u16>,
    last: Option<Last>,
    holders: Vec<Holder>,
    /// Who has waited longer for the same semaphore.
    before: Vec<WaiterView>,
    #[serde(skip)]
    now: i64,
}

/// What is needed to explain a wait.
pub struct Scene<'a> {
    pub sets: &'a [SetStatus],
    users: &'a Users,
    pub graph: Graph,
    /// Who uses the namespace; `None` for the kernel's.
    participants: Option<Vec<Attacher>>,
}

impl<'a> Scene<'a> {
    pub fn new(ns: &Namespace, sets: &'a [SetStatus], users: &'a Users) -> Scene<'a> {
        let participants = ns.path().map(|_| ns.participants().unwrap_or_default());
        Scene { sets, users, graph: Graph::new(sets, process::awaited_children), participants }
    }

    /// Whether a process of this PID namespace uses the namespace, if that can be known.
    pub fn uses_namespace(&self, pid: i32) -> Option<bool> {
        self.participants.as_ref().map(|all| all.iter().any(|p| p.pid_visible && p.pid == pid))
    }

    /// What a process of this PID namespace waits for.
    pub fn waits(&self, pid: i32) -> Vec<WaitView> {
        let places = self.sets.iter().flat_map(|set| set.waiters.iter().enumerate().map(move |(place, w)| (set, place, w)));
        places.filter(|(.., w)| w.pid_visible && w.pid == pid).map(|(set, place, _)| self.wait(set, place)).collect()
    }

    /// What a process of this PID namespace has.
    pub fn holds(&self, pid: i32) -> Vec<Holding> {
        let all = self.sets.iter().flat_map(|set| set.undo.iter().map(move |undo| (set, undo)));
        all.filter(|(_, u)| u.pid_visible && u.pid == pid).map(|(set, undo)| self.holding(set, undo)).collect()
    }

    pub fn holding(&self, set: &SetStatus, undo: &SemUndo) -> Holding {
        Holding { id: set.stat.id.raw(), undo: UndoView::new(undo, self.users) }
    }

    /// The call at `place` in the row of those who wait for `set`.
    pub fn wait(&self, set: &SetStatus, place: usize) -> WaitView {
        let waiter = &set.waiters[place];
        let op = blocking(waiter);
        let semaphore = op.and_then(|op| set.semaphores.get(usize::from(op.num)));
        let same = |other: &&SemWaiter| op.is_some_and(|op| blocking(other).is_some_and(|o| o.num == op.num));
        WaitView {
            id: set.stat.id.raw(),
            key: set.stat.key.into(),
            waiter: WaiterView::new(waiter, self.users),
            num: op.map(|op| op.num),
            value: semaphore.map(|s| s.value),
            last: semaphore.and_then(|s| self.last(s.pid)),
            holders: op.map_or(Vec::new(), |op| self.holders(set, op)),
            before: set.waiters[..place].iter().filter(same).map(|w| WaiterView::new(w, self.users)).collect(),
            now: jiff::Timestamp::now().as_second(),
        }
    }

    /// Who changed a semaphore last, if anybody has.
    pub fn last(&self, pid: i32) -> Option<Last> {
        if pid == 0 {
            return None;
        }
        let running = match &self.participants {
            None => Some(process::exists(pid)),
            Some(all) => match all.iter().find(|p| p.pid == pid) {
                None => Some(false),
                Some(participant) => participant.pid_visible.then_some(true),
            },
        };
        let command = if running == Some(true) { process::command(pid) } else { None };
        Some(Last { pid, running, command })
    }

    /// Who has units that `op` waits for.
    fn holders(&self, set: &SetStatus, op: &SemOp) -> Vec<Holder> {
        let held = set.undo.iter().flat_map(|undo| undo.adjustments.iter().map(move |adjustment| (undo, adjustment)));
        held.filter(|(_, (num, adjust))| *num == op.num && helps(*adjust, op))
            .map(|(undo, (_, adjust))| Holder {
                who: Who::new(undo.pid, undo.pid_visible, undo.uid, self.users),
                adjust: *adjust,
                waits: if undo.pid_visible { self.waits_of(undo.pid) } else { Vec::new() },
                children: if undo.pid_visible { self.children_of(undo.pid) } else { Vec::new() },
            })
            .collect()
    }

    fn children_of(&self, pid: i32) -> Vec<i32> {
        self.graph.links(pid).filter(|link| link.reason == Reason::Child).map(|link| link.next).collect()
    }

    fn waits_of(&self, pid: i32) -> Vec<Place> {
        let waiters = self.sets.iter().flat_map(|set| set.waiters.iter().map(move |waiter| (set.stat.id.raw(), waiter)));
        let mine = waiters.filter(|(_, waiter)| waiter.pid_visible && waiter.pid == pid);
        mine.filter_map(|(id, waiter)| Some(Place { id, num: blocking(waiter)?.num })).collect()
    }
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
            holder.waiting().into_iter().try_for_each(|waiting| field("", waiting))?;
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

    /// For what it waits itself.
    fn waiting(&self) -> Option<String> {
        let places = self.waits.iter().map(|p| format!("semaphore {} of sem:{}", p.num, p.id));
        let waits: Vec<String> = places.chain(self.children.iter().map(|pid| format!("its child pid {pid}"))).collect();
        (!waits.is_empty()).then(|| format!("which waits itself for {}", waits.join(" and ")))
    }
}
