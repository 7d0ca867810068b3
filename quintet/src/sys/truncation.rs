//! The guard against truncated files: SIGBUS, where a mapping of ours has lost its file's page, is not the end of the program.
//!
//! Nothing keeps a user who may write a file from shortening it under those who have it mapped: seals are for memfds alone; a lease needs that nobody
//! has the file open for writing; what may only be appended to, or not be changed, takes a privilege, and cannot be mapped writable any more. What is left
//! is the signal, and that belongs to the program: so this is only done if it asks for it.
//!
//! The page that was lost becomes a private page of zeroes. What is in the objects' files is checked after it was read, and zeroes are an object that
//! is not there, or damaged.
//!
//! # Safety
//!
//! The handler does what a signal handler may: it reads atomics, makes system calls of the kernel's own, and calls the program's handler as the kernel
//! would have. What it replaces is a page of a mapping that is entered in the tables of an engine, and whose file has no such page any more.
#![allow(unsafe_code)]

use crate::sys::memory::{self, page};
use crate::types::error::Errno;
use libc::{c_int, c_void, siginfo_t};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};

/// What the program does itself about a SIGBUS that is not ours: one of [`ACTIONS`]; null: nothing.
static PROGRAMS: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// Places for the program's last actions, of which a handler may be reading the one before: none is allocated, as sigaction(2) may be called by a handler.
struct Actions([UnsafeCell<MaybeUninit<libc::sigaction>>; 16]);

// SAFETY: a place is written to when it is nobody's, and read when it was published; it is written to again 16 changes later.
unsafe impl Sync for Actions {}

static ACTIONS: Actions = Actions([const { UnsafeCell::new(MaybeUninit::uninit()) }; 16]);
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn set_programs(action: &libc::sigaction) {
    let place = ACTIONS.0[NEXT.fetch_add(1, AcqRel) % ACTIONS.0.len()].get();
    // SAFETY: see `Actions`.
    unsafe { (*place).write(*action) };
    PROGRAMS.store(place.cast(), Release);
}

static GUARDED: AtomicBool = AtomicBool::new(false);

/// Who is told of a page that was lost: in a signal handler.
static LISTENER: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

static CHANGING: Mutex<()> = Mutex::new(());

/// Whether the guard is there: then SIGBUS is not held off with other signals.
pub fn is_guarded() -> bool {
    GUARDED.load(Relaxed)
}

/// Says whether an address lies in a mapping of a namespace's file: a `fn(usize) -> bool`.
static IS_OURS: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// See [`crate::guard_against_truncation`]. `is_ours` is called in a signal handler.
pub fn guard(is_ours: fn(usize) -> bool) -> Result<(), Errno> {
    IS_OURS.store(is_ours as *mut c_void, Release);
    let _changing = CHANGING.lock().unwrap_or_else(|e| e.into_inner());
    if GUARDED.load(Acquire) {
        return Ok(());
    }
    let before = real(None)?;
    set_programs(&before);
    real(Some(&ours(libc::SA_ONSTACK)))?;
    GUARDED.store(true, Release);
    Ok(())
}

/// The action that calls [`on_bus_error`].
fn ours(on_stack: c_int) -> libc::sigaction {
    let mut action = zeroed();
    action.sa_sigaction = on_bus_error as *const () as usize;
    // A handler of the program's may fault, too.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_NODEFER | on_stack;
    action
}

fn zeroed() -> libc::sigaction {
    // SAFETY: zeroes are the default action with an empty mask.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// From now on this is called, in the handler, with the address of a page that was lost.
pub fn listen(listener: fn(usize)) {
    LISTENER.store(listener as *mut c_void, Release);
}

/// The action for SIGBUS, as the program sees it: the former one, and a new one if there is one. `None`: there is no guard, the program's own is in force.
pub fn programs_action(new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    if !GUARDED.load(Acquire) {
        return None;
    }
    let old = programs();
    if let Some(new) = new {
        set_programs(new);
        // On which stack its handler runs is the program's decision.
        let by_default = new.sa_sigaction == libc::SIG_DFL || new.sa_sigaction == libc::SIG_IGN;
        let _ = real(Some(&ours(if by_default { libc::SA_ONSTACK } else { new.sa_flags & libc::SA_ONSTACK })));
    }
    Some(old)
}

fn programs() -> libc::sigaction {
    let at = PROGRAMS.load(Acquire);
    // SAFETY: null, or a place of `ACTIONS` that was written to.
    unsafe { at.as_ref() }.copied().unwrap_or_else(zeroed)
}

/// The C library's `sigaction` for SIGBUS, past one that is put before it.
fn real(new: Option<&libc::sigaction>) -> Result<libc::sigaction, Errno> {
    let mut old = zeroed();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    IN_OURS.set(true);
    // SAFETY: locals; the handler has the type that the flags say.
    let ret = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut old) };
    IN_OURS.set(false);
    if ret == 0 { Ok(old) } else { Err(Errno::from_raw(crate::sys::errno::errno())) }
}

thread_local! {
    /// Set while it is this module that changes the action, not the program.
    static IN_OURS: Cell<bool> = const { Cell::new(false) };
}

/// Whether a call of `sigaction` comes from here.
pub fn is_ours() -> bool {
    IN_OURS.get()
}

unsafe extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let place = address & !(page() - 1);
    if code == libc::BUS_ADRERR && is_mapped_by_us(address) && memory::replace_page(place).is_ok() {
        let listener = LISTENER.load(Acquire);
        if !listener.is_null() {
            // SAFETY: only `listen` stores it.
            let listener: fn(usize) = unsafe { std::mem::transmute(listener) };
            listener(place);
        }
        return;
    }
    // SAFETY: the kernel's arguments.
    unsafe { pass_on(signal, info, context, code) };
}

fn is_mapped_by_us(address: usize) -> bool {
    let is_ours = IS_OURS.load(Acquire);
    if is_ours.is_null() {
        return false;
    }
    // SAFETY: only `guard` stores it.
    let is_ours: fn(usize) -> bool = unsafe { std::mem::transmute(is_ours) };
    is_ours(address)
}

/// Does what the program would have had done.
unsafe fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, code: c_int) {
    let action = programs();
    let sent = code <= 0;
    match action.sa_sigaction {
        libc::SIG_IGN if sent => return,
        libc::SIG_DFL | libc::SIG_IGN => {
            let _ = real(Some(&zeroed()));
            if sent {
                // SAFETY: a signal to the calling thread, whose end it is.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), signal) };
            }
            // Else the instruction is tried again, and ends the program as it would have without us.
            return;
        }
        _ => {}
    }
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        // None is the default.
        PROGRAMS.store(std::ptr::null_mut(), Release);
    }
    let mut mask = action.sa_mask;
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: locals; and the program's handler gets what the kernel would have given it.
    unsafe {
        if action.sa_flags & libc::SA_NODEFER == 0 {
            libc::sigaddset(&raw mut mask, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, before.as_mut_ptr());
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            let handler: unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = std::mem::transmute(action.sa_sigaction);
            handler(signal, info, context);
        } else {
            let handler: unsafe extern "C" fn(c_int) = std::mem::transmute(action.sa_sigaction);
            handler(signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
    }
}
