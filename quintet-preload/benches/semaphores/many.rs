//! As many sets as the kernel allows, on each side.

use crate::common::companion::answer_lines;
use crate::common::random;
use crate::common::turns::{self, Figures};
use crate::side::{FIRST_KEY, Set, Side, operation};
use libc::{IPC_CREAT, IPC_EXCL};
use quintet::Limits;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 7;

/// The steps for all sets, in this order; nanoseconds for one.
pub const STEPS: [&str; 6] = [
    "create, key",
    "the first semop on each",
    "semop on a random one",
    "semget, random key",
    "another process: semget and the first semop on each",
    "remove",
];

/// Returns the number of sets that both sides may have: `semmni`.
pub fn most() -> usize {
    let text = std::fs::read_to_string("/proc/sys/kernel/sem").unwrap_or_default();
    let kernel: Option<usize> = text.split_ascii_whitespace().nth(3).and_then(|number| number.parse().ok());
    kernel.unwrap_or(128).min(Limits::DEFAULT.semmni as usize)
}

fn key(number: usize) -> libc::key_t {
    FIRST_KEY + number as libc::key_t
}

/// The main loop of a companion: finds each set, and operates on it.
pub fn visit() {
    let side = Side::plain();
    answer_lines(|line| {
        let n: usize = line.parse().expect("a number");
        let start = Instant::now();
        (0..n).for_each(|number| side.get(key(number), 1, 0).operate(&mut [operation(0, 1, 0)]));
        start.elapsed().as_nanos().to_string()
    });
}

fn live(side: &Side, n: usize) -> [f64; STEPS.len()] {
    let mut times = [0.0; STEPS.len()];
    let mut state = 0x9E37_79B9_7F4A_7C15;
    let mut clock = Instant::now();
    let mut lap = |step: usize| {
        times[step] = clock.elapsed().as_nanos() as f64 / n as f64;
        clock = Instant::now();
    };
    let sets: Vec<Set<'_>> = (0..n).map(|number| side.get(key(number), 1, IPC_CREAT | IPC_EXCL | 0o600)).collect();
    lap(0);
    let up = |set: &Set<'_>| set.operate(&mut [operation(0, 1, 0)]);
    sets.iter().for_each(up);
    lap(1);
    (0..n).for_each(|_| up(&sets[random(&mut state, n)]));
    lap(2);
    for _ in 0..n {
        black_box(side.get(key(random(&mut state, n)), 1, 0).id);
    }
    lap(3);
    let mut visitor = side.companion(&["--visit"]);
    visitor.send(&n.to_string());
    let visited = visitor.hear().parse::<f64>().expect("a number") / n as f64;
    drop(visitor);
    lap(4);
    sets.iter().for_each(|set| set.remove());
    lap(5);
    times[4] = visited;
    times
}

pub fn measure(sides: [&Side; 2], n: usize) -> [Figures; STEPS.len()] {
    // The first run of each side warms up.
    sides.iter().for_each(|side| _ = live(side, n));
    let rounds = turns::rounds(ROUNDS, 2, |side| live(sides[side], n));
    std::array::from_fn(|step| {
        let [kernel, quintet] = [0, 1].map(|side| rounds[side].iter().map(|times| times[step]).collect::<Vec<_>>());
        Figures::of(&kernel, &quintet)
    })
}
