//! Receiving from a queue with many waiting messages. Each message is sent back, so that the number
//! stays the same.

use crate::common::random;
use crate::common::turns::{Batch, Figures, measure, timed};
use crate::side::{Message, Owned, Side};
use libc::{MSG_EXCEPT, c_int, c_long};
use quintet::{Limits, Namespace};

/// The number of waiting messages.
pub const DEPTHS: [usize; 5] = [10, 100, 1_000, 10_000, MOST];
const MOST: usize = 100_000;
/// The number of types, used in turn.
const TYPES: usize = 1_000;
/// The length of a message in bytes; even the default capacity holds 1000 of them.
const LEN: usize = 8;

/// A search, and the messages that it searches.
pub struct Search {
    pub name: &'static str,
    /// The type of the n-th message among this many.
    types: fn(usize, usize) -> usize,
    /// `msgtyp`, from a random number and the number of types.
    wanted: fn(&mut u64, usize) -> c_long,
    flags: c_int,
}

/// The type that only the last message has.
const RARE: usize = TYPES + 1;

fn in_turn(at: usize, _: usize) -> usize {
    at % TYPES + 1
}

fn last_is_rare(at: usize, depth: usize) -> usize {
    if at + 1 == depth { RARE } else { in_turn(at, depth) }
}

fn last_is_other(at: usize, depth: usize) -> usize {
    if at + 1 == depth { RARE } else { 1 }
}

pub const SEARCHES: [Search; 5] = [
    Search { name: "the first", types: in_turn, wanted: |_, _| 0, flags: 0 },
    Search { name: "a random type of 1000", types: in_turn, wanted: |state, types| random(state, types) as c_long + 1, flags: 0 },
    Search { name: "the type of the last", types: last_is_rare, wanted: |_, _| RARE as c_long, flags: 0 },
    Search { name: "-n, n random", types: in_turn, wanted: |state, types| -(random(state, types) as c_long + 1), flags: 0 },
    Search { name: "the one other, MSG_EXCEPT", types: last_is_other, wanted: |_, _| 1, flags: MSG_EXCEPT },
];

/// A namespace where new queues have room for the greatest depth; restored when dropped.
pub struct Roomy<'a>(&'a Namespace, Limits);

impl<'a> Roomy<'a> {
    /// Returns `None` if the caller lacks the permission.
    pub fn of(namespace: &'a Namespace) -> Option<Roomy<'a>> {
        let before = namespace.limits().ok()?;
        namespace.set_limits(&Limits { msgmnb: 2 * (MOST * LEN) as u32, ..before }).ok()?;
        Some(Roomy(namespace, before))
    }
}

impl Drop for Roomy<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.0.set_limits(&self.1) {
            eprintln!("msgmnb: {e}");
        }
    }
}

/// Returns a queue with this many messages, or `None` if it has no room for them.
fn filled<'a>(side: &'a Side, search: &Search, depth: usize) -> Option<Owned<'a>> {
    let owned = side.private();
    if (owned.0.stat().msg_qbytes as usize) < (depth + 1) * LEN {
        return None;
    }
    let mut message = Message::new(1);
    for at in 0..depth {
        message.mtype = (search.types)(at, depth) as c_long;
        owned.0.send(&message, LEN);
    }
    Some(owned)
}

fn batch<'a>(side: &'a Side, search: &'a Search, depth: usize) -> Option<Batch<'a>> {
    let owned = filled(side, search, depth)?;
    let mut message = Message::new(1);
    let mut state = 0x9E37_79B9_7F4A_7C15;
    let types = depth.min(TYPES);
    Some(timed(move || {
        let owned = &owned;
        let wanted = (search.wanted)(&mut state, types);
        assert!(owned.0.receive(&mut message, LEN, wanted, search.flags) == LEN);
        owned.0.send(&message, LEN);
    }))
}

/// Returns `None` if there is no room for this many messages.
pub fn compare(sides: [&Side; 2], search: &Search, depth: usize) -> Option<Figures> {
    Some(measure(&mut batch(sides[0], search, depth)?, &mut batch(sides[1], search, depth)?))
}
