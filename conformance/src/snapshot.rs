//! The state of several objects in one command. The janitor of random programs uses it after each
//! step.

use crate::stat::Stat;
use crate::{Agent, Errno, Message, Outcome, Queue, Semaphores, Set};
use std::fmt::Display;

/// The state of the objects, in the order of the request.
pub(crate) struct Snapshot {
    /// From `SHM_STAT_ANY`; `None` if the segment does not exist.
    pub segments: Vec<Option<Stat>>,
    pub sets: Vec<Outcome<(Set, Semaphores)>>,
    pub queues: Vec<Outcome<(Queue, Vec<Message>)>>,
}

impl Agent {
    /// Reads segments, sets and queues. The result is not atomic with respect to other processes.
    pub(crate) fn snapshot(&self, segments: &[i32], sets: &[i32], queues: &[i32]) -> Snapshot {
        if [segments, sets, queues].iter().all(|ids| ids.is_empty()) {
            return Snapshot { segments: Vec::new(), sets: Vec::new(), queues: Vec::new() };
        }
        let answer = self.ask(format_args!("snapshot {} {} {}", list(segments), list(sets), list(queues)));
        let answer = answer.expect("one answer per object");
        let mut parts = answer.split('/').map(|part| part.split('|').filter(|answer| !answer.is_empty()));
        let mut next = || parts.next().expect("three parts");
        Snapshot {
            segments: next().map(|answer| (answer != "gone").then(|| Stat::parse(answer))).collect(),
            sets: next()
                .map(|answer| pair(answer).map(|(set, semaphores)| (Set::parse(set), Semaphores::parse(semaphores))))
                .collect(),
            queues: next()
                .map(|answer| pair(answer).map(|(queue, all)| (Queue::parse(queue), Message::parse_all(all))))
                .collect(),
        }
    }

    /// Removes segments, sets and queues. Returns what remains.
    pub(crate) fn clear(&self, segments: &[i32], sets: &[i32], queues: &[i32]) -> Outcome<String> {
        self.ask(format_args!("clear {} {} {}", list(segments), list(sets), list(queues)))
    }
}

/// Formats a list; `-` if it is empty.
fn list<T: Display>(ids: &[T]) -> String {
    match ids {
        [] => "-".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

fn pair(answer: &str) -> Outcome<(&str, &str)> {
    answer.split_once(';').ok_or_else(|| Errno::from_raw(answer.parse().expect("an errno")))
}
