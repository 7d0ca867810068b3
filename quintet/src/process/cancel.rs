//! Cancellation of threads that are blocked.
//!
//! `pthread_cancel` only notes in the C library that a thread is to end, and does not wake a thread
//! that sleeps in a call of this library. So the preload library intercepts it and calls this
//! module. The blocked call wakes up, leaves the queue and ends with [`CANCELLED`]. The preload
//! library then asks the C library, which ends the thread. If it does not, the call is repeated.
//!
//! A word counts the cancellations, and a table holds the blocked threads. A blocked call first
//! enters itself in the table and then reads the count. A canceller first counts and then reads the
//! table. So one of them sees the other (Dekker).
//!
//! | thread of an entry | meaning | next |
//! |---|---|---|
//! | 0 | free | a thread, by compare-and-swap |
//! | a thread | it is blocked; `cancelled` shows a cancellation | 0, by that thread or in its child |

use crate::sys::{futex, ids};
use crate::types::error::Errno;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};
use std::time::Duration;

/// The outcome of a call whose thread may be cancelled. It is no errno of the kernel.
pub const CANCELLED: Errno = Errno::from_raw(0xffe);

/// The longest sleep of a call in a program that cancels threads. A call that finds the table full,
/// or that is cancelled just before it falls asleep, reads the count itself after this time.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The numbers of further attempts to wake a thread that is not asleep yet: first without a pause,
/// and then with a pause of a millisecond each.
const WAKES_WITHOUT_PAUSE: u32 = 50;
const WAKES_WITH_PAUSE: u32 = 20;

/// The number of entries of the table.
const ENTRY_COUNT: usize = 64;

struct Entry {
    thread: AtomicUsize,
    word: AtomicPtr<AtomicU32>,
    cancelled: AtomicBool,
}

static ENTRIES: [Entry; ENTRY_COUNT] = [const {
    Entry { thread: AtomicUsize::new(0), word: AtomicPtr::new(std::ptr::null_mut()), cancelled: AtomicBool::new(false) }
}; ENTRY_COUNT];

/// The number of cancellations of any thread.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Set if the preload library intercepts `pthread_cancel`.
static INTERCEPTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The value of `COUNT` when this thread last asked the C library.
    static ASKED_COUNT: Cell<u32> = const { Cell::new(0) };
    /// `true` if the thread can be cancelled in any call.
    static IN_ANY_CALL: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the preload library intercepts `pthread_cancel` from now on.
pub fn set_intercepted() {
    INTERCEPTED.store(true, Relaxed);
}

/// Returns `true` after [`set_intercepted`].
pub fn is_intercepted() -> bool {
    INTERCEPTED.load(Relaxed)
}

/// Returns the number of cancellations of any thread; 0 in a program that cancels none.
#[inline(always)]
pub fn count() -> u32 {
    COUNT.load(Relaxed)
}

/// Notes that the calling thread is about to ask the C library if it is cancelled.
pub fn note_asked() {
    ASKED_COUNT.set(COUNT.load(SeqCst));
}

/// Sets `in_any_call`: the calling thread can be cancelled in any call. Otherwise it can be
/// cancelled only where it sends and receives messages.
pub fn set_in_any_call(in_any_call: bool) {
    IN_ANY_CALL.set(in_any_call);
}

/// Returns what [`set_in_any_call`] has set.
pub fn in_any_call() -> bool {
    IN_ANY_CALL.get()
}

/// Returns `true` if the calling thread can be cancelled in any call, and a thread was cancelled
/// since it last asked the C library.
pub fn must_ask() -> bool {
    in_any_call() && ASKED_COUNT.get() != COUNT.load(SeqCst)
}

/// Notes that a thread is about to be cancelled.
pub fn before_cancel() {
    COUNT.fetch_add(1, SeqCst);
}

/// Wakes a thread that was cancelled, if it is blocked.
pub fn after_cancel(thread: usize) {
    COUNT.fetch_add(1, SeqCst);
    for entry in ENTRIES.iter().filter(|entry| entry.thread.load(SeqCst) == thread) {
        entry.cancelled.store(true, SeqCst);
        for round in 0..WAKES_WITHOUT_PAUSE + WAKES_WITH_PAUSE {
            // The thread has seen the flag, or was asleep and is awake now.
            if entry.thread.load(SeqCst) != thread || !entry.cancelled.load(SeqCst) || wake(entry) {
                break;
            }
            if round < WAKES_WITHOUT_PAUSE {
                std::thread::yield_now();
            } else {
                // No thread wakes this word: the wait is a pause.
                let _ = futex::wait(&AtomicU32::new(0), 0, Duration::from_millis(1));
            }
        }
    }
}

fn wake(entry: &Entry) -> bool {
    #[allow(unsafe_code)]
    // SAFETY: the state word of a blocked call, in memory that is never unmapped.
    let word = unsafe { entry.word.load(SeqCst).as_ref() };
    word.is_some_and(|word| futex::wake_one(word) != 0)
}

/// A blocked call of the calling thread in which the thread can be cancelled. The call is in the
/// table until this is dropped.
pub struct Point {
    entry: Option<&'static Entry>,
    /// Set once the call has read the count after it entered the table.
    has_read_count: Cell<bool>,
}

impl Point {
    /// Enters the call in the table. `word` is the word on which the call sleeps.
    pub fn new(word: &'static AtomicU32) -> Point {
        let thread = ids::thread();
        let take =
            |entry: &&Entry| entry.thread.load(Relaxed) == 0 && entry.thread.compare_exchange(0, thread, SeqCst, Relaxed).is_ok();
        let entry = ENTRIES.iter().find(take);
        if let Some(entry) = entry {
            entry.cancelled.store(false, SeqCst);
            entry.word.store(std::ptr::from_ref(word).cast_mut(), SeqCst);
        }
        Point { entry, has_read_count: Cell::new(false) }
    }

    /// Returns `true` if the thread must ask the C library if it is cancelled.
    pub fn is_reached(&self) -> bool {
        let count = COUNT.load(SeqCst);
        // A thread in the table sees each cancellation after it entered, and none before.
        let entry = self.entry.filter(|entry| entry.thread.load(Relaxed) == ids::thread());
        let reads_count = !self.has_read_count.replace(true) || entry.is_none();
        let cancelled =
            entry.is_some_and(|entry| entry.cancelled.swap(false, SeqCst)) || reads_count && ASKED_COUNT.get() != count;
        cancelled && !ids::ignores_cancellation()
    }

    /// Returns how long to sleep at most.
    pub fn watch(&self, watch: Duration) -> Duration {
        if count() == 0 { watch } else { watch.min(POLL_INTERVAL) }
    }
}

/// Removes the entries of a thread that jumps out of its calls.
pub fn jump_out() {
    let thread = ids::thread();
    for entry in ENTRIES.iter().filter(|entry| entry.thread.load(Relaxed) == thread) {
        entry.thread.store(0, SeqCst);
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            let _ = entry.thread.compare_exchange(ids::thread(), 0, SeqCst, Relaxed);
        }
    }
}

/// Clears the table in a child, whose parent has the blocked threads.
pub fn forget() {
    ENTRIES.iter().filter(|entry| entry.thread.load(Relaxed) != 0).for_each(|entry| entry.thread.store(0, Relaxed));
}
