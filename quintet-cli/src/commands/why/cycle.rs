//! Deadlocks: cycles of processes that wait for each other.

use crate::deadlock::{Edge, Reason};
use crate::output::text::{BAD, DIM, Page};
use crate::system::process;
use crate::system::users::Users;
use crate::view::process::ProcessView;
use quintet::SetStatus;
use serde::Serialize;
use std::io;

/// A process of a cycle, which waits for the process `next`.
#[derive(Serialize)]
pub struct EdgeView {
    #[serde(flatten)]
    process: ProcessView,
    next: i32,
    /// The set that it waits for. `None` if it waits for the exit of its child `next`.
    id: Option<i32>,
    /// The semaphore that it waits for.
    num: Option<u16>,
    /// The adjustment of the semaphore at the exit of `next`.
    adjust: Option<i16>,
    /// The number of its threads that are not blocked, and may still act.
    other_threads: usize,
}

pub fn view(cycle: &[Edge], sets: &[SetStatus], users: &Users) -> Vec<EdgeView> {
    cycle.iter().map(|edge| EdgeView::new(edge, sets, users)).collect()
}

pub fn print(cycle: &[EdgeView], page: &mut Page) -> io::Result<()> {
    page.gap()?;
    let active: Vec<&EdgeView> = cycle.iter().filter(|edge| edge.other_threads > 0).collect();
    let title = match (cycle.len(), active.is_empty()) {
        (1, true) => "Deadlock: the process waits for what it holds itself",
        (_, true) => "Deadlock: these processes wait for each other",
        (_, false) => "Possible deadlock: these processes wait for each other",
    };
    page.line(format_args!("{BAD}{title}{BAD:#}"))?;
    for edge in cycle {
        page.line(format_args!("  {}", edge.sentence()))?;
        page.line(format_args!("    {DIM}{}{DIM:#}", page.fit(edge.process.command.as_deref().unwrap_or("-"), 4)))?;
    }
    for EdgeView { process, other_threads, .. } in &active {
        let verb = if *other_threads == 1 { "thread is" } else { "threads are" };
        let pid = process.pid;
        page.line(format_args!("  {other_threads} more {verb} running in pid {pid}, and may still release something."))?;
    }
    page.line(format_args!("  It ends if one of them exits or gives up, or if another process changes one of the semaphores."))
}

impl EdgeView {
    fn new(edge: &Edge, sets: &[SetStatus], users: &Users) -> EdgeView {
        let Edge { pid, next, reason } = *edge;
        let (semaphore, adjust) = match reason {
            Reason::Units { set, num, adjust } => (Some((set.raw(), num)), Some(adjust)),
            Reason::Child => (None, None),
        };
        let blocked = sets.iter().flat_map(|set| &set.waiters).filter(|w| w.pid_visible && w.pid == pid).count();
        let threads = process::threads(pid).filter(|_| semaphore.is_some());
        EdgeView {
            process: ProcessView::new(pid, true, process::user(pid), users),
            next,
            id: semaphore.map(|(id, _)| id),
            num: semaphore.map(|(_, num)| num),
            adjust,
            other_threads: threads.map_or(0, |threads| threads.saturating_sub(blocked)),
        }
    }

    fn sentence(&self) -> String {
        let (ProcessView { pid, user, .. }, next) = (&self.process, self.next);
        let holder = if *pid == next { "it".to_owned() } else { format!("pid {next}") };
        match (self.id, self.num, self.adjust) {
            (Some(id), Some(num), Some(adjust @ 1..)) => {
                format!("pid {pid} ({user}) waits for semaphore {num} of sem:{id}, of which {holder} holds {adjust}")
            }
            (Some(id), Some(num), Some(adjust)) => {
                let amount = adjust.unsigned_abs();
                format!("pid {pid} ({user}) waits for semaphore {num} of sem:{id}, which {holder} has raised by {amount}")
            }
            _ => format!("pid {pid} ({user}) waits for its child pid {next} to exit"),
        }
    }
}
