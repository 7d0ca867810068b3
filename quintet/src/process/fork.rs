//! Fork, bare `clone` and exit of this process.
//!
//! The gate of `sync/gate.rs` keeps forks away from operations: a fork waits until no thread is inside
//! an operation, and new operations wait until the fork is over. So a child never inherits a half-done
//! operation of another thread.

use crate::sync::gate::{self, GateEnv};
use crate::sys::fork_page::FORK_PAGE;
use crate::sys::signal::Blocked;
use crate::sys::{self, futex, ids, memory};
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*, compiler_fence};
use std::sync::{Mutex, Once, OnceLock};
use std::time::Duration;

/// How often a thread waits at the gate, for 10 ms at most, while a fork is wanted.
const POLITE: u32 = 3;
/// How often a fork waits for threads inside, for 10 ms at most, before it goes ahead. A count that is
/// wrong for a child is better than a program that hangs.
const PATIENCE: u32 = 1000;

const GATE: &AtomicU32 = &FORK_PAGE.state.gate;
/// The number of threads that wait at the gate.
const WAITING: &AtomicU32 = &FORK_PAGE.state.waiting;
/// The head of the list of open namespaces, whose nodes are never freed.
const NAMESPACES: &AtomicPtr<()> = &FORK_PAGE.state.namespaces;
/// The address of a page that a child finds zeroed, however it was made; 0 if there is none yet.
const WIPE_MARKER: &AtomicUsize = &FORK_PAGE.state.wipe_marker;
/// The signal mask of the forking thread, while it forks.
const FORK_MASK: &Mutex<Option<Blocked>> = &FORK_PAGE.state.mask;
/// The thread that forks. Fork handlers of the program may call this library in it.
const FORKER: &AtomicUsize = &FORK_PAGE.state.forker;

thread_local! {
    /// The number of operations that this thread is inside: more than one in a signal handler.
    /// It is never less than what the gate counts of the thread, so that a handler does not wait at the
    /// gate for its own thread.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Keeps forks away while it lives: an operation is under way.
pub struct Inside(());

impl Inside {
    pub fn enter() -> Inside {
        let inside = INSIDE.get();
        // A handler that comes between the two finds itself inside already.
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

/// The environment of the gate: this process.
struct Process;

impl GateEnv for Process {
    fn is_forking(&self) -> bool {
        FORKER.load(Relaxed) == ids::thread()
    }

    // The wait is bounded, because the forking thread looks for waiters after it has opened the gate.
    fn wait(&self, gate: &AtomicU32, value: u32) {
        WAITING.fetch_add(1, SeqCst);
        futex::wait(gate, value, Duration::from_millis(10));
        WAITING.fetch_sub(1, SeqCst);
    }

    fn wake(&self, gate: &AtomicU32) {
        futex::wake_all(gate);
    }
}

/// Registers the fork handlers when the program or the library is loaded. Later, a thread could open a
/// namespace while another one forks, and the child would find it half open for ever.
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls each entry of this section once, as a C function that ignores its arguments.
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = register_fork_handlers;

extern "C" fn register_fork_handlers() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    if ASKED.swap(1, AcqRel) == 0 {
        sys::fork::register_handlers(before_fork, after_fork_in_parent, after_fork_in_child);
    }
}

/// What a namespace does when this process forks, ends, or was made by a bare `clone`.
pub trait ProcessHooks: Sync {
    /// Runs before the gate closes: this thread's interrupted operations are ended.
    fn before_gate(&self);
    /// Runs in the parent, when no operation is under way.
    fn before_fork(&self);
    /// Runs in the parent after the fork, also after one that failed.
    fn after_fork_in_parent(&self);
    /// Runs in the child.
    fn after_fork_in_child(&self);
    /// Runs in a child of a bare `clone`, which no fork handler saw, at its first call.
    fn raw_clone_child(&self);
    /// Runs when the process is about to end.
    fn at_exit(&self);
    /// Returns `true` if `address` lies in a mapping of a file of the namespace. Runs in signal handlers.
    fn maps(&self, address: usize) -> bool;
}

/// An open namespace in the list that fork handlers walk.
pub struct Registered {
    hooks: OnceLock<&'static dyn ProcessHooks>,
    next: AtomicPtr<()>,
}

impl Registered {
    pub const fn new() -> Registered {
        Registered { hooks: OnceLock::new(), next: AtomicPtr::new(std::ptr::null_mut()) }
    }
}

/// Has `hooks` called at forks and at the end of the process. `node` is registered once.
pub fn register(node: &'static Registered, hooks: &'static dyn ProcessHooks) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Ok(at) = memory::anonymous(memory::page())
            && memory::wipe_on_fork(at).is_ok()
        {
            WIPE_MARKER.store(at, Relaxed);
            set_wipe_marker();
        }
        register_fork_handlers();
    });
    let _ = node.hooks.set(hooks);
    let mut first = NAMESPACES.load(Acquire);
    loop {
        node.next.store(first, Relaxed);
        match NAMESPACES.compare_exchange(first, std::ptr::from_ref(node).cast_mut().cast(), AcqRel, Acquire) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// Returns the open namespaces of this process.
#[inline(always)]
pub fn namespaces() -> impl Iterator<Item = &'static dyn ProcessHooks> {
    let mut at = NAMESPACES.load(Acquire);
    std::iter::from_fn(move || {
        #[allow(unsafe_code)]
        // SAFETY: only `register` stores pointers there, of nodes that are never freed.
        let node: &'static Registered = unsafe { at.cast::<Registered>().as_ref() }?;
        at = node.next.load(Acquire);
        node.hooks.get().copied()
    })
}

