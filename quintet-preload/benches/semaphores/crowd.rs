//! Several processes that compete for one semaphore, and one that wakes another.

use crate::common;
use crate::common::companion::{Companion, Watch, answer_lines, now};
use crate::common::turns::{self, Batch, Figures, there_and_back};
use crate::side::{Owned, Set, Side, operation};
use std::time::{Duration, Instant};

const ROUNDS: usize = 31;
const WINDOW: Duration = Duration::from_millis(50);
/// From the command until all processes start.
const NOTICE: Duration = Duration::from_millis(2);

/// Four processes that take and give, two on each processor.
pub struct Case {
    pub name: &'static str,
    /// The number of processes that may hold it.
    pub places: u16,
    pub flags: i32,
    /// The time that each holds it, and then does without it.
    pub busy: Duration,
}

pub const CASES: [Case; 3] = [
    Case { name: "a mutex", places: 1, flags: 0, busy: Duration::ZERO },
    Case { name: "a mutex, 1 µs with it and 1 µs without", places: 1, flags: 0, busy: Duration::from_micros(1) },
    Case { name: "two places, SEM_UNDO", places: 2, flags: libc::SEM_UNDO, busy: Duration::ZERO },
];

/// The result.
pub struct Contention {
    /// Nanoseconds from one acquisition to the next, by any process.
    pub figures: Figures,
    /// The ratio of the most to the fewest acquisitions of a process, in the median round, for the
    /// kernel and for Quintet.
    pub shares: [f64; 2],
}

fn busy(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

/// The main loop of a companion: takes and gives within a period, and reports the count.
pub fn take(id: i32, flags: i32, busy_ns: u64, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    let set = Set::of(&side, id);
    let time = Duration::from_nanos(busy_ns);
    answer_lines(|line| {
        let start: u64 = line.parse().expect("a number");
        let end = start + WINDOW.as_nanos() as u64;
        while now() < start {
            std::thread::yield_now();
        }
        let mut times = 0u64;
        while !times.is_multiple_of(16) || now() < end {
            set.operate(&mut [operation(0, -1, flags)]);
            if busy_ns > 0 {
                busy(time);
            }
            set.operate(&mut [operation(0, 1, flags)]);
            if busy_ns > 0 {
                busy(time);
            }
            times += 1;
        }
        times.to_string()
    });
}

pub fn contend(case: &Case, sides: [&Side; 2], processors: [usize; 2]) -> Contention {
    let (flags, busy) = (case.flags.to_string(), case.busy.as_nanos().to_string());
    let mut crowds = sides.map(|side| {
        let set = side.private(1);
        set.0.set_value(0, case.places);
        let takers = [0, 1, 0, 1]
            .map(|cpu| side.companion(&["--take", &set.0.id.to_string(), &flags, &busy, &processors[cpu].to_string()]));
        (set, takers)
    });
    let rounds = turns::rounds(ROUNDS, 2, |side| {
        let takers = &mut crowds[side].1;
        let start = (now() + NOTICE.as_nanos() as u64).to_string();
        takers.iter_mut().for_each(|taker| taker.send(&start));
        takers.each_mut().map(|taker| taker.hear().parse().expect("a number"))
    });
    let each = |side: usize| -> Vec<f64> {
        rounds[side].iter().map(|took: &[f64; 4]| WINDOW.as_nanos() as f64 / took.iter().sum::<f64>()).collect()
    };
    let share = |side: usize| {
        let shares = rounds[side].iter().map(|took| common::quantile(took, 1.0) / common::quantile(took, 0.0).max(1.0));
        common::median(&shares.collect::<Vec<_>>())
    };
    Contention { figures: Figures::of(&each(0), &each(1)), shares: [share(0), share(1)] }
}

/// The main loop of a companion: repeats an operation, which may wait, until the set is removed.
pub fn operate(id: i32, by: i16, flags: i32, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    answer_lines(|line| {
        let n: u32 = line.parse().expect("a number");
        let stands = (0..n).all(|_| Set::of(&side, id).operate_unless_removed(&mut [operation(0, by, flags)]));
        if stands { "done" } else { "removed" }.into()
    });
}

/// A set, and another process that uses it. (The set is dropped first, so that the process does not
/// wait forever.)
struct Visited<'a> {
    set: Owned<'a>,
    visitor: Companion,
}

impl<'a> Visited<'a> {
    /// Starts the process, which will perform this operation.
    fn by(side: &'a Side, by: i16, flags: i32, processor: usize) -> Visited<'a> {
        let set = side.private(1);
        let words = [set.0.id.to_string(), by.to_string(), flags.to_string(), processor.to_string()];
        let visitor = side.companion(&["--operate", &words[0], &words[1], &words[2], &words[3]]);
        Visited { set, visitor }
    }
}

/// A measurement of one process that meets another.
pub type Encounter = (&'static str, fn(&Side, usize) -> Batch<'_>);

pub const ENCOUNTERS: [Encounter; 3] = [
    ("semop, and another process is woken by it", wake),
    ("semop, while another process waits for more", waited_for),
    ("semop, SEM_UNDO, where another process has some", shared_undo),
];

/// A post to a sleeping process on another processor: the cost for the caller.
fn wake(side: &Side, processor: usize) -> Batch<'_> {
    let mut met = Visited::by(side, -1, 0, processor);
    let watch = Watch::of(&met.visitor);
    Box::new(move |n| {
        let met = &mut met;
        met.visitor.send(&n.to_string());
        let mut took = Duration::ZERO;
        for _ in 0..n {
            while met.set.0.waiting(0) != 1 || !watch.sleeps() {}
            let start = Instant::now();
            met.set.0.operate(&mut [operation(0, 1, 0)]);
            took += start.elapsed();
        }
        assert_eq!(met.visitor.hear(), "done");
        took
    })
}

fn waited_for(side: &Side, processor: usize) -> Batch<'_> {
    let mut met = Visited::by(side, -100, 0, processor);
    met.visitor.send("1");
    while met.set.0.waiting(0) != 1 {}
    let by = move |by| {
        let met = &met;
        met.set.0.operate(&mut [operation(0, by, 0)]);
    };
    there_and_back(by)
}

fn shared_undo(side: &Side, processor: usize) -> Batch<'_> {
    let mut met = Visited::by(side, 1, libc::SEM_UNDO, processor);
    met.visitor.send("1");
    assert_eq!(met.visitor.hear(), "done");
    let by = move |by| {
        let met = &met;
        met.set.0.operate(&mut [operation(0, by, libc::SEM_UNDO)]);
    };
    there_and_back(by)
}
