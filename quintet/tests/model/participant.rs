//! The participants' slots, in every interleaving, with a death of the joining process before any
//! step.
//!
//! The kernel's lock decides if a participant lives, and no atomic can stand for it. This is
//! therefore a model of the steps in `process/participants.rs` (`take_slot`, `LivenessProbe::has`,
//! `sweep_slots`), not the code itself.

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
    /// The attachment of the slot's participant: its incarnation.
    entry: AtomicU32,
    /// The lock byte: the process that holds it.
    lock: Mutex<Option<u32>>,
}

impl Slot {
    fn lock_byte(&self, process: u32) -> bool {
        let mut lock = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let free = lock.is_none();
        if free {
            *lock = Some(process);
        }
        free
    }

    fn is_locked(&self) -> bool {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_some()
    }

    /// The kernel releases the lock of a process that died.
    fn dies(&self, process: u32) {
        let mut lock = self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *lock == Some(process) {
            *lock = None;
        }
    }
}

/// Takes a slot. Returns its index and the incarnation.
fn take(slots: &[Slot], process: u32) -> Option<(usize, u32)> {
    let untaken = slots.iter().position(|slot| slot.state.load(Relaxed) != TAKEN && slot.lock_byte(process));
    let at = untaken.or_else(|| slots.iter().position(|slot| slot.lock_byte(process)))?;
    let slot = &slots[at];
    let last = slot.incarnation.load(Relaxed);
    if slot.state.load(Relaxed) != FREE {
        // The predecessor's attachments are cleared while its incarnation is still known.
        let _ = slot.entry.compare_exchange(last, 0, SeqCst, SeqCst);
    }
    slot.incarnation.store(last + 1, SeqCst);
    slot.state.store(TAKEN, Release);
    Some((at, last + 1))
}

/// Returns `true` if the participant with this incarnation lives.
fn is_alive(slot: &Slot, incarnation: u32) -> bool {
    slot.incarnation.load(SeqCst) == incarnation && slot.is_locked()
}

fn sweep(slots: &[Slot]) {
    for slot in slots {
        let incarnation = slot.incarnation.load(SeqCst);
        if slot.state.load(Acquire) != FREE && !is_alive(slot, incarnation) {
            slot.state.store(FREE, Release);
        }
    }
}

/// Two processes take a slot and one of them dies meanwhile; the other one also sweeps. Live
/// processes have different slots and are seen alive, and the dead one is not.
#[test]
fn joining_process_dies() {
    explore_deaths(2, |steps| {
        let slots: Arc<[Slot; 2]> = Arc::default();
        let other = {
            let slots = slots.clone();
            thread::spawn(move || {
                let (at, incarnation) = take(&*slots, 2).expect("there is one");
                slots[at].entry.store(incarnation, SeqCst);
                assert!(is_alive(&slots[at], incarnation));
                sweep(&*slots);
                (at, incarnation)
            })
        };
        let mine = mortal(steps, || {
            let (at, incarnation) = take(&*slots, 1).expect("there is one");
            slots[at].entry.store(incarnation, SeqCst);
            // It can also die when it is attached.
            step();
            (at, incarnation)
        });
        if mine.is_none() {
            slots.iter().for_each(|slot| slot.dies(1));
        }
        let (at, incarnation) = other.join().unwrap();
        assert!(is_alive(&slots[at], incarnation));
        assert_eq!(slots[at].entry.load(SeqCst), incarnation);
        if let Some((mine, incarnation)) = mine {
            assert_ne!(mine, at);
            assert!(is_alive(&slots[mine], incarnation));
        }
        // The next process gets the dead one's slot without its attachments.
        if mine.is_none() {
            sweep(&*slots);
            let (next, incarnation) = take(&*slots, 3).expect("the dead one's place");
            assert_ne!(next, at);
            let entry = slots[next].entry.load(SeqCst);
            assert!(entry == 0 || !is_alive(&slots[next], entry), "{entry} of {incarnation}");
        }
        mine.is_none()
    });
}
