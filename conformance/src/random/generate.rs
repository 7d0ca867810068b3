//! Programs from numbers. The pools are small, so that calls meet.

use super::{Call, HOLDS, Mechanism, PROCESSES, Place, Program, REGISTERS, Regime, Step, User, queues, sets};
use crate::{NOBODY, STRANGER};
use libc::{IPC_CREAT, IPC_EXCL, SHM_EXEC, SHM_NORESERVE, SHM_RDONLY, SHM_REMAP, SHM_RND};

const KEYS: &[i32] = &[0, 1, 1, 2, 2, -3];
const SIZES: &[u64] = &[1, 1, 100, 100, 4096, 4096, 4096, 4097, 4097, 8192, 8192, 8192, 1, 0, 1 << 20, 1 << 50, u64::MAX];
/// Those at the head of [`SIZES`] that can be had.
const GOOD_SIZES: usize = 13;
/// A program begins with so many creations.
const BEGINNING: usize = 3;
pub(super) const MODES: &[i32] = &[0o600, 0o600, 0o666, 0o666, 0o777, 0o640, 0o660, 0o400, 0o200, 0o604, 0o066, 0o040, 0o622, 0];
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0, IPC_CREAT | SHM_NORESERVE];
const ATTACH_FLAGS: &[i32] =
    &[0, 0, 0, 0, SHM_RDONLY, SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_REMAP, SHM_REMAP | SHM_RDONLY, SHM_RND | SHM_REMAP, SHM_EXEC];
pub(super) const OWNERS: &[u32] = &[0, NOBODY, STRANGER, 7, NOBODY, STRANGER, u32::MAX];
/// Within the first page: beyond a segment is what the system has put there.
const OFFSETS: &[usize] = &[0, 0, 1, 100, 4095];
pub(super) const SIGNALS: &[i32] = &[libc::SIGKILL, libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM];
/// Pages of the pad that programs use: few, so that attachments meet there.
const PAGES: usize = 5;

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

impl Program {
    /// The program of `seed`, of `calls` calls; of several users if `users`.
    pub fn generate(mechanism: Mechanism, seed: u64, calls: usize, users: bool) -> Program {
        match mechanism {
            Mechanism::Segments => Program::over_segments(seed, calls, users),
            Mechanism::Sets => sets::generate(seed, calls, users),
            Mechanism::Queues => queues::generate(seed, calls, users),
        }
    }

    fn over_segments(seed: u64, calls: usize, users: bool) -> Program {
        let mut dice = Dice(seed);
        let cast = cast(&mut dice, users);
        let tester = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let regime = if users { regime(&mut dice) } else { Regime::Default };
        let beginning: Vec<Step> = (0..BEGINNING).map(|register| create(&mut dice, cast.len(), register)).collect();
        let rest = (BEGINNING..calls).map(|_| step(&mut dice, cast.len(), if users { None } else { Some(tester) }));
        let steps = beginning.into_iter().chain(rest).collect();
        Program { mechanism: Mechanism::Segments, regime, cast, steps }
    }
}

/// Limits are the superuser's to set.
fn regime(dice: &mut Dice) -> Regime {
    let unusual = [Regime::FewSegments, Regime::FewPages, Regime::SmallSegments, Regime::Forced];
    if dice.below(5) > 0 { Regime::Default } else { dice.of(&unusual) }
}

/// A step that creates a segment, so that the others have something to work with.
fn create(dice: &mut Dice, cast: usize, register: usize) -> Step {
    let (key, size, flags) = (dice.of(KEYS), dice.of(&SIZES[..GOOD_SIZES]), IPC_CREAT | dice.of(MODES));
    Step { who: dice.below(cast), call: Call::Get { register, key, size, flags } }
}

/// Two to four processes of one to three users.
fn cast(dice: &mut Dice, users: bool) -> Vec<User> {
    let everybody = [User::Tester, User::Nobody, User::Stranger, User::Member];
    let some: Vec<User> = (0..=dice.below(3)).map(|_| dice.of(&everybody)).collect();
    let count = 2 + dice.below(3);
    (0..count).map(|_| if users { dice.of(&some) } else { User::Tester }).collect()
}

/// Three to six processes, because some of them wait; of one to three users.
pub(super) fn several(dice: &mut Dice, users: bool) -> Vec<User> {
    let everybody = [User::Tester, User::Tester, User::Nobody, User::Stranger, User::Member];
    let some: Vec<User> = (0..=dice.below(3)).map(|_| dice.of(&everybody)).collect();
    let count = 3 + dice.below(PROCESSES - 2);
    (0..count).map(|_| if users { dice.of(&some) } else { User::Tester }).collect()
}

fn step(dice: &mut Dice, cast: usize, tester: Option<(u32, u32)>) -> Step {
    // Mostly one of those that are there from the start.
    let who = if dice.below(4) > 0 { dice.below(cast) } else { dice.below(PROCESSES) };
    Step { who, call: call(dice, tester) }
}

fn call(dice: &mut Dice, tester: Option<(u32, u32)>) -> Call {
    let (register, hold) = (dice.below(REGISTERS), dice.below(HOLDS));
    match dice.below(100) {
        0..18 => Call::Get { register, key: dice.of(KEYS), size: dice.of(SIZES), flags: dice.of(GET_FLAGS) | dice.of(MODES) },
        18..38 => Call::Attach { register, place: place(dice), flags: dice.of(ATTACH_FLAGS), hold },
        38..47 => Call::Detach { hold },
        47..49 => Call::DetachPad { page: dice.below(PAGES) },
        49..57 => Call::Stat { register },
        57..61 => Call::StatIndex { register, any: dice.below(2) == 0 },
        61..66 => set(dice, register, tester),
        66..71 => Call::Remove { register },
        71..73 => Call::Lock { register },
        73..74 => Call::Unlock { register },
        74..75 => Call::Info,
        75..77 => Call::Usage,
        77..79 => Call::List,
        79..82 => Call::Poke { hold, offset: dice.of(OFFSETS), byte: dice.below(256) as u8 },
        82..85 => Call::Peek { hold, offset: dice.of(OFFSETS) },
        85..86 => Call::Probe { hold },
        86..88 => Call::Free { page: dice.below(PAGES) },
        88..92 => Call::Fork { child: dice.below(PROCESSES) },
        92..93 => Call::Vfork { child: dice.below(PROCESSES) },
        93..94 => Call::Exec,
        94..95 => Call::FailingExec,
        95..96 => Call::Exit,
        96..97 => Call::ExitAtOnce,
        97..98 => Call::Kill { signal: dice.of(SIGNALS) },
        98..99 => Call::Become { user: dice.of(&[User::Nobody, User::Stranger, User::Member]) },
        _ => Call::CloseFrom,
    }
}

fn place(dice: &mut Dice) -> Place {
    match dice.below(5) {
        0..3 => Place::Anywhere,
        3 => Place::Pad(dice.below(PAGES), 0),
        _ => Place::Pad(dice.below(PAGES), dice.of(&[0, 0, 1, 4095])),
    }
}

/// In a user namespace only the tester's own number exists.
fn set(dice: &mut Dice, register: usize, tester: Option<(u32, u32)>) -> Call {
    let (uid, gid) = (dice.of(OWNERS), dice.of(OWNERS));
    let (uid, gid) = match tester {
        Some((own_uid, own_gid)) => (if uid == u32::MAX { uid } else { own_uid }, if gid == u32::MAX { gid } else { own_gid }),
        None => (uid, gid),
    };
    Call::Set { register, uid, gid, mode: dice.of(MODES) as u32 }
}
