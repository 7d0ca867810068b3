//! Attach, detach, removal and death in every interleaving.

use crate::sync::attach_count::*;
use crate::sync::primitive::{AtomicU32, AtomicU64, Ordering, mortal};
use crate::{Id, explore_deaths};
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

/// The participant in slot 2 is dead, all other ones live.
struct LivenessProbe;
impl Liveness for LivenessProbe {
    fn alive(&self, participant: ParticipantId) -> bool {
        participant.slot != 2
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

/// One process attaches while another one removes. If it is attached, the object stays until it
/// detaches. The object is destroyed exactly once.
#[test]
fn attach_races_remove() {
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

/// Two processes detach from a removed object at the same time, and a dead one never did. The
/// object is destroyed exactly once.
#[test]
fn last_detach_destroys_once() {
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

/// A process died in a check. An attaching process does not wait for it, and the next check
/// completes.
#[test]
fn abandoned_check_is_completed() {
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

/// Slot 0 is dead once the flag is set.
struct Mortal<'a>(&'a AtomicBool);

impl Liveness for Mortal<'_> {
    fn alive(&self, participant: ParticipantId) -> bool {
        participant != A || !self.0.load(Ordering::Acquire)
    }
    fn reaped(&self, _: ParticipantId) {}
}

/// Runs `a` as participant `A`, which dies before step `steps`, while participant `B` runs `b`.
fn dying(
    steps: u32,
    state: State,
    a: impl Fn(&Object, &Mortal<'_>),
    b: impl Fn(&Object, &Mortal<'_>) + Send + 'static,
) -> (Arc<Object>, bool) {
    let (object, dead) = (Object::new(state, false), Arc::new(AtomicBool::new(false)));
    for participant in [A, B] {
        if state == State::Dest {
            object.attach_count().announce(participant, 1);
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
    /// Does what a sweep does: completes checks, and destroys the object if no process is attached.
    fn sweep(&self, liveness: &impl Liveness) -> State {
        let ends = self.attach_count().try_destroy(ID, None, false, false, liveness);
        if ends {
            self.gone.fetch_add(1, Ordering::SeqCst);
        }
        self.attach_count().head().state
    }
}

/// A process dies while it attaches, and another one removes. The object is then destroyed.
#[test]
fn attaching_process_dies() {
    explore_deaths(3, |steps| {
        let attach = |object: &Object, liveness: &Mortal<'_>| _ = object.attach_count().attach(ID, A, liveness);
        let (object, died) = dying(steps, State::Live, attach, |object, liveness| {
            if object.attach_count().try_destroy(ID, Some(B), true, false, liveness) {
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

/// A process dies while it removes, and another one attaches. If that is attached, the object
/// stays. The next sweep completes the check of the dead process.
#[test]
fn removing_process_dies() {
    explore_deaths(3, |steps| {
        let remove = |object: &Object, liveness: &Mortal<'_>| {
            if object.attach_count().try_destroy(ID, Some(A), true, false, liveness) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (object, died) = dying(steps, State::Live, remove, |object, liveness| {
            if object.attach_count().attach(ID, B, liveness) {
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

/// Two processes detach from a removed object, and one dies meanwhile. The object is destroyed when
/// the other one has detached.
#[test]
fn detaching_process_dies() {
    explore_deaths(3, |steps| {
        let detach = |object: &Object, participant: ParticipantId, liveness: &Mortal<'_>| {
            object.attach_count().withdraw(participant, 1);
            if object.attach_count().try_destroy(ID, Some(participant), false, false, liveness) {
                object.gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (object, died) = dying(
            steps,
            State::Dest,
            move |object, liveness| detach(object, A, liveness),
            move |object, liveness| {
                assert!(object.attach_count().head().is_live(), "it is attached");
                detach(object, B, liveness);
            },
        );
        assert_eq!(object.sweep(&Mortal(&AtomicBool::new(died))), State::Gone);
        let gone = object.gone.load(Ordering::SeqCst);
        assert!(gone == 1 || died && gone == 0, "{gone}");
        died
    });
}
