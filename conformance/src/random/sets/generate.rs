//! Calls over sets. The pools are small, so that calls meet, and values near each other, so that they wait and are served.

use super::super::generate::{Dice, Hands, KEYS, MODES, OWNERS};
use super::super::{Regime, Step};
use super::{Call, OPERATIONS, Ops, Question, REGISTERS, SEMAPHORES};
use crate::{NOWAIT, SemFlags, SemOp, UNDO};
use libc::{IPC_CREAT, IPC_EXCL};

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

/// The limits that programs over sets are run under, besides the defaults.
pub fn regimes() -> &'static [Regime] {
    &[Regime::FewSets, Regime::FewSemaphores, Regime::SmallSets, Regime::FewOperations]
}

/// Steps that create sets, so that the others have something to work with.
pub fn beginning(dice: &mut Dice, hands: Hands) -> Vec<Step> {
    let create = |register| {
        let (key, nsems) = (dice.of(KEYS), dice.of(&NUMBERS[..GOOD_NUMBERS]));
        let flags = IPC_CREAT | mode(dice, hands.users);
        Step { who: dice.below(hands.cast), call: Call::Get { register, key, nsems, flags }.into() }
    };
    (0..BEGINNING.min(hands.made)).map(create).collect()
}

fn mode(dice: &mut Dice, users: bool) -> i32 {
    match dice.below(3) {
        0 if users => dice.of(MODES),
        1 => 0o666,
        _ => dice.of(READABLE),
    }
}

/// Mostly one of the first, which are there from the start.
fn register(dice: &mut Dice, hands: Hands) -> usize {
    if dice.below(8) > 0 { dice.below(BEGINNING.min(hands.made)) } else { dice.below(REGISTERS) }
}

/// Any call.
pub fn call(dice: &mut Dice, hands: Hands) -> Call {
    let (register, users) = (register(dice, hands), hands.users);
    match dice.below(82) {
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
        77..79 => {
            let (uid, gid) = hands.owner((dice.of(OWNERS), dice.of(OWNERS)));
            Call::Set { register, uid, gid, mode: mode(dice, users) as u32 }
        }
        79..80 => Call::Remove { register: dice.below(REGISTERS) },
        _ => dice.of(&[Call::Limits, Call::Usage]),
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

const _: () = assert!(SEMAPHORES >= 4, "as many values as NUMBERS asks for");
