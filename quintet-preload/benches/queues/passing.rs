//! Messages from one process to itself, to another, and back, with each means.

use crate::channel::{Channel, Held, MEANS};
use crate::common;
use crate::common::companion::{Companion, answer_lines};
use crate::common::trips::{self, Players, Trips};
use crate::common::turns::{self, BATCH, Batch, Figures, calibrate, timed};
use crate::side::{Message, Side};
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;
/// The length of a stream in a round.
const LENGTH: Duration = Duration::from_millis(4);
/// Messages of a stream that are not counted.
const WARM: u32 = 64;

/// Sending and receiving in one process, or from one process to another.
pub struct Passing {
    pub name: &'static str,
    pub len: usize,
    /// `None` for one process; otherwise `true` if each of two has a processor of its own.
    pub two: Option<bool>,
}

pub const PASSINGS: [Passing; 5] = [
    Passing { name: "send + receive, 64 B, one process", len: 64, two: None },
    Passing { name: "send + receive, 8 KiB, one process", len: 8192, two: None },
    Passing { name: "stream, 64 B, two processors", len: 64, two: Some(true) },
    Passing { name: "stream, 8 KiB, two processors", len: 8192, two: Some(true) },
    Passing { name: "stream, 64 B, one processor", len: 64, two: Some(false) },
];

/// The results for each of [`MEANS`].
pub struct Compared {
    pub figures: Figures,
    /// Nanoseconds for a message.
    pub others: Vec<f64>,
}

/// Returns the arguments of a companion.
fn words(role: &str, means: &str, held: &[&Held<'_>], len: usize, processor: usize) -> Vec<String> {
    let channels = held.iter().flat_map(|held| held.words());
    let first = [role, means, &len.to_string(), &processor.to_string()].map(String::from);
    first.into_iter().chain(channels).collect()
}

/// The main loop of a companion.
pub fn live(role: &str, means: &str, len: usize, processor: usize, channels: &[i32]) {
    common::pin_to(processor);
    let side = Side::plain();
    let channels: Vec<_> = channels.chunks(2).map(|pair| Channel::of(means, &side, pair[0], pair[1])).collect();
    let (there, back) = (&channels[0], channels.last().expect("at least one"));
    let (sent, mut received) = (Message::new(1), Message::new(0));
    match role {
        "--ping" => trips::ping(|| {
            there.send(&sent, len);
            back.receive(&mut received, len);
        }),
        "--pong" => trips::pong(|| {
            there.receive(&mut received, len);
            back.send(&sent, len);
        }),
        "--send" => answer_lines(|line| {
            let n: u32 = line.parse().expect("a number");
            (0..WARM + n).for_each(|_| there.send(&sent, len));
            "done".into()
        }),
        _ => answer_lines(|line| {
            let n: u32 = line.parse().expect("a number");
            (0..WARM).for_each(|_| there.receive(&mut received, len));
            let start = Instant::now();
            (0..n).for_each(|_| there.receive(&mut received, len));
            start.elapsed().as_nanos().to_string()
        }),
    }
}

fn start(side: &Side, words: &[String]) -> Companion {
    side.companion(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn alone<'a>(means: &'static str, side: &'a Side, len: usize) -> Batch<'a> {
    let held = Held::new(means, side, len);
    let channel = held.channel(means, side);
    let (sent, mut received) = (Message::new(1), Message::new(0));
    timed(move || {
        let _ = &held;
        channel.send(&sent, len);
        channel.receive(&mut received, len);
    })
}

/// Messages from a second process to a third one, timed by the receiver.
fn stream<'a>(means: &'static str, side: &'a Side, len: usize, processors: [usize; 2]) -> Batch<'a> {
    let held = Held::new(means, side, len);
    let mut receiver = start(side, &words("--receive", means, &[&held], len, processors[1]));
    let mut sender = start(side, &words("--send", means, &[&held], len, processors[0]));
    Box::new(move |n| {
        let _ = &held;
        receiver.send(&n.to_string());
        sender.send(&n.to_string());
        let took = receiver.hear().parse().expect("a number");
        assert_eq!(sender.hear(), "done");
        Duration::from_nanos(took)
    })
}

pub fn compare(passing: &Passing, kernel: &Side, quintet: &Side, pair: [usize; 2]) -> Compared {
    let sides = |means| if means == "quintet" { quintet } else { kernel };
    let mut batches = MEANS.map(|means| match passing.two {
        None => alone(means, sides(means), passing.len),
        Some(true) => stream(means, sides(means), passing.len, pair),
        Some(false) => stream(means, sides(means), passing.len, [pair[1]; 2]),
    });
    let length = if passing.two.is_some() { LENGTH } else { BATCH };
    let times = batches.each_mut().map(|batch| calibrate(batch, length));
    let each = |side: usize| batches[side](times[side]).as_nanos() as f64 / f64::from(times[side]);
    let rounds = turns::rounds(ROUNDS, MEANS.len(), each);
    let others = rounds[2..].iter().map(|others| common::median(others)).collect();
    Compared { figures: Figures::of(&rounds[0], &rounds[1]), others }
}

/// Measures round trips of `len` bytes with each of [`MEANS`].
pub fn trips(len: usize, kernel: &Side, quintet: &Side, processors: [usize; 2]) -> Vec<Trips> {
    let players = MEANS.map(|means| {
        let side = if means == "quintet" { quintet } else { kernel };
        let held = [0; 2].map(|_| Held::new(means, side, len));
        let both = [&held[0], &held[1]];
        let ping = start(side, &words("--ping", means, &both, len, processors[0]));
        let pong = start(side, &words("--pong", means, &both, len, processors[1]));
        Players::new(held, ping, pong)
    });
    trips::measure(players.into())
}
