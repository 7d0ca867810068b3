//! The participants' slots, under every interleaving, in which who takes one may die before any step.
//!
//! The truth about a life is a lock of the kernel's, which no atomic stands for; so this is a model of the steps of `participant.rs`
//! (`take_slot`, `LivenessProbe::has`, `sweep_slots`), not that code itself.

use crate::explore_deaths;
use crate::sync::primitive::{AtomicU32, Ordering::*, mortal, step};
use loom::sync::{Arc, Mutex};
use loom::thread;

const FREE: u32 = 0;
const TAKEN: u32 = 1;

#[derive(Default)]
struct Slot {
    incarnation: AtomicU32,
    state: AtomicU32,
    /// The attachments of whoever has the slot: his incarnation and one.
    entry: AtomicU32,
    /// The byte that is locked: by whom.
    lock: Mutex<Option<u32>>,
}

impl Slot {
    fn lock_byte(&self, who: u32) -> bool {
        let mut lock = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let free = lock.is_none();
        if free {
            *lock = Some(who);
        }
        free
    }

    fn is_locked(&self) -> bool {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_some()
    }

    /// The kernel takes back what the dead had.
    fn dies(&self, who: u32) {
        let mut lock = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *lock == Some(who) {
            *lock = None;
        }
    }
}

/// Takes a slot: which one, and its incarnation there.
fn take(slots: &[Slot], who: u32) -> Option<(usize, u32)> {
    let untaken = slots.iter().position(|slot| slot.state.load(Relaxed) != TAKEN && slot.lock_byte(who));
    let at = untaken.or_else(|| slots.iter().position(|slot| slot.lock_byte(who)))?;
    let slot = &slots[at];
    let last = slot.incarnation.load(Relaxed);
    if slot.state.load(Relaxed) != FREE {
        // The predecessor's attachments go while it is known whose they were.
        let _ = slot.entry.compare_exchange(last, 0, SeqCst, SeqCst);
    }
    slot.incarnation.store(last + 1, SeqCst);
    slot.state.store(TAKEN, Release);
    Some((at, last + 1))
}

/// Whether he lives of whom an entry tells.
fn lives(slot: &Slot, incarnation: u32) -> bool {
    slot.incarnation.load(SeqCst) == incarnation && slot.is_locked()
}

fn sweep(slots: &[Slot]) {
    for slot in slots {
        let incarnation = slot.incarnation.load(SeqCst);
        if slot.state.load(Acquire) != FREE && !lives(slot, incarnation) {
            slot.state.store(FREE, Release);
        }
    }
}

/// Two take a slot, one of whom dies on the way, while a third one sweeps: nobody has what another living one has, and who has a slot lives for all who
/// ask; the dead one does not.
#[test]
fn a_newcomer_dies() {
    explore_deaths(2, |steps| {
        let slots: Arc<[Slot; 2]> = Arc::default();
        let other = {
            let slots = slots.clone();
            thread::spawn(move || {
                let (at, incarnation) = take(&*slots, 2).expect("there is one");
                slots[at].entry.store(incarnation, SeqCst);
                assert!(lives(&slots[at], incarnation));
                sweep(&*slots);
                (at, incarnation)
            })
        };
        let mine = mortal(steps, || {
            let (at, incarnation) = take(&*slots, 1).expect("there is one");
            slots[at].entry.store(incarnation, SeqCst);
            // It may die when it is attached, too.
            step();
            (at, incarnation)
        });
        if mine.is_none() {
            slots.iter().for_each(|slot| slot.dies(1));
        }
        let (at, incarnation) = other.join().unwrap();
        assert!(lives(&slots[at], incarnation));
        assert_eq!(slots[at].entry.load(SeqCst), incarnation);
        if let Some((mine, incarnation)) = mine {
            assert_ne!(mine, at);
            assert!(lives(&slots[mine], incarnation));
        }
        // The next one has the dead one's place, and not its attachments.
        if mine.is_none() {
            sweep(&*slots);
            let (next, incarnation) = take(&*slots, 3).expect("the dead one's place");
            assert_ne!(next, at);
            let entry = slots[next].entry.load(SeqCst);
            assert!(entry == 0 || !lives(&slots[next], entry), "{entry} of {incarnation}");
        }
        mine.is_none()
    });
}
