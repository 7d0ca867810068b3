//! Round trips: two processes pass a turn back and forth.

use super::companion::{Companion, answer_lines};
use super::turns::{self, Figures, calibrate};
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;
/// The time of a side in a round. Each round runs twice: once timed as a whole, once trip by trip.
const LENGTH: Duration = Duration::from_millis(4);
/// Trips that are not counted, until both processes are awake.
const WARM: u32 = 16;
const MOST: u32 = 4000;

/// The companion that begins each trip: gives the turn away and waits for it.
pub fn ping(mut trip: impl FnMut()) {
    answer_lines(|line| {
        let n: u32 = line.parse().expect("a number");
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

/// The other companion: waits for the turn and gives it back.
pub fn pong(mut answer: impl FnMut()) {
    answer_lines(|line| {
        let n: u32 = line.parse().expect("a number");
        (0..WARM + 2 * n).for_each(|_| answer());
        "done".into()
    });
}

/// Two processes that play. (What they play with is dropped first: after a failure they may be
/// waiting for it.)
pub struct Players<H> {
    _held: H,
    ping: Companion,
    pong: Companion,
}

impl<H> Players<H> {
    pub fn new(held: H, ping: Companion, pong: Companion) -> Players<H> {
        Players { _held: held, ping, pong }
    }

    /// Returns the mean of `n` round trips, and the time of each of `n` further ones, in
    /// nanoseconds.
    fn trips(&mut self, n: u32) -> (f64, Vec<f64>) {
        self.pong.send(&n.to_string());
        self.ping.send(&n.to_string());
        let mut times = self.ping.hear().split(' ').map(|time| time.parse().expect("a number")).collect::<Vec<f64>>();
        assert_eq!(self.pong.hear(), "done");
        (times.remove(0) / f64::from(n), times)
    }
}

/// The round trips of one side.
pub struct Trips {
    pub mean: f64,
    /// The 0.5, 0.99 and 0.999 quantiles.
    pub quantiles: [f64; 3],
    /// Compared to the first side.
    pub figures: Figures,
}

/// Measures all pairs, alternating.
pub fn measure<H>(mut players: Vec<Players<H>>) -> Vec<Trips> {
    let times: Vec<u32> = players
        .iter_mut()
        .map(|players| {
            let mut play = |n| Duration::from_nanos((players.trips(n).0 * f64::from(n)) as u64);
            calibrate(&mut play, LENGTH).min(MOST)
        })
        .collect();
    let given = turns::rounds(ROUNDS, players.len(), |side| players[side].trips(times[side]));
    let means: Vec<Vec<f64>> = given.iter().map(|rounds| rounds.iter().map(|round| round.0).collect()).collect();
    let trips = given.iter().zip(&means).map(|(rounds, mean)| {
        let all: Vec<f64> = rounds.iter().flat_map(|round| &round.1).copied().collect();
        Trips {
            mean: super::median(mean),
            quantiles: [0.5, 0.99, 0.999].map(|part| super::quantile(&all, part)),
            figures: Figures::of(&means[0], mean),
        }
    });
    trips.collect()
}
