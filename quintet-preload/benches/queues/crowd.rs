//! Several processes at one queue, and one that wakes another.

use crate::common;
use crate::common::companion::{Watch, answer_lines, now};
use crate::common::turns::{self, Batch, Figures};
use crate::side::{Message, Owned, Queue, Side};
use std::time::{Duration, Instant};

const ROUNDS: usize = 31;
const WINDOW: Duration = Duration::from_millis(50);
/// From the command until all processes start.
const NOTICE: Duration = Duration::from_millis(2);
const LEN: usize = 64;
/// The type of a message after which its receiver stops.
const STOP: libc::c_long = 2;
/// The number of senders, and of receivers; half of each on each processor.
const MANY: usize = 4;

/// The main loop of a companion: sends within a period, and reports the count.
pub fn send(id: i32, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    let queue = Queue::of(&side, id);
    let (message, stop) = (Message::new(1), Message::new(STOP));
    answer_lines(|line| {
        let start: u64 = line.parse().expect("a number");
        let end = start + WINDOW.as_nanos() as u64;
        while now() < start {
            std::thread::yield_now();
        }
        let mut sent = 0u64;
        while !sent.is_multiple_of(16) || now() < end {
            queue.send(&message, LEN);
            sent += 1;
        }
        queue.send(&stop, 0);
        sent.to_string()
    });
}

/// The main loop of a companion: receives until a stop message, and reports the count.
pub fn receive(id: i32, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    let queue = Queue::of(&side, id);
    let mut message = Message::new(0);
    answer_lines(|_| {
        let mut received = 0u64;
        loop {
            queue.receive(&mut message, LEN, 0, 0);
            if message.mtype == STOP {
                return received.to_string();
            }
            received += 1;
        }
    });
}

/// The result.
pub struct Contention {
    /// Nanoseconds from one message to the next, by any sender.
    pub figures: Figures,
    /// The ratio of the most to the fewest messages of a process, sent and received, in the median
    /// round, for the kernel and for Quintet.
    pub shares: [[f64; 2]; 2],
}

pub fn contend(sides: [&Side; 2], processors: [usize; 2]) -> Contention {
    let mut crowds = sides.map(|side| {
        let queue = side.private();
        let all = ["--crowd-receive", "--crowd-send"].map(|role| {
            let start = |at: usize| side.companion(&[role, &queue.0.id.to_string(), &processors[at % 2].to_string()]);
            (0..MANY).map(start).collect::<Vec<_>>()
        });
        (queue, all)
    });
    let rounds = turns::rounds(ROUNDS, 2, |side| {
        let all = &mut crowds[side].1;
        let start = (now() + NOTICE.as_nanos() as u64).to_string();
        all.iter_mut().flatten().for_each(|one| one.send(&start));
        let counts = all
            .each_mut()
            .map(|some| some.iter_mut().map(|one| one.hear().parse::<f64>().expect("a number")).collect::<Vec<_>>());
        assert!(counts[0].iter().sum::<f64>() == counts[1].iter().sum(), "as many were received as were sent");
        counts
    });
    let each = |side: usize| -> Vec<f64> {
        rounds[side].iter().map(|counts| WINDOW.as_nanos() as f64 / counts[1].iter().sum::<f64>()).collect()
    };
    let share = |side: usize, role: usize| {
        let shares = rounds[side]
            .iter()
            .map(|counts| common::quantile(&counts[role], 1.0) / common::quantile(&counts[role], 0.0).max(1.0));
        common::median(&shares.collect::<Vec<_>>())
    };
    let shares = [0, 1].map(|side| [share(side, 1), share(side, 0)]);
    Contention { figures: Figures::of(&each(0), &each(1)), shares }
}

/// The main loop of a companion: sends or receives messages, which may wait, until the queue is
/// removed.
pub fn attend(id: i32, sends: bool, processor: usize) {
    common::pin_to(processor);
    let side = Side::plain();
    let queue = Queue::of(&side, id);
    let mut message = Message::new(1);
    answer_lines(|line| {
        let n: u32 = line.parse().expect("a number");
        let mut stands = || match sends {
            true => queue.try_send(&message, 8192, 0),
            false => queue.try_receive(&mut message, 8192, 0, 0) >= 0,
        };
        if (0..n).all(|_| stands()) { "done" } else { "removed" }.into()
    });
}

/// A measurement of one process that meets another.
pub type Encounter = (&'static str, fn(&Side, usize) -> Batch<'_>);

pub const ENCOUNTERS: [Encounter; 2] = [
    ("msgsnd, 64 B, and another process is woken by it", |side, processor| wake(side, false, processor)),
    ("msgrcv, 8 KiB, and a sender of as much is woken by it", |side, processor| wake(side, true, processor)),
];

/// A call that wakes a sleeping process on another processor: the cost for the caller.
fn wake(side: &Side, sends: bool, processor: usize) -> Batch<'_> {
    let owned: Owned<'_> = side.private();
    let mut message = Message::new(1);
    if sends {
        while owned.0.try_send(&message, 8192, libc::IPC_NOWAIT) {}
    }
    let role = if sends { "send" } else { "receive" };
    let mut visitor = side.companion(&["--attend", role, &owned.0.id.to_string(), &processor.to_string()]);
    let watch = Watch::of(&visitor);
    Box::new(move |n| {
        let owned = &owned;
        visitor.send(&n.to_string());
        let mut took = Duration::ZERO;
        for _ in 0..n {
            while !watch.sleeps() {}
            let start = Instant::now();
            match sends {
                true => _ = owned.0.receive(&mut message, 8192, 0, 0),
                false => owned.0.send(&message, 64),
            }
            took += start.elapsed();
        }
        assert_eq!(visitor.hear(), "done");
        took
    })
}
