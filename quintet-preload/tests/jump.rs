//! A handler that jumps out of a waiting `semop` takes the waiting call with it.
//!
//! # Safety
//!
//! A jump goes from a handler, which has no destructors to run, over the frames of the drop-in and of [`waits`], which have none
//! either, to a frame that is still there.
#![cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#![allow(unsafe_code)]

mod support;

use libc::{c_int, c_void};
use std::arch::naked_asm;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use support::*;

/// At least as large as any `sigjmp_buf`.
static mut PLACE: [u64; 64] = [0; 64];
static SET: AtomicI32 = AtomicI32::new(-1);
static ROUND: AtomicI32 = AtomicI32::new(0);

type Jump = unsafe extern "C" fn(*mut c_void, c_int) -> !;

unsafe extern "C" {
    fn longjmp(place: *mut c_void, value: c_int) -> !;
    fn _longjmp(place: *mut c_void, value: c_int) -> !;
    fn siglongjmp(place: *mut c_void, value: c_int) -> !;
    fn __longjmp_chk(place: *mut c_void, value: c_int) -> !;
}

const JUMPS: [Jump; 4] = [siglongjmp, longjmp, _longjmp, __longjmp_chk];

/// Calls `body`, and returns 0, or the value that was jumped with. (`sigsetjmp` returns twice, which Rust must not see.)
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

extern "C" fn waits() {
    let mut take = op(0, -1, 0);
    // SAFETY: a local.
    unsafe { libc::semop(SET.load(SeqCst), &raw mut take, 1) };
}

extern "C" fn jumps(_signal: c_int) {
    let round = ROUND.fetch_add(1, SeqCst);
    // SAFETY: see the module.
    unsafe { JUMPS[round as usize]((&raw mut PLACE).cast(), round + 7) }
}

#[test]
fn a_jump_ends_the_waiting() {
    preloaded("a_jump_ends_the_waiting", || {
        let id = set(1, 0o600);
        SET.store(id, SeqCst);
        let (told, looked) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let child = fork(|| {
            // SAFETY: zeroes are a valid sigaction.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = jumps as *const () as usize;
                assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
            }
            for round in 0..JUMPS.len() as c_int {
                // SAFETY: see the module.
                let jumped = unsafe { until_jump((&raw mut PLACE).cast(), waits) };
                assert_eq!(jumped, round + 7);
                // The other looks while this process makes no call.
                (&told.1).write_all(&[0]).unwrap();
                (&looked.0).read_exact(&mut [0]).unwrap();
            }
        });
        for _ in JUMPS {
            until("it waits", || control(id, 0, GETNCNT, 0) == 1);
            // SAFETY: a child that has not been waited for.
            unsafe { libc::kill(child, libc::SIGUSR1) };
            (&told.0).read_exact(&mut [0]).unwrap();
            assert_eq!(control(id, 0, GETNCNT, 0), 0);
            // Nobody takes the unit for the call that was left.
            assert_eq!((operate(id, op(0, 1, 0)), value(id)), (0, 1));
            assert_eq!((operate(id, op(0, -1, 0)), value(id)), (0, 0));
            (&looked.1).write_all(&[0]).unwrap();
        }
        assert_eq!(end(child), 0);
    });
}
