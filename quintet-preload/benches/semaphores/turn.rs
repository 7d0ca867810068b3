//! Two processes that hand a turn to each other: by semaphores, and by the least that the machine can do it with.
//!
//! # Safety
//!
//! The word is in a mapping of a file that both have, which stays; it is an atomic. The system calls get its address
//! and numbers.

use crate::common;
use crate::common::companion::{Companion, answer_lines};
use crate::common::turns::{self, Figures, calibrate};
use crate::side::{Owned, Set, Side, operation};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;
/// How long a side plays in a round, twice: once by one clock, once trip by trip.
const LENGTH: Duration = Duration::from_millis(4);
/// Trips that are not counted, until both are awake.
const WARM: u32 = 16;
const MOST_TRIPS: u32 = 4000;

/// Whose turn it is, 0 or 1, and how it is handed over.
enum Turn<'a> {
    /// Two semaphores: each waits for its own.
    Semaphores(Set<'a>),
    /// A word: the other is woken, and sleeps until then.
    Futex(&'static AtomicU32),
    /// A word: both look at it all the time.
    Line(&'static AtomicU32),
    /// A word: who does not have the turn gives the processor away.
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

/// A companion's life: `--ping` or `--pong`, by what, which set or file, on which processor.
pub fn play(role: &str, means: &str, what: i32, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    let turn = match means {
        "semaphores" => Turn::Semaphores(Set::of(&side, what)),
        "futex" => Turn::Futex(map(what)),
        "line" => Turn::Line(map(what)),
        _ => Turn::Yield(map(what)),
    };
    let trip = || {
        turn.give(1);
        turn.wait(0);
    };
    let answer = || {
        turn.wait(1);
        turn.give(0);
    };
    answer_lines(|line| {
        let n: u32 = line.parse().expect("a number");
        if role == "--pong" {
            (0..WARM + 2 * n).for_each(|_| answer());
            return "done".into();
        }
        (0..WARM).for_each(|_| trip());
        let start = Instant::now();
        (0..n).for_each(|_| trip());
        let mut times = vec![start.elapsed().as_nanos()];
        let mut last = Instant::now();
        times.extend((0..n).map(|_| {
            trip();
            let now = Instant::now();
            (now - std::mem::replace(&mut last, now)).as_nanos()
        }));
        times.iter().map(u128::to_string).collect::<Vec<_>>().join(" ")
    });
}

/// The word in a file that companions inherit.
fn map(file: i32) -> &'static AtomicU32 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping where there is room.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<u32>(), prot, flags, file, 0) };
    assert!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    // SAFETY: mapped for good, aligned to a page.
    unsafe { AtomicU32::from_ptr(at.cast()) }
}

/// A file in memory that companions inherit.
fn word() -> OwnedFd {
    // SAFETY: a NUL-terminated name.
    let file = unsafe { libc::memfd_create(c"turn".as_ptr(), 0) };
    assert!(file >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    // SAFETY: numbers only.
    assert!(unsafe { libc::ftruncate(file.as_raw_fd(), size_of::<u32>() as libc::off_t) } == 0, "no room for a word");
    file
}

/// Two who play. (The set goes first: if something has failed, they may wait for it.)
struct Players<'a> {
    _set: Option<Owned<'a>>,
    _word: Option<OwnedFd>,
    ping: Companion,
    pong: Companion,
}

impl<'a> Players<'a> {
    fn new(side: &'a Side, means: &str, processors: [usize; 2]) -> Players<'a> {
        let set = (means == "semaphores").then(|| side.private(2));
        let word = set.is_none().then(word);
        let what = set.as_ref().map(|set| set.0.id).or(word.as_ref().map(AsRawFd::as_raw_fd)).unwrap_or(-1).to_string();
        let start = |role, processor: usize| side.companion(&[role, means, &what, &processor.to_string()]);
        let (ping, pong) = (start("--ping", processors[0]), start("--pong", processors[1]));
        Players { _set: set, _word: word, ping, pong }
    }

    /// The mean of `n` round trips, and what each of as many others took; nanoseconds.
    fn trips(&mut self, n: u32) -> (f64, Vec<f64>) {
        self.pong.tell(&n.to_string());
        self.ping.tell(&n.to_string());
        let mut times = self.ping.hear().split(' ').map(|time| time.parse().expect("a number")).collect::<Vec<f64>>();
        assert_eq!(self.pong.hear(), "done");
        (times.remove(0) / f64::from(n), times)
    }
}

/// What one side's round trips took.
pub struct Trips {
    pub who: String,
    pub mean: f64,
    /// The part of 0.5, 0.99 and 0.999 took less.
    pub quantiles: [f64; 3],
    /// Compared to the kernel's.
    pub figures: Figures,
}

/// Round trips between two processes, by either side's semaphores and by the `floors`, all in turns.
pub fn measure(kernel: &Side, quintet: &Side, processors: [usize; 2], floors: &[&str]) -> Vec<Trips> {
    let sides = [("kernel", kernel, "semaphores"), ("quintet", quintet, "semaphores")].into_iter();
    let sides = sides.chain(floors.iter().map(|floor| (*floor, kernel, *floor)));
    let (names, mut players): (Vec<_>, Vec<_>) =
        sides.map(|(name, side, means)| (name, Players::new(side, means, processors))).unzip();
    let times: Vec<u32> = players
        .iter_mut()
        .map(|players| {
            let mut play = |n| Duration::from_nanos((players.trips(n).0 * f64::from(n)) as u64);
            calibrate(&mut play, LENGTH).min(MOST_TRIPS)
        })
        .collect();
    let given = turns::rounds(ROUNDS, players.len(), |side| players[side].trips(times[side]));
    let means: Vec<Vec<f64>> = given.iter().map(|rounds| rounds.iter().map(|round| round.0).collect()).collect();
    let trips = names.iter().zip(&given).zip(&means).map(|((name, rounds), mean)| {
        let all: Vec<f64> = rounds.iter().flat_map(|round| &round.1).copied().collect();
        Trips {
            who: match *name {
                "kernel" | "quintet" => (*name).into(),
                floor => format!("(floor: {floor})"),
            },
            mean: common::median(mean),
            quantiles: [0.5, 0.99, 0.999].map(|part| common::quantile(&all, part)),
            figures: Figures::of(&means[0], mean),
        }
    });
    trips.collect()
}
