//! The guard against truncated files: a SIGBUS in a mapping of a namespace's file does not end the
//! program.
//!
//! A user with write permission for a file can truncate it while other processes have it mapped.
//! Linux cannot prevent that:
//!
//! - Seals exist only for memfds.
//! - A lease requires that no process has the file open for writing.
//! - The append-only and immutable attributes require privilege, and a file that has them cannot be
//!   mapped writable.
//!
//! That leaves the signal, which belongs to the program. The guard is therefore installed only if
//! the program asks for it.
//!
//! The handler puts a private page of zeroes in the place of the lost page. Objects are checked
//! after they are read. Zeroes read as an object that is not live, or is damaged.
//!
//! # Safety
//!
//! The handler is async-signal-safe: it reads atomics, makes system calls directly, and calls the
//! program's handler as the kernel would. It replaces only pages of mappings in the tables of a
//! namespace, and only if the file no longer has that page.
#![allow(unsafe_code)]

use crate::sys::memory::{self, page};
use crate::types::error::Errno;
use libc::{c_int, c_void, siginfo_t};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};

/// The program's own action for SIGBUS: one of [`ACTIONS`], or null for the default.
static PROGRAM_ACTION: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// Places for the program's last actions. A handler may still read an earlier action, so each
/// action has its own place. Nothing is allocated, because a handler may call sigaction(2).
struct Actions([UnsafeCell<MaybeUninit<libc::sigaction>>; 16]);

// SAFETY: a place is written before it is published and read afterwards. It is written again 16
// changes later.
unsafe impl Sync for Actions {}

static ACTIONS: Actions = Actions([const { UnsafeCell::new(MaybeUninit::uninit()) }; 16]);
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn set_program_action(action: &libc::sigaction) {
    let place = ACTIONS.0[NEXT.fetch_add(1, AcqRel) % ACTIONS.0.len()].get();
    // SAFETY: see `Actions`.
    unsafe { (*place).write(*action) };
    PROGRAM_ACTION.store(place.cast(), Release);
}

static GUARDED: AtomicBool = AtomicBool::new(false);

/// The function that the handler calls for each lost page: a `fn(usize)`.
static LISTENER: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

static CHANGING: Mutex<()> = Mutex::new(());

/// Returns `true` if the guard is installed. SIGBUS is then not held off together with other
/// signals.
pub fn is_guarded() -> bool {
    GUARDED.load(Relaxed)
}

/// Returns `true` if an address lies in a mapping of a namespace's file: a `fn(usize) -> bool`.
static MAPS: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// See [`crate::guard_against_truncation`]. `maps` is called in a signal handler.
pub fn guard(maps: fn(usize) -> bool) -> Result<(), Errno> {
    MAPS.store(maps as *mut c_void, Release);
    let _changing = CHANGING.lock().unwrap_or_else(|e| e.into_inner());
    if GUARDED.load(Acquire) {
        return Ok(());
    }
    let before = sigaction(None)?;
    set_program_action(&before);
    sigaction(Some(&guard_action(libc::SA_ONSTACK)))?;
    GUARDED.store(true, Release);
    Ok(())
}

/// The action that calls [`on_bus_error`].
fn guard_action(on_stack: c_int) -> libc::sigaction {
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

/// Registers a function that the handler calls with the address of each lost page.
pub fn listen(listener: fn(usize)) {
    LISTENER.store(listener as *mut c_void, Release);
}

/// Replaces the program's action for SIGBUS by `new`, if given. Returns the former action. Returns
/// `None` if the guard is not installed, so that the kernel has the program's own action.
pub fn program_action(new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    if !GUARDED.load(Acquire) {
        return None;
    }
    let old = stored_action();
    if let Some(new) = new {
        set_program_action(new);
        // The program decides on which stack its handler runs.
        let by_default = new.sa_sigaction == libc::SIG_DFL || new.sa_sigaction == libc::SIG_IGN;
        let _ = sigaction(Some(&guard_action(if by_default { libc::SA_ONSTACK } else { new.sa_flags & libc::SA_ONSTACK })));
    }
    Some(old)
}

fn stored_action() -> libc::sigaction {
    let at = PROGRAM_ACTION.load(Acquire);
    // SAFETY: null, or a published place of `ACTIONS`.
    unsafe { at.as_ref() }.copied().unwrap_or_else(zeroed)
}

/// Calls `sigaction` for SIGBUS. The preload library recognises the call by [`is_changing`].
fn sigaction(new: Option<&libc::sigaction>) -> Result<libc::sigaction, Errno> {
    let mut old = zeroed();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    IS_CHANGING.set(true);
    // SAFETY: pointers to locals; the handler has the type that the flags say.
    let ret = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut old) };
    IS_CHANGING.set(false);
    if ret == 0 { Ok(old) } else { Err(Errno::from_raw(crate::sys::errno::errno())) }
}

thread_local! {
    /// Set while this module changes the action.
    static IS_CHANGING: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` if the calling thread is in a `sigaction` of this module.
pub fn is_changing() -> bool {
    IS_CHANGING.get()
}

unsafe extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes valid pointers.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let place = address & !(page() - 1);
    if code == libc::BUS_ADRERR && is_namespace_address(address) && memory::replace_with_zero_page(place).is_ok() {
        let listener = LISTENER.load(Acquire);
        if !listener.is_null() {
            // SAFETY: only `listen` stores it, a function of this type.
            let listener: fn(usize) = unsafe { std::mem::transmute(listener) };
            listener(place);
        }
        return;
    }
    // SAFETY: the arguments are those of the kernel.
    unsafe { pass_on(signal, info, context, code) };
}

fn is_namespace_address(address: usize) -> bool {
    let maps = MAPS.load(Acquire);
    if maps.is_null() {
        return false;
    }
    // SAFETY: only `guard` stores it, a function of this type.
    let maps: fn(usize) -> bool = unsafe { std::mem::transmute(maps) };
    maps(address)
}

/// Performs the program's own action.
unsafe fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, code: c_int) {
    let action = stored_action();
    let sent = code <= 0;
    match action.sa_sigaction {
        libc::SIG_IGN if sent => return,
        libc::SIG_DFL | libc::SIG_IGN => {
            let _ = sigaction(Some(&zeroed()));
            if sent {
                // SAFETY: sends a signal to the calling thread, which it ends.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), signal) };
            }
            // Otherwise the instruction runs again and ends the program, as without the guard.
            return;
        }
        _ => {}
    }
    if action.sa_flags & libc::SA_RESETHAND != 0 {
        // Null is the default action.
        PROGRAM_ACTION.store(std::ptr::null_mut(), Release);
    }
    let mut mask = action.sa_mask;
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: pointers to locals; the program's handler gets the kernel's arguments.
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
