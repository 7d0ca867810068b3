//! Alternation: each round times a batch on one side, then on the other, and the next round
//! reverses the order. A machine (a virtual one above all) drifts more between two measurements
//! than the sides differ.

use super::{median, quantile};
use std::time::{Duration, Instant};

pub const ROUNDS: usize = 301;
/// The time that a batch of one side should take.
pub const BATCH: Duration = Duration::from_micros(400);

/// Performs an operation this many times, and returns the time.
pub type Batch<'a> = Box<dyn FnMut(u32) -> Duration + 'a>;

pub fn timed<'a>(mut op: impl FnMut() + 'a) -> Batch<'a> {
    Box::new(move |n| {
        let start = Instant::now();
        (0..n).for_each(|_| op());
        start.elapsed()
    })
}

/// A batch of an operation that is performed with 1 and then, to restore the state, with -1. Each
/// counts as one.
pub fn there_and_back<'a>(mut op: impl FnMut(i16) + 'a) -> Batch<'a> {
    Box::new(move |n| {
        let pairs = n.div_ceil(2);
        let start = Instant::now();
        for _ in 0..pairs {
            op(1);
            op(-1);
        }
        start.elapsed() * n / (2 * pairs)
    })
}

/// Medians in nanoseconds, and the ratio of Quintet's time to the kernel's in the same round.
pub struct Figures {
    pub kernel: f64,
    pub quintet: f64,
    pub ratio: f64,
    /// The interval of the ratios of 90 % of the rounds.
    pub spread: (f64, f64),
}

impl Figures {
    /// Computes the figures from the results of the rounds.
    pub fn of(kernel: &[f64], quintet: &[f64]) -> Figures {
        let ratios: Vec<f64> = quintet.iter().zip(kernel).map(|(q, k)| q / k).collect();
        let spread = (quantile(&ratios, 0.05), quantile(&ratios, 0.95));
        Figures { kernel: median(kernel), quintet: median(quintet), ratio: median(&ratios), spread }
    }

    /// Formats the spread.
    pub fn range(&self) -> String {
        format!("{:.2} .. {:.2}", self.spread.0, self.spread.1)
    }
}

/// Returns the number of operations that fit into a batch of this length; also warms up.
pub fn calibrate(batch: &mut dyn FnMut(u32) -> Duration, length: Duration) -> u32 {
    let mut n = 1;
    loop {
        let took = batch(n);
        if took >= length / 2 || n >= 1 << 16 {
            let each = took.as_nanos() as f64 / f64::from(n);
            return (length.as_nanos() as f64 / each).round().clamp(1.0, 65536.0) as u32;
        }
        n *= 2;
    }
}

/// Measures both sides, alternating, in nanoseconds for one operation.
pub fn measure(a: &mut Batch<'_>, b: &mut Batch<'_>) -> Figures {
    let (n, m) = (calibrate(a, BATCH), calibrate(b, BATCH));
    let each = |batch: &mut Batch<'_>, n: u32| batch(n).as_nanos() as f64 / f64::from(n);
    let rounds = rounds(ROUNDS, 2, |side| if side == 0 { each(a, n) } else { each(b, m) });
    Figures::of(&rounds[0], &rounds[1])
}

/// Asks each of `sides` once a round, in alternating order. Returns the answers of each.
pub fn rounds<T>(rounds: usize, sides: usize, mut ask: impl FnMut(usize) -> T) -> Vec<Vec<T>> {
    let mut given: Vec<Vec<T>> = (0..sides).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for turn in 0..sides {
            let side = if round % 2 == 0 { turn } else { sides - 1 - turn };
            given[side].push(ask(side));
        }
    }
    given
}
