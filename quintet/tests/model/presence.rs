//! Attach, detach, removal and death under every interleaving.

use crate::Id;
use crate::sync::presence::*;
use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

/// Slot 2 is dead; the others live.
struct Living;
impl Census for Living {
    fn alive(&self, who: Me) -> bool {
        who.slot != 2
    }
    fn struck(&self, _: Me) {}
}

struct Object {
    head: AtomicU64,
    entries: [AtomicU32; 3],
    high: AtomicU32,
    gone: AtomicU32,
}

impl Object {
    fn new(state: State, dead_attached: bool) -> Arc<Object> {
        let dead = if dead_attached { 1 << 16 | 1 } else { 0 };
        Arc::new(Object {
            head: AtomicU64::new(Head::new(ID, state).pack()),
            entries: [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(dead)],
            high: AtomicU32::new(if dead_attached { 3 } else { 0 }),
            gone: AtomicU32::new(0),
        })
    }

    fn presence(&self) -> Presence<'_> {
        Presence { head: &self.head, entries: &self.entries, high: &self.high, writable: true }
    }

    fn judge(&self, me: Me, remove: bool) {
        if self.presence().judge(ID, Some(me), remove, false, &Living) {
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
    }
}

const ID: Id = Id::new(3, 1);
const A: Me = Me { slot: 0, incarnation: 1 };
const B: Me = Me { slot: 1, incarnation: 1 };

/// One attaches while another removes: whoever is attached keeps the object; it goes exactly once.
#[test]
fn attach_against_remove() {
    loom::model(|| {
        let object = Object::new(State::Live, false);
        let other = {
            let object = object.clone();
            thread::spawn(move || object.judge(B, true))
        };
        let attached = object.presence().attach(ID, A, &Living);
        other.join().unwrap();
        let head = object.presence().head();
        assert_eq!(attached, head.state == State::Dest, "{head:?}");
        assert_eq!(object.gone.load(Ordering::SeqCst) == 1, !attached);
        if attached {
            object.presence().withdraw(A, 1);
            object.judge(A, false);
            assert_eq!(object.presence().head().state, State::Gone);
            assert_eq!(object.gone.load(Ordering::SeqCst), 1);
        }
    });
}

/// Two detach from a removed object at once, and a dead one never did: it goes exactly once.
#[test]
fn last_detach_clears_once() {
    loom::model(|| {
        let object = Object::new(State::Dest, true);
        object.presence().announce(A, 1);
        object.presence().announce(B, 1);
        let other = {
            let object = object.clone();
            thread::spawn(move || {
                object.presence().withdraw(B, 1);
                object.judge(B, false);
            })
        };
        object.presence().withdraw(A, 1);
        object.judge(A, false);
        other.join().unwrap();
        assert_eq!(object.presence().head().state, State::Gone);
        assert_eq!(object.gone.load(Ordering::SeqCst), 1);
    });
}

/// A judge dies between its intent and its verdict: an attacher is not held up, and the next judge ends it.
#[test]
fn a_dead_judge_is_relieved() {
    loom::model(|| {
        let object = Object::new(State::JudgedDest, true);
        let other = {
            let object = object.clone();
            thread::spawn(move || object.judge(B, false))
        };
        let attached = object.presence().attach(ID, A, &Living);
        other.join().unwrap();
        let head = object.presence().head();
        assert_eq!(attached, head.state == State::Dest, "{head:?}");
    });
}
