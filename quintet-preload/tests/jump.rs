//! A handler that jumps out of a waiting `semop`, `msgrcv` or `msgsnd` ends the waiting call.
//!
//! # Safety
//!
//! A jump goes from a handler, which has no destructors to run, to a frame that still exists. The
//! frames of the library and of the waiting functions here, which it skips, have none either.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#![allow(unsafe_code)]

mod support;

use libc::{c_int, c_long, c_void};
use std::arch::naked_asm;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use support::*;

/// Larger than every `sigjmp_buf`.
static mut PLACE: [u64; 64] = [0; 64];
/// The set or the queue.
static OBJECT: AtomicI32 = AtomicI32::new(-1);
static ROUND: AtomicI32 = AtomicI32::new(0);

type Jump = unsafe extern "C" fn(*mut c_void, c_int) -> !;

unsafe extern "C" {
    fn longjmp(place: *mut c_void, value: c_int) -> !;
    fn _longjmp(place: *mut c_void, value: c_int) -> !;
    fn siglongjmp(place: *mut c_void, value: c_int) -> !;
    fn __longjmp_chk(place: *mut c_void, value: c_int) -> !;
}

const JUMPS: [Jump; 4] = [siglongjmp, longjmp, _longjmp, __longjmp_chk];

/// Calls `body`. Returns 0, or the value of the jump. (`sigsetjmp` returns twice, which Rust must
/// not see.)
#[unsafe(naked)]
unsafe extern "C" fn until_jump(place: *mut c_void, body: extern "C" fn()) -> c_int {
    naked_asm!(
        "push rbx",
        "mov rbx, rsi",
        "mov esi, 1",
        "call {set}",
        "test eax, eax",
        "jnz 2f",
        "call rbx",
        "xor eax, eax",
        "2:",
        "pop rbx",
        "ret",
        set = sym __sigsetjmp
    )
}

unsafe extern "C" {
    fn __sigsetjmp(place: *mut c_void, save_mask: c_int) -> c_int;
}

extern "C" fn waits_for_a_unit() {
    let mut take = op(0, -1, 0);
    // SAFETY: a local.
    unsafe { libc::semop(OBJECT.load(SeqCst), &raw mut take, 1) };
}

/// A type and a text.
type Message = [c_long; 2];
const LEN: usize = size_of::<c_long>();

extern "C" fn waits_for_a_message() {
    let mut message: Message = [0; 2];
    // SAFETY: a local.
    unsafe { libc::msgrcv(OBJECT.load(SeqCst), (&raw mut message).cast(), LEN, 0, 0) };
}

extern "C" fn waits_for_room() {
    let message: Message = [2, 2];
    // SAFETY: a local.
    unsafe { libc::msgsnd(OBJECT.load(SeqCst), (&raw const message).cast(), LEN, 0) };
}

extern "C" fn jumps(_signal: c_int) {
    let round = ROUND.fetch_add(1, SeqCst);
    // SAFETY: see the module.
    unsafe { JUMPS[round as usize]((&raw mut PLACE).cast(), round + 7) }
}

/// Makes a child jump out of a waiting call on this object, in every way. `check` runs after each
/// jump, while the child makes no call.
fn jump_out_of(id: c_int, call: extern "C" fn(), mut check: impl FnMut()) {
    OBJECT.store(id, SeqCst);
    let (jumped, checked) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let child = fork(|| {
        // SAFETY: zeroes are a valid sigaction.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = jumps as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
        }
        for round in 0..JUMPS.len() as c_int {
            // SAFETY: see the module.
            let value = unsafe { until_jump((&raw mut PLACE).cast(), call) };
            assert_eq!(value, round + 7);
            (&jumped.1).write_all(&[0]).unwrap();
            (&checked.0).read_exact(&mut [0]).unwrap();
        }
    });
    for _ in JUMPS {
        until("it waits", || waits(child));
        // SAFETY: a child that has not been waited for.
        unsafe { libc::kill(child, libc::SIGUSR1) };
        (&jumped.0).read_exact(&mut [0]).unwrap();
        check();
        (&checked.1).write_all(&[0]).unwrap();
    }
    assert_eq!(end(child), 0);
}

#[test]
fn jump_out_of_semop() {
    preloaded("jump_out_of_semop", || {
        let id = set(1, 0o600);
        jump_out_of(id, waits_for_a_unit, || {
            assert_eq!(control(id, 0, GETNCNT, 0), 0);
            // The abandoned call does not take the unit.
            assert_eq!((operate(id, op(0, 1, 0)), value(id)), (0, 1));
            assert_eq!((operate(id, op(0, -1, 0)), value(id)), (0, 0));
        });
    });
}

#[test]
fn jump_out_of_msgrcv() {
    preloaded("jump_out_of_msgrcv", || {
        let id = queue(0o600);
        jump_out_of(id, waits_for_a_message, || {
            let mut message: Message = [1, 1];
            let at = (&raw mut message) as usize;
            // The abandoned call does not take the message.
            assert_eq!((send(id, at, LEN), content(id)), (0, (1, LEN as u64)));
            assert_eq!((receive(id, at, LEN, 0, 0), content(id)), (LEN as isize, (0, 0)));
        });
    });
}

#[test]
fn jump_out_of_msgsnd() {
    preloaded("jump_out_of_msgsnd", || {
        let id = queue(0o600);
        let mut message: Message = [1, 1];
        let at = (&raw mut message) as usize;
        while send(id, at, LEN) == 0 {}
        let full = content(id);
        jump_out_of(id, waits_for_room, || {
            // The abandoned call sends nothing when there is room.
            assert_eq!(receive(id, at, LEN, 0, 0), LEN as isize);
            assert_eq!(content(id), (full.0 - 1, full.1 - LEN as u64));
            assert_eq!((send(id, at, LEN), content(id)), (0, full));
        });
        assert_eq!(receive(id, at, LEN, 2, 0), -(libc::ENOMSG as isize));
    });
}
