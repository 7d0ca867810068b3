//! Circles of processes that wait for each other.

use crate::commands::view::Who;
use crate::deadlock::{Link, Reason};
use crate::output::text::{BAD, DIM, Page};
use crate::process;
use crate::users::Users;
use quintet::SetStatus;
use serde::Serialize;
use std::io;

/// A process of a circle, which waits for the next one.
#[derive(Serialize)]
pub struct LinkView {
    #[serde(flatten)]
    who: Who,
    next: i32,
    /// The semaphore for which it waits; `None`: for the end of the next one, its child.
    id: Option<i32>,
    num: Option<u16>,
    /// What is added to the semaphore when the next one ends.
    adjust: Option<i16>,
    /// Its threads that do not wait for a semaphore, and so may still do something.
    other_threads: usize,
}

pub fn view(circle: &[Link], sets: &[SetStatus], users: &Users) -> Vec<LinkView> {
    circle.iter().map(|link| one(link, sets, users)).collect()
}

fn one(link: &Link, sets: &[SetStatus], users: &Users) -> LinkView {
    let Link { pid, next, reason } = *link;
    let (place, adjust) = match reason {
        Reason::Units { set, num, adjust } => (Some((set.raw(), num)), Some(adjust)),
        Reason::Child => (None, None),
    };
    let waits = sets.iter().flat_map(|set| &set.waiters).filter(|w| w.pid_visible && w.pid == pid).count();
    let other_threads = process::threads(pid).filter(|_| place.is_some()).map_or(0, |threads| threads.saturating_sub(waits));
    let who = Who::new(pid, true, process::user(pid), users);
    LinkView { who, next, id: place.map(|p| p.0), num: place.map(|p| p.1), adjust, other_threads }
}

pub fn print(circle: &[LinkView], page: &mut Page) -> io::Result<()> {
    page.gap()?;
    let others: Vec<&LinkView> = circle.iter().filter(|link| link.other_threads > 0).collect();
    let title = match (circle.len(), others.is_empty()) {
        (1, true) => "Deadlock: it waits for what it has itself",
        (_, true) => "Deadlock: these wait for each other in a circle",
        (_, false) => "Perhaps a deadlock: these wait for each other in a circle",
    };
    page.line(format_args!("{BAD}{title}{BAD:#}"))?;
    for link in circle {
        page.line(format_args!("  {}", link.sentence()))?;
        page.line(format_args!("    {DIM}{}{DIM:#}", page.fit(link.who.command.as_deref().unwrap_or("-"), 4)))?;
    }
    for link in &others {
        let LinkView { who: Who { pid, .. }, other_threads, .. } = link;
        page.line(format_args!("  {other_threads} more of pid {pid}'s threads do not wait, and may still give something back."))?;
    }
    page.line(format_args!("  It is over when one of them ends or gives up, or somebody else changes one of these semaphores."))
}

impl LinkView {
    fn sentence(&self) -> String {
        let (Who { pid, user, .. }, next) = (&self.who, self.next);
        let whom = if *pid == next { "it".to_owned() } else { format!("pid {next}") };
        match (self.id, self.num, self.adjust) {
            (Some(id), Some(num), Some(adjust @ 1..)) => {
                format!("pid {pid} ({user}) waits for semaphore {num} of sem:{id}, of which {whom} has {adjust}")
            }
            (Some(id), Some(num), Some(adjust)) => {
                let amount = adjust.unsigned_abs();
                format!("pid {pid} ({user}) waits for semaphore {num} of sem:{id}, which {whom} has raised by {amount}")
            }
            _ => format!("pid {pid} ({user}) waits for its child pid {next} to end"),
        }
    }
}
