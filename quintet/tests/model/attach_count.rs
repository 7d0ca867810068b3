//! Attach, detach, removal and death under every interleaving.

use crate::sync::attach_count::*;
use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, mortal};
use crate::{Id, explore_deaths};
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

/// Slot 2 is dead; the others live.
struct LivenessProbe;
impl Liveness for LivenessProbe {
    fn alive(&self, who: ParticipantId) -> bool {
        who.slot != 2
    }
    fn reaped(&self, _: ParticipantId) {}
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

    fn attach_count(&self) -> AttachCount<'_> {
        AttachCount { head: &self.head, entries: &self.entries, high: &self.high, writable: true }
    }

    fn try_destroy(&self, me: ParticipantId, remove: bool) {
        if self.attach_count().try_destroy(ID, Some(me), remove, false, &LivenessProbe) {
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
    }
}

const ID: Id = Id::new(3, 1);
const A: ParticipantId = ParticipantId { slot: 0, incarnation: 1 };
const B: ParticipantId = ParticipantId { slot: 1, incarnation: 1 };

/// One attaches while another removes: whoever is attached keeps the object; it goes exactly once.
#[test]
fn attach_against_remove() {
    loom::model(|| {
        let object = Object::new(State::Live, false);
        let other = {
            let object = object.clone();
            thread::spawn(move || object.try_destroy(B, true))
        };
        let attached = object.attach_count().attach(ID, A, &LivenessProbe);
        other.join().unwrap();
        let head = object.attach_count().head();
        assert_eq!(attached, head.state == State::Dest, "{head:?}");
        assert_eq!(object.gone.load(Ordering::SeqCst) == 1, !attached);
        if attached {
            object.attach_count().withdraw(A, 1);
            object.try_destroy(A, false);
            assert_eq!(object.attach_count().head().state, State::Gone);
            assert_eq!(object.gone.load(Ordering::SeqCst), 1);
        }
    });
}

/// Two detach from a removed object at once, and a dead one never did: it goes exactly once.
#[test]
fn last_detach_clears_once() {
    loom::model(|| {
        let object = Object::new(State::Dest, true);
        object.attach_count().announce(A, 1);
        object.attach_count().announce(B, 1);
        let other = {
            let object = object.clone();
            thread::spawn(move || {
                object.attach_count().withdraw(B, 1);
                object.try_destroy(B, false);
            })
        };
        object.attach_count().withdraw(A, 1);
        object.try_destroy(A, false);
        other.join().unwrap();
        assert_eq!(object.attach_count().head().state, State::Gone);
        assert_eq!(object.gone.load(Ordering::SeqCst), 1);
    });
}

/// A judge dies between its intent and its verdict: an attacher is not held up, and the next judge ends it.
#[test]
fn a_dead_judge_is_relieved() {
    loom::model(|| {
        let object = Object::new(State::CheckingDest, true);
        let other = {
            let object = object.clone();
            thread::spawn(move || object.try_destroy(B, false))
        };
        let attached = object.attach_count().attach(ID, A, &LivenessProbe);
        other.join().unwrap();
        let head = object.attach_count().head();
        assert_eq!(attached, head.state == State::Dest, "{head:?}");
    });
}

/// Slot 0 is dead once it is said so.
struct Mortal<'a>(&'a AtomicBool);

impl Liveness for Mortal<'_> {
    fn alive(&self, who: ParticipantId) -> bool {
        who != A || !self.0.load(Ordering::Acquire)
    }
    fn reaped(&self, _: ParticipantId) {}
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
            object.attach_count().announce(who, 1);
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
    fn sweep(&self, census: &impl Liveness) -> State {
        let ends = self.attach_count().try_destroy(ID, None, false, false, census);
        if ends {
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
        self.attach_count().head().state
    }
}

/// Who attaches dies, while another one removes: nobody is attached then, and the object goes.
#[test]
fn an_attacher_dies() {
    explore_deaths(3, |steps| {
        let attach = |object: &Object, census: &Mortal<'_>| _ = object.attach_count().attach(ID, A, census);
        let (object, died) = dying(steps, State::Live, attach, |object, census| {
            if object.attach_count().try_destroy(ID, Some(B), true, false, census) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        });
        let attached = !died && object.attach_count().head().state == State::Dest;
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
            if object.attach_count().try_destroy(ID, Some(A), true, false, census) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (object, died) = dying(steps, State::Live, remove, |object, census| {
            if object.attach_count().attach(ID, B, census) {
                assert!(object.attach_count().head().is_live(), "it is attached");
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
        let detach = |object: &Object, who: ParticipantId, census: &Mortal<'_>| {
            object.attach_count().withdraw(who, 1);
            if object.attach_count().try_destroy(ID, Some(who), false, false, census) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (object, died) = dying(
            steps,
            State::Dest,
            move |object, census| detach(object, A, census),
            move |object, census| {
                assert!(object.attach_count().head().is_live(), "it is attached");
                detach(object, B, census);
            },
        );
        assert_eq!(object.sweep(&Mortal(&AtomicBool::new(died))), State::Gone);
        let gone = object.gone.load(Ordering::SeqCst);
        assert!(gone == 1 || died && gone == 0, "{gone}");
        died
    });
}
