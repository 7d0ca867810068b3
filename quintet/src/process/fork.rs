//! This process: what a fork does to it, and when it ends.
//!
//! The gate keeps forks away from operations: `sync::gate`.

use crate::object::core::{Engine, FIRST};
use crate::sync::gate;
use crate::sync::gate::GateEnv;
use crate::sys;
use crate::sys::signal::Blocked;
use crate::sys::{futex, memory};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*, compiler_fence};
use std::sync::{Mutex, Once};
use std::time::Duration;

/// How often a newcomer waits, for 10 ms at the most, while a fork is wanted.
const POLITE: u32 = 3;
/// How often a fork waits for those inside, for 10 ms at the most, before it goes ahead: a count that is
/// wrong for a child is better than a program that hangs.
const PATIENCE: u32 = 1000;

const GATE: &AtomicU32 = &FIRST.hot.gate;
/// How many threads wait at the gate.
const WAITING: &AtomicU32 = &FIRST.hot.waiting;
/// The engines of this process, which are never freed: a list that a fork handler can walk.
const ENGINES: &AtomicPtr<Engine> = &FIRST.hot.engines;
/// A page that a child finds zeroed, however it was made. 0: not there yet.
const WIPE_MARKER: &AtomicUsize = &FIRST.hot.wipe_marker;
/// The forking thread's signals, while it forks.
const FORK_MASK: &Mutex<Option<Blocked>> = &FIRST.hot.mask;
/// The thread that forks: the program's own fork handlers may call us then.
const FORKER: &AtomicUsize = &FIRST.hot.forker;

/// What a fork, or an exit, looks at and writes to, in one page: `engine::ForkPage`. Each page costs a child more than all the rest of its handlers.
pub struct ProcessState {
    gate: AtomicU32,
    waiting: AtomicU32,
    pub pid: AtomicU32,
    pub generation: AtomicU32,
    /// Whether a thread that waits has ever been written down to be cancelled.
    pub cancels: AtomicBool,
    engines: AtomicPtr<Engine>,
    wipe_marker: AtomicUsize,
    /// Where there is no birthmark: see [`life`].
    life: AtomicU64,
    forker: AtomicUsize,
    mask: Mutex<Option<Blocked>>,
}

impl ProcessState {
    pub const fn new() -> ProcessState {
        ProcessState {
            gate: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            pid: AtomicU32::new(0),
            generation: AtomicU32::new(1),
            cancels: AtomicBool::new(false),
            engines: AtomicPtr::new(std::ptr::null_mut()),
            wipe_marker: AtomicUsize::new(0),
            life: AtomicU64::new(0),
            forker: AtomicUsize::new(0),
            mask: Mutex::new(None),
        }
    }
}

thread_local! {
    /// How many operations this thread is inside of: more than one in a signal handler.
    /// It is never less than what the gate counts of the thread: a handler must not take itself for a newcomer.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// An operation is under way while this lives.
pub struct Inside(());

impl Inside {
    pub fn enter() -> Inside {
        let inside = INSIDE.get();
        INSIDE.set(inside + 1);
        compiler_fence(SeqCst);
        gate::enter(GATE, if inside == 0 { POLITE } else { 0 }, &Process);
        Inside(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let awaited = gate::leave(GATE);
        compiler_fence(SeqCst);
        INSIDE.set(INSIDE.get() - 1);
        if awaited {
            Process.wake(GATE);
        }
    }
}

/// What the gate needs of this process.
struct Process;

impl GateEnv for Process {
    fn forks(&self) -> bool {
        FORKER.load(Relaxed) == sys::thread()
    }

    // Not for ever: who opens it looks for waiters only afterwards.
    fn wait(&self, gate: &AtomicU32, value: u32) {
        WAITING.fetch_add(1, SeqCst);
        futex::wait(gate, value, Duration::from_millis(10));
        WAITING.fetch_sub(1, SeqCst);
    }

    fn wake(&self, gate: &AtomicU32) {
        futex::wake_all(gate);
    }
}

/// Asks to be told of forks when the program or the library is loaded: before any thread can open a namespace
/// while another one forks, whose child would find the opening half done for ever.
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls each entry of this section once, as a C function; further arguments are ignored.
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = ask_to_be_told;

extern "C" fn ask_to_be_told() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    if ASKED.swap(1, AcqRel) == 0 {
        sys::fork::handlers(before_fork, after_fork_in_parent, after_fork_in_child);
    }
}

/// A lock among the threads of this process, held with signals blocked: a handler never waits for its own thread.
pub struct ThreadLock(AtomicU32);

/// The lock is held while this lives.
pub struct ThreadLockGuard<'a> {
    turn: &'a ThreadLock,
    _signals: Blocked,
}

impl ThreadLock {
    pub const fn new() -> ThreadLock {
        ThreadLock(AtomicU32::new(0))
    }

    pub fn lock(&self) -> ThreadLockGuard<'_> {
        let signals = Blocked::all();
        while self.0.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            let _ = futex::wait(&self.0, 1, Duration::from_millis(1));
        }
        ThreadLockGuard { turn: self, _signals: signals }
    }

    /// In a child: whoever held it is in the parent.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }
}

impl Drop for ThreadLockGuard<'_> {
    fn drop(&mut self) {
        self.turn.0.store(0, Release);
        futex::wake_one(&self.turn.0);
    }
}

