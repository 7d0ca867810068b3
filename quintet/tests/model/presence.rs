//! Attach, detach, removal and death under every interleaving.

use crate::sync::presence::*;
use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, mortal};
use crate::{Id, explore_deaths};
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
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

/// Slot 0 is dead once it is said so.
struct Mortal<'a>(&'a AtomicBool);

impl Census for Mortal<'_> {
    fn alive(&self, who: Me) -> bool {
        who != A || !self.0.load(Ordering::Acquire)
    }
    fn struck(&self, _: Me) {}
}

/// An object in which `A` dies before step `steps` of what it does, while `B` does something else.
fn dying(
    steps: u32,
    state: State,
    a: impl Fn(&Object, &Mortal<'_>),
    b: impl Fn(&Object, &Mortal<'_>) + Send + 'static,
) -> (Arc<Object>, bool) {
    let (object, dead) = (Object::new(state, false), Arc::new(AtomicBool::new(false)));
    for who in [A, B] {
        if state == State::Dest {
            object.presence().announce(who, 1);
        }
    }
    let other = {
        let (object, dead) = (object.clone(), dead.clone());
        thread::spawn(move || b(&object, &Mortal(&dead)))
    };
    let died = mortal(steps, || a(&object, &Mortal(&dead))).is_none();
    dead.store(died, Ordering::Release);
    other.join().unwrap();
    (object, died)
}

impl Object {
    /// What a sweep does: ends judgements, and what nobody keeps.
    fn sweep(&self, census: &impl Census) -> State {
        let ends = self.presence().judge(ID, None, false, false, census);
        if ends {
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
        self.presence().head().state
    }
}

/// Who attaches dies, while another one removes: nobody is attached then, and the object goes.
#[test]
fn an_attacher_dies() {
    explore_deaths(3, |steps| {
        let attach = |object: &Object, census: &Mortal<'_>| _ = object.presence().attach(ID, A, census);
        let (object, died) = dying(steps, State::Live, attach, |object, census| {
            if object.presence().judge(ID, Some(B), true, false, census) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        });
        let attached = !died && object.presence().head().state == State::Dest;
        let state = object.sweep(&Mortal(&AtomicBool::new(died)));
        assert_eq!(state, if attached { State::Dest } else { State::Gone });
        assert!(object.gone.load(Ordering::SeqCst) <= 1);
        died
    });
}

/// Who removes dies, while another one attaches: who is attached keeps it, and whoever comes next can end what the dead one began.
#[test]
fn a_remover_dies() {
    explore_deaths(3, |steps| {
        let remove = |object: &Object, census: &Mortal<'_>| {
            if object.presence().judge(ID, Some(A), true, false, census) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (object, died) = dying(steps, State::Live, remove, |object, census| {
            if object.presence().attach(ID, B, census) {
                assert!(object.presence().head().stands(), "it is attached");
                object.gone.fetch_add(16, Ordering::SeqCst);
            }
        });
        let attached = object.gone.load(Ordering::SeqCst) >= 16;
        let state = object.sweep(&Mortal(&AtomicBool::new(died)));
        match attached {
            true => assert!(state == State::Dest || died && state == State::Live, "{state:?}"),
            false => assert_eq!(state, State::Gone),
        }
        died
    });
}

/// Two detach from a removed object, and one dies on the way: it goes when the other one has.
#[test]
fn a_detacher_dies() {
    explore_deaths(3, |steps| {
        let detach = |object: &Object, who: Me, census: &Mortal<'_>| {
            object.presence().withdraw(who, 1);
            if object.presence().judge(ID, Some(who), false, false, census) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (object, died) = dying(
            steps,
            State::Dest,
            move |object, census| detach(object, A, census),
            move |object, census| {
                assert!(object.presence().head().stands(), "it is attached");
                detach(object, B, census);
            },
        );
        assert_eq!(object.sweep(&Mortal(&AtomicBool::new(died))), State::Gone);
        let gone = object.gone.load(Ordering::SeqCst);
        assert!(gone == 1 || died && gone == 0, "{gone}");
        died
    });
}
