//! Fork, bare `clone` and exit of this process.
//!
//! The gate of `sync/gate.rs` keeps forks away from operations. A fork waits until no thread is
//! inside an operation, and new operations wait until the fork is over. So a child does not inherit
//! a half-done operation of another thread.

use crate::sync::gate::{self, GateEnv};
use crate::sys::fork_page::FORK_PAGE;
use crate::sys::signal::Blocked;
use crate::sys::{self, futex, ids, memory};
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*, compiler_fence};
use std::sync::{Mutex, Once, OnceLock};
use std::time::Duration;

/// The number of waits, of 10 ms at most, of a thread at the gate while a fork waits for threads
/// inside.
const MAX_GATE_WAITS: u32 = 3;
/// The number of waits, of 10 ms at most, of a fork for threads inside. The fork then goes ahead. A
/// count that is wrong for a child is better than a program that hangs.
const MAX_FORK_WAITS: u32 = 1000;

const GATE: &AtomicU32 = &FORK_PAGE.state.gate;
/// The number of threads that wait at the gate.
const WAITING: &AtomicU32 = &FORK_PAGE.state.waiting;
/// The head of the list of open namespaces, whose nodes are never freed.
const NAMESPACES: &AtomicPtr<()> = &FORK_PAGE.state.namespaces;
/// The address of a page that a child finds zeroed, however it was made; 0 if there is none yet.
const WIPE_MARKER: &AtomicUsize = &FORK_PAGE.state.wipe_marker;
/// The signal mask of the forking thread, while it forks.
const FORK_MASK: &Mutex<Option<Blocked>> = &FORK_PAGE.state.mask;
/// The thread that forks. Fork handlers of the program run in it, and may call this library.
const FORKER: &AtomicUsize = &FORK_PAGE.state.forker;

thread_local! {
    /// The number of operations that this thread is inside: more than one in a signal handler. It
    /// is never less than what the gate counts of the thread, so that a handler does not wait at
    /// the gate for its own thread.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Marks an operation as under way. Forks wait until this is dropped.
pub struct Inside(());

impl Inside {
    pub fn enter() -> Inside {
        let inside = INSIDE.get();
        // A handler that runs between the two stores finds its thread inside already.
        INSIDE.set(inside + 1);
        compiler_fence(SeqCst);
        gate::enter(GATE, if inside == 0 { MAX_GATE_WAITS } else { 0 }, &Process);
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

    // The wait is bounded, because the forking thread looks for waiters after it has opened the
    // gate.
    fn wait(&self, gate: &AtomicU32, value: u32) {
        WAITING.fetch_add(1, SeqCst);
        futex::wait(gate, value, Duration::from_millis(10));
        WAITING.fetch_sub(1, SeqCst);
    }

    fn wake(&self, gate: &AtomicU32) {
        futex::wake_all(gate);
    }
}

/// Registers the fork handlers when the program or the library is loaded. A later registration
/// could miss a fork: a thread opens a namespace while another thread forks, and in the child the
/// namespace stays half open.
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls each entry of this section once, as a C function that ignores its
// arguments.
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
    /// Ends this thread's interrupted operations. Runs before the gate closes.
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
    /// Returns `true` if `address` lies in a mapping of a file of the namespace. Runs in signal
    /// handlers.
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

/// Registers `hooks`, which are called at forks and when the process ends. Each `node` is
/// registered only once.
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
    // The write comes first. A read would map a page of zeroes, which the write would then copy.
    process_word_cell().store(u64::from(ids::generation()) << 32 | u64::from(ids::asked_pid()), Relaxed);
    if let Some(marker) = wipe_marker() {
        marker.store(1, Relaxed);
    }
}

/// Returns a word that has another value in each process, and its value in this one. A child finds
/// another value there, however it was made.
#[inline(always)]
pub fn process_word() -> (&'static AtomicU64, u64) {
    let word = process_word_cell();
    (word, word.load(Relaxed))
}

#[inline(always)]
fn process_word_cell() -> &'static AtomicU64 {
    let at = WIPE_MARKER.load(Relaxed);
    #[allow(unsafe_code)]
    // SAFETY: the page of the wipe marker has room for this word behind the marker.
    if at == 0 { &FORK_PAGE.state.process_word } else { unsafe { &*((at + 8) as *const AtomicU64) } }
}

/// Returns `true` if this process was made by a bare `clone`, which no fork handler saw, until
/// [`adopt_raw_clone_child`] has run.
#[inline]
pub fn is_raw_clone_child() -> bool {
    wipe_marker().is_some_and(|marker| marker.load(Relaxed) == 0)
}

/// Discards what a child of a bare `clone` has inherited, above all the slot of its parent.
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
// SAFETY: a function may lie in any section of code. The functions that a fork runs lie together,
// because a child maps each page of code again when it first runs it.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn before_fork() {
    for namespace in namespaces() {
        namespace.before_gate();
    }
    // From here to `open_gate` no handler runs in this thread, and no other thread enters an
    // operation.
    let blocked = Blocked::all();
    gate::close(GATE, INSIDE.get(), MAX_FORK_WAITS, &Process);
    FORKER.store(ids::thread(), Relaxed);
    if let Ok(mut mask) = FORK_MASK.lock() {
        *mask = Some(blocked);
    }
    for namespace in namespaces() {
        namespace.before_fork();
    }
}

#[allow(unsafe_code)]
// SAFETY: as for `before_fork`.
#[unsafe(link_section = ".text.hot.quintet_fork")]
extern "C" fn after_fork_in_parent() {
    for namespace in namespaces() {
        namespace.after_fork_in_parent();
    }
    open_gate();
}

#[allow(unsafe_code)]
// SAFETY: as for `before_fork`.
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
    // A waiter counts itself before it reads the gate. So it is seen here, or it finds the gate
    // open.
    if WAITING.load(SeqCst) != 0 {
        Process.wake(GATE);
    }
    drop(blocked);
}

/// Runs when the process ends by `exit` or by returning from `main`, after the program's own
/// handlers.
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
/// The memory stays mapped, because code that runs later may still access it.
pub fn at_exit() {
    // A vfork child runs on the memory of its parent.
    if namespaces().next().is_none() || is_raw_clone_child() || ids::pid() != ids::asked_pid() {
        return;
    }
    for namespace in namespaces() {
        namespace.at_exit();
    }
}
