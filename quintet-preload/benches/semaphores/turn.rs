//! Two processes that pass a turn back and forth: with semaphores, and with the cheapest means of
//! the machine.
//!
//! # Safety
//!
//! The word is an atomic in a mapping of a file that both processes have, which stays mapped. The
//! system calls get its address and numbers.

use crate::common;
use crate::common::trips::{self, Players, Trips};
use crate::side::{Owned, Set, Side, operation};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::*};

/// The process that has the turn, 0 or 1, and how it is passed on.
enum Turn<'a> {
    /// Two semaphores: each process waits for its own.
    Semaphores(Set<'a>),
    /// A word: the other process sleeps until it is woken.
    Futex(&'static AtomicU32),
    /// A word: both processes spin on it.
    Line(&'static AtomicU32),
    /// A word: the process without the turn yields the processor.
    Yield(&'static AtomicU32),
}

impl Turn<'_> {
    #[inline]
    fn give(&self, to: u32) {
        match self {
            Turn::Semaphores(set) => set.operate(&mut [operation(to as u16, 1, 0)]),
            Turn::Line(word) | Turn::Yield(word) => word.store(to, Release),
            Turn::Futex(word) => {
                word.store(to, Release);
                // SAFETY: see the module.
                unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
            }
        }
    }

    #[inline]
    fn wait(&self, me: u32) {
        match self {
            Turn::Semaphores(set) => set.operate(&mut [operation(me as u16, -1, 0)]),
            Turn::Line(word) => {
                while word.load(Acquire) != me {
                    std::hint::spin_loop();
                }
            }
            Turn::Yield(word) => {
                while word.load(Acquire) != me {
                    std::thread::yield_now();
                }
            }
            Turn::Futex(word) => {
                while word.load(Acquire) != me {
                    let forever = std::ptr::null::<libc::timespec>();
                    // SAFETY: see the module.
                    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 1 - me, forever) };
                }
            }
        }
    }
}

/// The main loop of a companion: its role, the means, the set or file, and the processor.
pub fn play(role: &str, means: &str, what: i32, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    let turn = match means {
        "semaphores" => Turn::Semaphores(Set::of(&side, what)),
        "futex" => Turn::Futex(map(what)),
        "line" => Turn::Line(map(what)),
        _ => Turn::Yield(map(what)),
    };
    match role {
        "--ping" => trips::ping(|| {
            turn.give(1);
            turn.wait(0);
        }),
        _ => trips::pong(|| {
            turn.wait(1);
            turn.give(0);
        }),
    }
}

/// Maps the word in a file that companions inherit.
fn map(file: i32) -> &'static AtomicU32 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<u32>(), prot, flags, file, 0) };
    assert!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    // SAFETY: never unmapped, and page-aligned.
    unsafe { AtomicU32::from_ptr(at.cast()) }
}

/// Creates a file in memory that companions inherit.
fn word() -> OwnedFd {
    // SAFETY: a NUL-terminated name.
    let file = unsafe { libc::memfd_create(c"turn".as_ptr(), 0) };
    assert!(file >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: just opened, and owned by nothing else.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    // SAFETY: numbers only.
    assert!(unsafe { libc::ftruncate(file.as_raw_fd(), size_of::<u32>() as libc::off_t) } == 0, "no room for a word");
    file
}

fn players<'a>(side: &'a Side, means: &str, processors: [usize; 2]) -> Players<(Option<Owned<'a>>, Option<OwnedFd>)> {
    let set = (means == "semaphores").then(|| side.private(2));
    let word = set.is_none().then(word);
    let what = set.as_ref().map(|set| set.0.id).or(word.as_ref().map(AsRawFd::as_raw_fd)).unwrap_or(-1).to_string();
    let start = |role, processor: usize| side.companion(&[role, means, &what, &processor.to_string()]);
    let (ping, pong) = (start("--ping", processors[0]), start("--pong", processors[1]));
    Players::new((set, word), ping, pong)
}

/// Measures round trips between two processes, with the semaphores of each side and with the
/// `floors`, alternating. Returns the name of each.
pub fn measure(kernel: &Side, quintet: &Side, processors: [usize; 2], floors: &[&str]) -> Vec<(String, Trips)> {
    let sides = [("kernel", kernel, "semaphores"), ("quintet", quintet, "semaphores")].into_iter();
    let sides = sides.map(|(name, side, means)| (name.into(), players(side, means, processors)));
    let floors = floors.iter().map(|floor| (format!("(floor: {floor})"), players(kernel, floor, processors)));
    let (names, players): (Vec<_>, Vec<_>) = sides.chain(floors).unzip();
    names.into_iter().zip(trips::measure(players)).collect()
}