/// Returns `true` if `address` lies in a mapping of a namespace's file. Runs in signal handlers.
pub fn maps(address: usize) -> bool {
    namespaces().any(|namespace| namespace.maps(address))
}

fn wipe_marker() -> Option<&'static AtomicU32> {
    let at = WIPE_MARKER.load(Relaxed);
    #[allow(unsafe_code)]
    // SAFETY: a page of zeroed memory that is never unmapped.
    (at != 0).then(|| unsafe { &*(at as *const AtomicU32) })
}

fn set_wipe_marker() {
    // The write comes first: a read would map a page of zeroes, and the write then copy it.
    life_word().store(u64::from(ids::generation()) << 32 | u64::from(ids::asked_pid()), Relaxed);
    if let Some(marker) = wipe_marker() {
        marker.store(1, Relaxed);
    }
}

/// Returns a word that differs in each process, and its value in this one. A child finds it changed,
/// however it was made.
#[inline(always)]
pub fn life() -> (&'static AtomicU64, u64) {
    let word = life_word();
    (word, word.load(Relaxed))
}

#[inline(always)]
fn life_word() -> &'static AtomicU64 {
    let at = WIPE_MARKER.load(Relaxed);
    #[allow(unsafe_code)]
    // SAFETY: the page of the wipe marker has room for this word behind the marker.
    if at == 0 { &FORK_PAGE.state.life } else { unsafe { &*((at + 8) as *const AtomicU64) } }
}

/// Returns `true` if this process was made by a bare `clone`, which no fork handler saw, until
/// [`adopt_raw_clone_child`] has run.
#[inline]
pub fn is_raw_clone_child() -> bool {
    wipe_marker().is_some_and(|marker| marker.load(Relaxed) == 0)
}

/// Has a child of a bare `clone` begin anew: the slot of the parent is not its own.
pub fn adopt_raw_clone_child() {
    GATE.store(INSIDE.get(), Relaxed);
    WAITING.store(0, Relaxed);
    crate::process::cancel::forget();
    crate::process::pid_namespace::forget(ids::pid());
    ids::forget_pid();
    set_wipe_marker();
    for namespace in namespaces() {
        namespace.raw_clone_child();
    }
}

#[allow(unsafe_code)]
// SAFETY: any section of code will do. These functions lie together, because a child maps what it runs
// again, page by page.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn before_fork() {
    for namespace in namespaces() {
        namespace.before_gate();
    }
    // From here to `open_gate` no handler runs in this thread, and no other thread enters an operation.
    let blocked = Blocked::all();
    gate::close(GATE, INSIDE.get(), PATIENCE, &Process);
    FORKER.store(ids::thread(), Relaxed);
    if let Ok(mut mask) = FORK_MASK.lock() {
        *mask = Some(blocked);
    }
    for namespace in namespaces() {
        namespace.before_fork();
    }
}

#[allow(unsafe_code)]
// SAFETY: any section of code will do. These functions lie together, because a child maps what it runs
// again, page by page.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn after_fork_in_parent() {
    for namespace in namespaces() {
        namespace.after_fork_in_parent();
    }
    open_gate();
}

#[allow(unsafe_code)]
// SAFETY: any section of code will do. These functions lie together, because a child maps what it runs
// again, page by page.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn after_fork_in_child() {
    // The threads that waited are in the parent.
    WAITING.store(0, Relaxed);
    crate::process::cancel::forget();
    crate::process::pid_namespace::forget(ids::pid());
    ids::forget_pid();
    set_wipe_marker();
    for namespace in namespaces() {
        namespace.after_fork_in_child();
    }
    open_gate();
}

fn open_gate() {
    let blocked = FORK_MASK.lock().ok().and_then(|mut mask| mask.take());
    FORKER.store(0, Relaxed);
    gate::open(GATE);
    // A waiter announces itself before it reads the gate, so it is either seen here or finds the gate open.
    if WAITING.load(SeqCst) != 0 {
        Process.wake(GATE);
    }
    drop(blocked);
}

/// Runs when the process ends by `exit` or by returning from `main`, after the program's own handlers.
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls each entry of this section once, as a C function.
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_end() {
    let _ = std::panic::catch_unwind(at_exit);
}

/// Applies the undo of this process and ends its attachments, because it is about to end.
///
/// The memory stays mapped: code that runs later may still touch it.
pub fn at_exit() {
    // A vfork child runs on the memory of its parent.
    if namespaces().next().is_none() || is_raw_clone_child() || ids::pid() != ids::asked_pid() {
        return;
    }
    for namespace in namespaces() {
        namespace.at_exit();
    }
}