/// Makes an engine known to the fork handlers.
pub fn register(engine: &'static Engine) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(at) = memory::anonymous(memory::page())
            && memory::zeroed_for_children(at).is_ok()
        {
            WIPE_MARKER.store(at, Relaxed);
            set_wipe_marker();
        }
        ask_to_be_told();
    });
    let mut first = ENGINES.load(Acquire);
    loop {
        engine.next.store(first, Relaxed);
        match ENGINES.compare_exchange(first, std::ptr::from_ref(engine).cast_mut(), AcqRel, Acquire) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// All engines of this process.
pub fn engines() -> impl Iterator<Item = &'static Engine> {
    let mut at = ENGINES.load(Acquire);
    std::iter::from_fn(move || {
        #[allow(unsafe_code)]
        // SAFETY: only `register` puts pointers there, of engines that live for ever.
        let engine: &'static Engine = unsafe { at.as_ref() }?;
        at = engine.next.load(Acquire);
        Some(engine)
    })
}

/// An engine of this process, known to live for ever.
pub fn engine_for_ever(engine: &Engine) -> Option<&'static Engine> {
    engines().find(|known| std::ptr::eq(*known, engine))
}

fn wipe_marker() -> Option<&'static AtomicU32> {
    let at = WIPE_MARKER.load(Relaxed);
    #[allow(unsafe_code)]
    // SAFETY: a page of zeroed memory that is never unmapped.
    (at != 0).then(|| unsafe { &*(at as *const AtomicU32) })
}

fn set_wipe_marker() {
    // Written before it is looked at: a page of zeroes would be put there first.
    life_word().store(u64::from(sys::generation()) << 32 | u64::from(sys::asked_pid()), Relaxed);
    if let Some(mark) = wipe_marker() {
        mark.store(1, Relaxed);
    }
}

/// A word that is another one in each process, and its value in this one: a child made by whatever means finds it changed.
#[inline(always)]
pub fn life() -> (&'static AtomicU64, u64) {
    let word = life_word();
    (word, word.load(Relaxed))
}

#[inline(always)]
fn life_word() -> &'static AtomicU64 {
    let at = WIPE_MARKER.load(Relaxed);
    #[allow(unsafe_code)]
    // SAFETY: the page of the birthmark has room for this behind it.
    if at == 0 { &FIRST.hot.life } else { unsafe { &*((at + 8) as *const AtomicU64) } }
}

/// Whether this process was made by a fork that no handler saw (a bare `clone`), and has not been told so yet.
#[inline]
pub fn is_raw_clone_child() -> bool {
    wipe_marker().is_some_and(|mark| mark.load(Relaxed) == 0)
}

/// A child of a bare `clone` begins anew: the parent's slot is not its own.
pub fn adopt_raw_clone_child() {
    GATE.store(INSIDE.get(), Relaxed);
    WAITING.store(0, Relaxed);
    crate::process::cancel::forget();
    crate::process::participants::forget_pid_namespace(sys::pid());
    sys::forget_pid();
    set_wipe_marker();
    for engine in engines() {
        engine.after_raw_clone();
    }
}

#[allow(unsafe_code)]
// SAFETY: any section of code will do. These lie together: what a child runs must be mapped again, page by page.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn before_fork() {
    crate::msg::lock::let_go();
    let blocked = Blocked::all();
    gate::close(GATE, INSIDE.get(), PATIENCE, &Process);
    FORKER.store(sys::thread(), Relaxed);
    if let Ok(mut mask) = FORK_MASK.lock() {
        *mask = Some(blocked);
    }
    for engine in engines() {
        engine.before_fork();
    }
}

#[allow(unsafe_code)]
// SAFETY: any section of code will do. These lie together: what a child runs must be mapped again, page by page.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn after_fork_in_parent() {
    for engine in engines() {
        engine.after_fork_in_parent();
    }
    open_gate();
}

#[allow(unsafe_code)]
// SAFETY: any section of code will do. These lie together: what a child runs must be mapped again, page by page.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn after_fork_in_child() {
    // Those who waited are in the parent.
    WAITING.store(0, Relaxed);
    crate::process::cancel::forget();
    crate::process::participants::forget_pid_namespace(sys::pid());
    sys::forget_pid();
    set_wipe_marker();
    for engine in engines() {
        engine.after_fork_in_child();
    }
    open_gate();
}

fn open_gate() {
    let blocked = FORK_MASK.lock().ok().and_then(|mut mask| mask.take());
    FORKER.store(0, Relaxed);
    gate::open(GATE);
    if WAITING.load(SeqCst) != 0 {
        Process.wake(GATE);
    }
    drop(blocked);
}

/// Run when the process ends by `exit` or by returning from `main`, after the program's own handlers.
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls each entry of this section once, as a C function.
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_end() {
    let _ = std::panic::catch_unwind(at_exit);
}

/// The process is about to end in the ordinary way: what it has to take back is taken back, its attachments end now, as far as
/// others can tell, and what only it kept is cleared. The memory stays mapped, because code that
/// runs later may still touch it.
pub fn at_exit() {
    // In a vfork child's hands this memory is its parent's.
    if engines().next().is_none() || is_raw_clone_child() || sys::pid() != sys::asked_pid() {
        return;
    }
    for engine in engines() {
        engine.apply_own_undo();
        engine.leave();
    }
}
