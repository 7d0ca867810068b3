//! All of some objects, in one question: the janitor of random programs asks it after each step.

use crate::stat::Stat;
use crate::{Agent, Errno, Look, Message, Outcome, Queue, Set};
use std::fmt::Display;

/// What is seen, in the order asked for.
pub(crate) struct Survey {
    /// By `SHM_STAT_ANY`; `None`: it is gone.
    pub segments: Vec<Option<Stat>>,
    pub sets: Vec<Outcome<(Set, Look)>>,
    pub queues: Vec<Outcome<(Queue, Vec<Message>)>>,
}

impl Agent {
    /// All of some segments, sets and queues, at one time but for what others do meanwhile.
    pub(crate) fn survey(&self, segments: &[i32], sets: &[i32], queues: &[i32]) -> Survey {
        if [segments, sets, queues].iter().all(|ids| ids.is_empty()) {
            return Survey { segments: Vec::new(), sets: Vec::new(), queues: Vec::new() };
        }
        let answer = self.ask(format_args!("survey {} {} {}", list(segments), list(sets), list(queues)));
        let answer = answer.expect("an answer of each");
        let mut parts = answer.split('/').map(|part| part.split('|').filter(|told| !told.is_empty()));
        let mut next = || parts.next().expect("three parts");
        Survey {
            segments: next().map(|told| (told != "gone").then(|| Stat::parse(told))).collect(),
            sets: next().map(|told| pair(told).map(|(set, look)| (Set::parse(set), Look::parse(look)))).collect(),
            queues: next().map(|told| pair(told).map(|(queue, all)| (Queue::parse(queue), Message::parse_all(all)))).collect(),
        }
    }

    /// Removes segments, sets and queues; then what there is of each.
    pub(crate) fn clear(&self, segments: &[i32], sets: &[i32], queues: &[i32]) -> Outcome<String> {
        self.ask(format_args!("clear {} {} {}", list(segments), list(sets), list(queues)))
    }
}

/// `-`: none.
fn list<T: Display>(ids: &[T]) -> String {
    match ids {
        [] => "-".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

fn pair(told: &str) -> Outcome<(&str, &str)> {
    told.split_once(';').ok_or_else(|| Errno::from_raw(told.parse().expect("an errno")))
}
