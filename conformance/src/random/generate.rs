//! Generates programs from seeds. The value pools are small, so that calls interact.

use super::program::{About, Call, LimitProfile, PROCESSES, Program, Step, User};
use super::{queues, segments, sets};
use crate::{NOBODY, STRANGER};

pub(super) const KEYS: &[i32] = &[0, 1, 1, 2, 2, -3];
pub(super) const MODES: &[i32] = &[0o600, 0o600, 0o666, 0o666, 0o777, 0o640, 0o660, 0o400, 0o200, 0o604, 0o066, 0o040, 0o622, 0];
pub(super) const OWNERS: &[u32] = &[0, NOBODY, STRANGER, 7, NOBODY, STRANGER, u32::MAX];
const SIGNALS: &[i32] = &[libc::SIGKILL, libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM];
/// The default lengths of programs. Most are short: differences show within a few calls, and each
/// program starts afresh.
const LENGTHS: &[usize] = &[8, 8, 9, 10, 12, 12, 14, 16, 20, 24, 30, 50];

/// SplitMix64.
pub(super) struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }
}

/// What the generator may use.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    /// Number of processes at the start.
    pub processes: usize,
    /// `true` if the processes belong to several users.
    pub users: bool,
    /// Maximal number of objects of each class that the first steps create.
    pub objects: usize,
}

impl Setup {
    /// Maps ids for `IPC_SET`. In a user namespace only the tester's own ids exist.
    pub fn owner(self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let own = |id: u32, own: u32| if self.users || id == u32::MAX { id } else { own };
        (own(uid, rustix::process::geteuid().as_raw()), own(gid, rustix::process::getegid().as_raw()))
    }
}

impl Program {
    /// Generates the program of `seed` with `calls` calls, with several users if `users`.
    pub fn generate(about: About, seed: u64, calls: usize, users: bool) -> Program {
        let mut rng = Rng(seed);
        let processes = processes(&mut rng, about, users);
        let limit_profile = if users { limit_profile(&mut rng, about) } else { LimitProfile::Default };
        let watched = about != About::Sets && about != About::Queues && rng.below(2) == 0;
        let objects = if about == About::All { rng.of(&[1, 1, 2]) } else { usize::MAX };
        let setup = Setup { processes: processes.len(), users, objects };
        let mut steps = initial_steps(&mut rng, about, setup);
        steps.truncate(calls);
        steps.extend((steps.len()..calls).map(|_| step(&mut rng, about, setup)));
        Program { limit_profile, watched, processes, steps }
    }

    /// Returns the default number of calls in the program of `seed`: 8 to 50, 18 on average.
    pub fn length(seed: u64) -> usize {
        Rng(!seed).of(LENGTHS)
    }
}

/// Only the superuser may set limits.
fn limit_profile(rng: &mut Rng, about: About) -> LimitProfile {
    if rng.below(6) > 0 {
        return LimitProfile::Default;
    }
    let pools = match about {
        About::Segments => [segments::limit_profiles()].to_vec(),
        About::Sets => [sets::limit_profiles()].to_vec(),
        About::Queues => [queues::limit_profiles()].to_vec(),
        About::All => [segments::limit_profiles(), sets::limit_profiles(), queues::limit_profiles()].to_vec(),
    };
    let pool = rng.of(&pools);
    rng.of(pool)
}

/// Two to six processes of one to three users; at least three if calls may block.
fn processes(rng: &mut Rng, about: About, users: bool) -> Vec<User> {
    let everyone = [User::Tester, User::Tester, User::Nobody, User::Stranger, User::Member];
    let some: Vec<User> = (0..=rng.below(3)).map(|_| rng.of(&everyone)).collect();
    let count = match about {
        About::Segments => 2 + rng.below(3),
        About::Sets | About::Queues => 3 + rng.below(PROCESSES - 2),
        About::All => rng.of(&[2, 3, 3, 4, 4, 5]),
    };
    (0..count).map(|_| if users { rng.of(&some) } else { User::Tester }).collect()
}

/// Steps that create the objects for the rest of the program.
fn initial_steps(rng: &mut Rng, about: About, setup: Setup) -> Vec<Step> {
    match about {
        About::Segments => segments::initial_steps(rng, setup),
        About::Sets => sets::initial_steps(rng, setup),
        About::Queues => queues::initial_steps(rng, setup),
        About::All => {
            [segments::initial_steps(rng, setup), sets::initial_steps(rng, setup), queues::initial_steps(rng, setup)].concat()
        }
    }
}

fn step(rng: &mut Rng, about: About, setup: Setup) -> Step {
    // Mostly one of the initial processes.
    let slot = if rng.below(4) > 0 { rng.below(setup.processes) } else { rng.below(PROCESSES) };
    Step { slot, call: call(rng, about, setup) }
}

fn call(rng: &mut Rng, about: About, setup: Setup) -> Call {
    let process_share = if about == About::Segments { 12 } else { 17 };
    match (about, rng.below(100) < process_share) {
        (_, true) => process_call(rng),
        (About::Segments, _) => segments::call(rng, setup).into(),
        (About::Sets, _) => sets::call(rng, setup).into(),
        (About::Queues, _) => queues::call(rng, setup).into(),
        (About::All, _) => match rng.below(20) {
            0..5 => segments::call(rng, setup).into(),
            5..13 => sets::call(rng, setup).into(),
            _ => queues::call(rng, setup).into(),
        },
    }
}

/// A call that forks, execs, kills or changes a process.
fn process_call(rng: &mut Rng) -> Call {
    match rng.below(17) {
        0..4 => Call::Interrupt,
        4..9 => Call::Fork { child: rng.below(PROCESSES) },
        // Rarer, because a new image takes as long as twenty calls.
        9 => match rng.below(4) {
            0 => Call::Vfork { child: rng.below(PROCESSES) },
            1 => Call::Exec,
            _ => Call::Kill { signal: libc::SIGKILL },
        },
        10 => rng.of(&[Call::Exit, Call::ExitImmediately]),
        11 => rng.of(&[Call::FailingExec, Call::CloseFrom]),
        12 => Call::Become { user: rng.of(&[User::Nobody, User::Stranger, User::Member]) },
        _ => Call::Kill { signal: rng.of(SIGNALS) },
    }
}
