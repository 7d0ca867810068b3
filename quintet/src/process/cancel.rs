//! Threads that are cancelled while they wait.
//!
//! The C library only notes that a thread is to end; a thread that is asleep in a call of ours is not told. So whoever cancels tells us: the
//! call wakes up, gives its place in the queue back, and comes to nothing ([`CANCELLED`]); the drop-in then asks the C library, which ends the
//! thread, or lets it begin the call anew.
//!
//! A word that counts what was told, and a table of the threads that wait. A waiting call first writes itself down and then looks at the
//! count, who tells counts first and then looks at the table: one of them sees the other.
//!
//! | thread of an entry | meaning | next |
//! |---|---|---|
//! | 0 | nobody's | a thread, by compare-and-swap |
//! | a thread | it waits; `told` says that it was cancelled | 0 by that thread; by its child, in the child |

use crate::sys::{futex, ids};
use crate::types::error::Errno;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};
use std::time::Duration;

/// The outcome of a call whose thread may have to end: no errno.
pub const CANCELLED: Errno = Errno::from_raw(0xffe);

/// How long a call sleeps at the most in a program that cancels threads: one that finds no place in the table, or is told just
/// before it falls asleep, looks by itself.
const LOOK: Duration = Duration::from_millis(50);

/// How often a thread that does not seem to be asleep yet is woken again, first at once and then after a millisecond.
const AT_ONCE: u32 = 50;
const PATIENT: u32 = 20;

/// How many threads can be told at once.
const MOST: usize = 64;

struct Entry {
    thread: AtomicUsize,
    word: AtomicPtr<AtomicU32>,
    told: AtomicBool,
}

static ENTRIES: [Entry; MOST] =
    [const { Entry { thread: AtomicUsize::new(0), word: AtomicPtr::new(std::ptr::null_mut()), told: AtomicBool::new(false) } };
        MOST];

/// How often it was told that some thread is cancelled.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether anybody tells us.
static TOLD: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How much of that the C library has been asked about.
    static SEEN: Cell<u32> = const { Cell::new(0) };
    /// Whether the thread may be ended in any call.
    static ANYWHERE: Cell<bool> = const { Cell::new(false) };
}

/// From now on it is told.
pub fn will_be_told() {
    TOLD.store(true, Relaxed);
}

pub fn is_told() -> bool {
    TOLD.load(Relaxed)
}

/// How often it was told that some thread is cancelled; 0 in a program that cancels none.
#[inline(always)]
pub fn count() -> u32 {
    COUNT.load(Relaxed)
}

/// The calling thread asks the C library next whether it is cancelled.
pub fn asking() {
    SEEN.set(COUNT.load(SeqCst));
}

/// Whether the calling thread may be ended in any call, or only where it receives and sends messages.
pub fn set_anywhere(anywhere: bool) {
    ANYWHERE.set(anywhere);
}

/// See [`set_anywhere`].
pub fn anywhere() -> bool {
    ANYWHERE.get()
}

/// Whether the calling thread may be ended anywhere, and some thread was cancelled since it has asked.
pub fn is_unasked() -> bool {
    anywhere() && SEEN.get() != COUNT.load(SeqCst)
}

/// Some thread is about to be cancelled.
pub fn about_to() {
    COUNT.fetch_add(1, SeqCst);
}

/// A thread was cancelled.
pub fn cancelled(thread: usize) {
    COUNT.fetch_add(1, SeqCst);
    for entry in ENTRIES.iter().filter(|entry| entry.thread.load(SeqCst) == thread) {
        entry.told.store(true, SeqCst);
        for round in 0..AT_ONCE + PATIENT {
            // It has noticed, or was really asleep.
            if entry.thread.load(SeqCst) != thread || !entry.told.load(SeqCst) || wake(entry) {
                break;
            }
            if round < AT_ONCE {
                std::thread::yield_now();
            } else {
                // A word of this process's own, which nobody wakes.
                let _ = futex::wait(&AtomicU32::new(0), 0, Duration::from_millis(1));
            }
        }
    }
}

fn wake(entry: &Entry) -> bool {
    #[allow(unsafe_code)]
    // SAFETY: the state word of a call that waits, in memory that is never unmapped.
    let word = unsafe { entry.word.load(SeqCst).as_ref() };
    word.is_some_and(|word| futex::wake_one(word) != 0)
}

/// A call of the calling thread that waits, and is a place to end at. It is written down while this lives.
pub struct Point {
    entry: Option<&'static Entry>,
    /// Whether it has looked at the count since.
    has_looked: Cell<bool>,
}

impl Point {
    /// `word` is what the call sleeps on.
    pub fn new(word: &'static AtomicU32) -> Point {
        let thread = ids::thread();
        let take =
            |entry: &&Entry| entry.thread.load(Relaxed) == 0 && entry.thread.compare_exchange(0, thread, SeqCst, Relaxed).is_ok();
        let entry = ENTRIES.iter().find(take);
        if let Some(entry) = entry {
            entry.told.store(false, SeqCst);
            entry.word.store(std::ptr::from_ref(word).cast_mut(), SeqCst);
        }
        Point { entry, has_looked: Cell::new(false) }
    }

    /// Whether the C library is to be asked.
    pub fn is_reached(&self) -> bool {
        let count = COUNT.load(SeqCst);
        // Who is in the table is told; but not of what was before.
        let entry = self.entry.filter(|entry| entry.thread.load(Relaxed) == ids::thread());
        let looks = !self.has_looked.replace(true) || entry.is_none();
        let told = entry.is_some_and(|entry| entry.told.swap(false, SeqCst)) || looks && SEEN.get() != count;
        told && !ids::ignores_cancellation()
    }

    /// How long to sleep at the most.
    pub fn watch(&self, watch: Duration) -> Duration {
        if count() == 0 { watch } else { watch.min(LOOK) }
    }
}

/// What the calling thread has written down, when it jumps out of its calls.
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

/// In a child: those who wait are in the parent.
pub fn forget() {
    ENTRIES.iter().filter(|entry| entry.thread.load(Relaxed) != 0).for_each(|entry| entry.thread.store(0, Relaxed));
}
