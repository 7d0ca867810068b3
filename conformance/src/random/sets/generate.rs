//! Programs from numbers. The pools are small, so that calls meet, and values near each other, so that they wait and are served.

use super::super::generate::{Dice, MODES, OWNERS, SIGNALS, several};
use super::super::{Mechanism, PROCESSES, Program, Regime, Step, User};
use super::{Call, OPERATIONS, Ops, Question, REGISTERS, SEMAPHORES};
use crate::{NOWAIT, SemFlags, SemOp, UNDO};
use libc::{IPC_CREAT, IPC_EXCL};

const KEYS: &[i32] = &[0, 1, 1, 2, 2, -3];
const NUMBERS: &[i32] = &[2, 3, 3, 3, 4, 4, 2, 1, 0, -1, 40000];
/// Those at the head of [`NUMBERS`] that can be had.
const GOOD_NUMBERS: usize = 8;
/// A program begins with so many creations.
const BEGINNING: usize = 2;
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0];
/// Modes with which the tester can look at a set though he is not the superuser.
const READABLE: &[i32] = &[0o600, 0o600, 0o666, 0o640, 0o400, 0o777, 0o644];
const DELTAS: &[i16] = &[-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 0, 0, 0, -2, -2, 2, 2, 3, -3, 5];
const RARE_DELTAS: &[i16] = &[i16::MAX, i16::MIN, -i16::MAX, 16384, -16384];
const VALUES: &[i32] = &[0, 0, 0, 1, 1, 1, 2, 3, 5, 2, 32766, 32767, 32768, -1];
/// Those at the head of [`VALUES`] that may be set.
const GOOD_VALUES: usize = 12;

/// The program of `seed`, of `calls` calls; of several users if `users`.
pub fn generate(seed: u64, calls: usize, users: bool) -> Program {
    let mut dice = Dice(seed);
    let cast = several(&mut dice, users);
    let regime = if users { regime(&mut dice) } else { Regime::Default };
    let beginning: Vec<Step> = (0..BEGINNING).map(|register| create(&mut dice, cast.len(), register, users)).collect();
    let rest = (BEGINNING..calls).map(|_| step(&mut dice, cast.len(), users));
    let steps = beginning.into_iter().chain(rest).collect();
    Program { mechanism: Mechanism::Sets, regime, cast, steps }
}

/// Limits are the superuser's to set.
fn regime(dice: &mut Dice) -> Regime {
    let unusual = [Regime::FewSets, Regime::FewSemaphores, Regime::SmallSets, Regime::FewOperations];
    if dice.below(6) > 0 { Regime::Default } else { dice.of(&unusual) }
}

fn mode(dice: &mut Dice, users: bool) -> i32 {
    match dice.below(3) {
        0 if users => dice.of(MODES),
        1 => 0o666,
        _ => dice.of(READABLE),
    }
}

/// A step that creates a set, so that the others have something to work with.
fn create(dice: &mut Dice, cast: usize, register: usize, users: bool) -> Step {
    let (key, nsems) = (dice.of(KEYS), dice.of(&NUMBERS[..GOOD_NUMBERS]));
    let flags = IPC_CREAT | mode(dice, users);
    Step { who: dice.below(cast), call: Call::Get { register, key, nsems, flags }.into() }
}

fn step(dice: &mut Dice, cast: usize, users: bool) -> Step {
    // Mostly one of those that are there from the start.
    let who = if dice.below(4) > 0 { dice.below(cast) } else { dice.below(PROCESSES) };
    Step { who, call: call(dice, users).into() }
}

/// Mostly one of the first, which are there from the start.
fn register(dice: &mut Dice) -> usize {
    if dice.below(8) > 0 { dice.below(BEGINNING) } else { dice.below(REGISTERS) }
}

fn call(dice: &mut Dice, users: bool) -> Call {
    let register = register(dice);
    match dice.below(100) {
        0..6 => {
            let (key, nsems) = (dice.of(KEYS), dice.of(NUMBERS));
            Call::Get { register, key, nsems, flags: dice.of(GET_FLAGS) | mode(dice, users) }
        }
        6..56 => Call::Operate { register, ops: operations(dice, SemFlags::empty()) },
        56..59 => Call::Try { register, ops: operations(dice, SemFlags::empty()) },
        59..61 => Call::InThread { register, ops: operations(dice, NOWAIT) },
        61..68 => Call::SetValue { register, num: number(dice), value: dice.of(VALUES) },
        68..72 => Call::SetAll { register, values: std::array::from_fn(|_| dice.of(&VALUES[..GOOD_VALUES]) as u16) },
        72..74 => {
            let question = dice.of(&[Question::Value, Question::Pid, Question::Ncnt, Question::Zcnt]);
            Call::Ask { register, num: number(dice), question }
        }
        74..75 => Call::GetAll { register },
        75..76 => Call::Stat { register },
        76..77 => Call::StatIndex { register, any: dice.below(2) == 0 },
        77..79 => set(dice, register, users),
        79..80 => Call::Remove { register: dice.below(REGISTERS) },
        80..82 => dice.of(&[Call::Limits, Call::Usage]),
        82..86 => Call::Interrupt,
        86..91 => Call::Fork { child: dice.below(PROCESSES) },
        91..92 => Call::Vfork { child: dice.below(PROCESSES) },
        92..93 => Call::Exec,
        93..94 => dice.of(&[Call::FailingExec, Call::Exit, Call::ExitAtOnce]),
        94..99 => Call::Kill { signal: dice.of(SIGNALS) },
        _ => Call::Become { user: dice.of(&[User::Nobody, User::Stranger, User::Member]) },
    }
}

fn number(dice: &mut Dice) -> i32 {
    if dice.below(20) == 0 { dice.of(&[-1, 3, 4, 70000]) } else { dice.of(&[0, 0, 1, 1, 2]) }
}

fn operations(dice: &mut Dice, flags: SemFlags) -> Ops {
    let count = dice.of(&[1, 1, 1, 1, 1, 2, 2, 2, 3, OPERATIONS]);
    Ops { ops: std::array::from_fn(|_| operation(dice, flags)), count }
}

fn operation(dice: &mut Dice, flags: SemFlags) -> SemOp {
    let num = if dice.below(40) == 0 { dice.of(&[3, 4, 64, 65535]) } else { dice.of(&[0, 0, 0, 0, 1, 1, 1, 1, 1, 2]) };
    let delta = if dice.below(30) == 0 { dice.of(RARE_DELTAS) } else { dice.of(DELTAS) };
    let none = SemFlags::empty();
    let own = dice.of(&[none, none, none, none, none, UNDO, UNDO, UNDO, UNDO | NOWAIT, NOWAIT]);
    SemOp::new(num, delta).flags(own | flags)
}

/// In a user namespace only the tester's own number exists.
fn set(dice: &mut Dice, register: usize, users: bool) -> Call {
    let (uid, gid) = (dice.of(OWNERS), dice.of(OWNERS));
    let own = |id: u32, own: u32| if users || id == u32::MAX { id } else { own };
    let (uid, gid) = (own(uid, rustix::process::geteuid().as_raw()), own(gid, rustix::process::getegid().as_raw()));
    Call::Set { register, uid, gid, mode: mode(dice, users) as u32 }
}

const _: () = assert!(SEMAPHORES >= 4, "as many values as NUMBERS asks for");
