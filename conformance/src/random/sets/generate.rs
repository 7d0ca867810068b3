//! Generates calls on sets. The pools are small and values close together, so that calls block and
//! proceed.

use super::super::generate::{KEYS, MODES, OWNERS, Rng, Setup};
use super::super::program::{LimitProfile, Step};
use super::call::{Call, OPERATIONS, Ops, Question, REGISTERS, SEMAPHORES};
use crate::{NOWAIT, SemFlags, SemOp, UNDO};
use libc::{IPC_CREAT, IPC_EXCL};

const NUMBERS: &[i32] = &[2, 3, 3, 3, 4, 4, 2, 1, 0, -1, 40000];
/// The first entries of [`NUMBERS`] are valid.
const GOOD_NUMBERS: usize = 8;
/// Number of sets that the first steps create.
const INITIAL: usize = 2;
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0];
/// Modes that let the tester read a set without privileges.
const READABLE: &[i32] = &[0o600, 0o600, 0o666, 0o640, 0o400, 0o777, 0o644];
const DELTAS: &[i16] = &[-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 0, 0, 0, -2, -2, 2, 2, 3, -3, 5];
const RARE_DELTAS: &[i16] = &[i16::MAX, i16::MIN, -i16::MAX, 16384, -16384];
const VALUES: &[i32] = &[0, 0, 0, 1, 1, 1, 2, 3, 5, 2, 32766, 32767, 32768, -1];
/// The first entries of [`VALUES`] are valid.
const GOOD_VALUES: usize = 12;

/// The limit profiles for programs on sets.
pub fn limit_profiles() -> &'static [LimitProfile] {
    &[LimitProfile::FewSets, LimitProfile::FewSemaphores, LimitProfile::SmallSets, LimitProfile::FewOperations]
}

/// Steps that create sets.
pub fn initial_steps(rng: &mut Rng, setup: Setup) -> Vec<Step> {
    let create = |register| {
        let (key, nsems) = (rng.of(KEYS), rng.of(&NUMBERS[..GOOD_NUMBERS]));
        let flags = IPC_CREAT | mode(rng, setup.users);
        Step { slot: rng.below(setup.processes), call: Call::Get { register, key, nsems, flags }.into() }
    };
    (0..INITIAL.min(setup.objects)).map(create).collect()
}

fn mode(rng: &mut Rng, users: bool) -> i32 {
    match rng.below(3) {
        0 if users => rng.of(MODES),
        1 => 0o666,
        _ => rng.of(READABLE),
    }
}

/// Mostly one of the initial sets.
fn register(rng: &mut Rng, setup: Setup) -> usize {
    if rng.below(8) > 0 { rng.below(INITIAL.min(setup.objects)) } else { rng.below(REGISTERS) }
}

/// Generates a call.
pub fn call(rng: &mut Rng, setup: Setup) -> Call {
    let (register, users) = (register(rng, setup), setup.users);
    match rng.below(82) {
        0..6 => {
            let (key, nsems) = (rng.of(KEYS), rng.of(NUMBERS));
            Call::Get { register, key, nsems, flags: rng.of(GET_FLAGS) | mode(rng, users) }
        }
        6..56 => Call::Operate { register, ops: operations(rng, SemFlags::empty()) },
        56..59 => Call::Try { register, ops: operations(rng, SemFlags::empty()) },
        59..61 => Call::InThread { register, ops: operations(rng, NOWAIT) },
        61..68 => Call::SetValue { register, num: number(rng), value: rng.of(VALUES) },
        68..72 => Call::SetAll { register, values: std::array::from_fn(|_| rng.of(&VALUES[..GOOD_VALUES]) as u16) },
        72..74 => {
            let question = rng.of(&[Question::Value, Question::Pid, Question::Ncnt, Question::Zcnt]);
            Call::Ask { register, num: number(rng), question }
        }
        74..75 => Call::GetAll { register },
        75..76 => Call::Stat { register },
        76..77 => Call::StatIndex { register, any: rng.below(2) == 0 },
        77..79 => {
            let (uid, gid) = setup.owner((rng.of(OWNERS), rng.of(OWNERS)));
            Call::Set { register, uid, gid, mode: mode(rng, users) as u32 }
        }
        79..80 => Call::Remove { register: rng.below(REGISTERS) },
        _ => rng.of(&[Call::Limits, Call::Usage]),
    }
}

fn number(rng: &mut Rng) -> i32 {
    if rng.below(20) == 0 { rng.of(&[-1, 3, 4, 70000]) } else { rng.of(&[0, 0, 1, 1, 2]) }
}

fn operations(rng: &mut Rng, flags: SemFlags) -> Ops {
    let count = rng.of(&[1, 1, 1, 1, 1, 2, 2, 2, 3, OPERATIONS]);
    Ops { ops: std::array::from_fn(|_| operation(rng, flags)), count }
}

fn operation(rng: &mut Rng, flags: SemFlags) -> SemOp {
    let num = if rng.below(40) == 0 { rng.of(&[3, 4, 64, 65535]) } else { rng.of(&[0, 0, 0, 0, 1, 1, 1, 1, 1, 2]) };
    let delta = if rng.below(30) == 0 { rng.of(RARE_DELTAS) } else { rng.of(DELTAS) };
    let none = SemFlags::empty();
    let own = rng.of(&[none, none, none, none, none, UNDO, UNDO, UNDO, UNDO | NOWAIT, NOWAIT]);
    SemOp::new(num, delta).flags(own | flags)
}

const _: () = assert!(SEMAPHORES >= 4, "as many values as NUMBERS asks for");
