//! Signal handlers that use the queue that their thread is using.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use super::*;

/// The calls that handlers and interrupted code make on one queue.
mod many {
    use super::*;
    use std::sync::atomic::{AtomicI32, AtomicU8, AtomicUsize, Ordering::SeqCst};

    pub static QUEUE: AtomicI32 = AtomicI32::new(-1);
    pub static HANDLED: AtomicUsize = AtomicUsize::new(0);
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    const MOST: usize = 1 << 22;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    /// For each message: [`SENT`], and the number of times that it was received.
    static FATE: [AtomicU8; MOST] = [const { AtomicU8::new(0) }; MOST];
    const SENT: u8 = 0x80;
    const LONGEST: usize = 700;

    fn draw(below: usize) -> usize {
        let drawn = DRAWN.fetch_add(1, SeqCst) as u64;
        (drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize * 31 % 65521 % below
    }

    fn text(number: usize) -> ([u8; LONGEST], usize) {
        let mut text = [number as u8; LONGEST];
        text[..8].copy_from_slice(&(number as u64).to_ne_bytes());
        (text, 8 + number * 37 % (LONGEST - 8))
    }

    /// Sends a message with a number of its own, or receives one.
    pub fn step() {
        let id = QUEUE.load(SeqCst);
        let buffer = [0u8; TEXT + LONGEST];
        let at = buffer.as_ptr() as usize;
        if draw(2) == 0 {
            let number = NEXT.fetch_add(1, SeqCst);
            let (text, len) = text(number);
            put(at, 1 + draw(3) as c_long, &text[..len]);
            if send(id, at, len) == 0 {
                FATE[number].fetch_add(SENT, SeqCst);
            }
        } else {
            take(id, at, [0, 2, -2][draw(3)]);
        }
    }

    /// Receives a message, which must be complete. Returns `false` if there is none.
    fn take(id: c_int, at: usize, mtype: c_long) -> bool {
        let len = receive(id, at, LONGEST, mtype, 0);
        if len < 0 {
            assert_eq!(len, -(ENOMSG as isize));
            return false;
        }
        // SAFETY: a buffer of `step` or `settle`.
        let got = unsafe { std::slice::from_raw_parts((at + TEXT) as *const u8, len as usize) };
        let number = u64::from_ne_bytes(got[..8].try_into().unwrap()) as usize;
        let (text, whole) = text(number);
        assert_eq!(got, &text[..whole]);
        FATE[number].fetch_add(1, SeqCst);
        true
    }

    /// Returns `true` if few numbers are left.
    pub fn is_full() -> bool {
        NEXT.load(SeqCst) > MOST - 1000
    }

    /// Checks, after the last send, that each message that was sent is received once, and no other
    /// one.
    pub fn settle() {
        let buffer = [0u8; TEXT + LONGEST];
        while take(QUEUE.load(SeqCst), buffer.as_ptr() as usize, 0) {}
        let sent = NEXT.load(SeqCst);
        for (number, fate) in FATE[..sent].iter().enumerate() {
            assert!([0, SENT | 1].contains(&fate.load(SeqCst)), "{number} of {sent}: {:x}", fate.load(SeqCst));
        }
    }

    pub extern "C" fn handle(_signal: c_int) {
        // SAFETY: the location is valid for the thread's life.
        let before = unsafe { *libc::__errno_location() };
        step();
        HANDLED.fetch_add(1, SeqCst);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = before };
    }
}

/// Handlers, which may interrupt each other, use the queue that their thread is using.
#[test]
fn signal_handlers_send_and_receive() {
    use std::sync::atomic::Ordering::SeqCst;
    preloaded("handlers::signal_handlers_send_and_receive", || {
        let id = queue(0o600);
        many::QUEUE.store(id, SeqCst);
        let child = fork(|| {
            let every = |microseconds| {
                let interval = libc::timeval { tv_sec: 0, tv_usec: microseconds };
                let timer = libc::itimerval { it_interval: interval, it_value: interval };
                for (which, signal) in [(libc::ITIMER_REAL, libc::SIGALRM), (libc::ITIMER_PROF, libc::SIGPROF)] {
                    // SAFETY: a handler that makes calls which a handler may make; zeroes are a
                    // valid sigaction.
                    unsafe {
                        let mut action: libc::sigaction = std::mem::zeroed();
                        action.sa_sigaction = many::handle as *const () as usize;
                        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
                        assert_eq!(libc::setitimer(which, &raw const timer, std::ptr::null_mut()), 0);
                    }
                }
            };
            every(150);
            until("enough handlers have run", || {
                many::step();
                many::HANDLED.load(SeqCst) >= 3000 || many::is_full()
            });
            every(0);
            many::settle();
        });
        assert_eq!(end(child), 0);
        assert_eq!(content(id), (0, 0));
    });
}
