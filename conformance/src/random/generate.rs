//! Programs from numbers. The pools are small, so that calls meet.

use super::{About, Call, PROCESSES, Program, Regime, Step, User, queues, segments, sets};
use crate::{NOBODY, STRANGER};

pub(super) const KEYS: &[i32] = &[0, 1, 1, 2, 2, -3];
pub(super) const MODES: &[i32] = &[0o600, 0o600, 0o666, 0o666, 0o777, 0o640, 0o660, 0o400, 0o200, 0o604, 0o066, 0o040, 0o622, 0];
pub(super) const OWNERS: &[u32] = &[0, NOBODY, STRANGER, 7, NOBODY, STRANGER, u32::MAX];
const SIGNALS: &[i32] = &[libc::SIGKILL, libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM];
/// How long programs are if nobody says so: mostly short, because what differs shows in a few calls, and each begins anew.
const LENGTHS: &[usize] = &[8, 8, 9, 10, 12, 12, 14, 16, 20, 24, 30, 50];

/// SplitMix64.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    pub fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }
}

/// Who there is to make calls.
#[derive(Clone, Copy)]
pub(super) struct Hands {
    /// So many processes from the start.
    pub cast: usize,
    /// Whether they are of several users.
    pub users: bool,
    /// So many objects of each kind are made at the start, at most.
    pub made: usize,
}

impl Hands {
    /// In a user namespace only the tester's own numbers exist.
    pub fn owner(self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let own = |id: u32, own: u32| if self.users || id == u32::MAX { id } else { own };
        (own(uid, rustix::process::geteuid().as_raw()), own(gid, rustix::process::getegid().as_raw()))
    }
}

impl Program {
    /// The program of `seed`, of `calls` calls; of several users if `users`.
    pub fn generate(about: About, seed: u64, calls: usize, users: bool) -> Program {
        let mut dice = Dice(seed);
        let cast = cast(&mut dice, about, users);
        let regime = if users { regime(&mut dice, about) } else { Regime::Default };
        let watched = about != About::Sets && about != About::Queues && dice.below(2) == 0;
        let made = if about == About::All { dice.of(&[1, 1, 2]) } else { usize::MAX };
        let hands = Hands { cast: cast.len(), users, made };
        let mut steps = beginning(&mut dice, about, hands);
        steps.truncate(calls);
        steps.extend((steps.len()..calls).map(|_| step(&mut dice, about, hands)));
        Program { regime, watched, cast, steps }
    }

    /// How many calls the program of `seed` has if nobody says so: 8 to 50, 18 on the average.
    pub fn length(seed: u64) -> usize {
        Dice(!seed).of(LENGTHS)
    }
}

/// Limits are the superuser's to set.
fn regime(dice: &mut Dice, about: About) -> Regime {
    if dice.below(6) > 0 {
        return Regime::Default;
    }
    let pools = match about {
        About::Segments => [segments::regimes()].to_vec(),
        About::Sets => [sets::regimes()].to_vec(),
        About::Queues => [queues::regimes()].to_vec(),
        About::All => [segments::regimes(), sets::regimes(), queues::regimes()].to_vec(),
    };
    let pool = dice.of(&pools);
    dice.of(pool)
}

/// Two to six processes of one to three users; at least three where some wait.
fn cast(dice: &mut Dice, about: About, users: bool) -> Vec<User> {
    let everybody = [User::Tester, User::Tester, User::Nobody, User::Stranger, User::Member];
    let some: Vec<User> = (0..=dice.below(3)).map(|_| dice.of(&everybody)).collect();
    let count = match about {
        About::Segments => 2 + dice.below(3),
        About::Sets | About::Queues => 3 + dice.below(PROCESSES - 2),
        About::All => dice.of(&[2, 3, 3, 4, 4, 5]),
    };
    (0..count).map(|_| if users { dice.of(&some) } else { User::Tester }).collect()
}

/// What the others have to work with.
fn beginning(dice: &mut Dice, about: About, hands: Hands) -> Vec<Step> {
    match about {
        About::Segments => segments::beginning(dice, hands),
        About::Sets => sets::beginning(dice, hands),
        About::Queues => queues::beginning(dice, hands),
        About::All => [segments::beginning(dice, hands), sets::beginning(dice, hands), queues::beginning(dice, hands)].concat(),
    }
}

fn step(dice: &mut Dice, about: About, hands: Hands) -> Step {
    // Mostly one of those that are there from the start.
    let who = if dice.below(4) > 0 { dice.below(hands.cast) } else { dice.below(PROCESSES) };
    Step { who, call: call(dice, about, hands) }
}

fn call(dice: &mut Dice, about: About, hands: Hands) -> Call {
    let of_a_life = if about == About::Segments { 12 } else { 17 };
    match (about, dice.below(100) < of_a_life) {
        (_, true) => life(dice),
        (About::Segments, _) => segments::call(dice, hands).into(),
        (About::Sets, _) => sets::call(dice, hands).into(),
        (About::Queues, _) => queues::call(dice, hands).into(),
        (About::All, _) => match dice.below(20) {
            0..5 => segments::call(dice, hands).into(),
            5..13 => sets::call(dice, hands).into(),
            _ => queues::call(dice, hands).into(),
        },
    }
}

/// What becomes of processes.
fn life(dice: &mut Dice) -> Call {
    match dice.below(17) {
        0..4 => Call::Interrupt,
        4..9 => Call::Fork { child: dice.below(PROCESSES) },
        // Rarer, because a new image takes as long as twenty calls.
        9 => match dice.below(4) {
            0 => Call::Vfork { child: dice.below(PROCESSES) },
            1 => Call::Exec,
            _ => Call::Kill { signal: libc::SIGKILL },
        },
        10 => dice.of(&[Call::Exit, Call::ExitAtOnce]),
        11 => dice.of(&[Call::FailingExec, Call::CloseFrom]),
        12 => Call::Become { user: dice.of(&[User::Nobody, User::Stranger, User::Member]) },
        _ => Call::Kill { signal: dice.of(SIGNALS) },
    }
}
