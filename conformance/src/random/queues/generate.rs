//! Generates calls on queues. The pools are small so that messages find receivers. Queues are soon
//! full, so that senders block and proceed.

use super::super::generate::{KEYS, MODES, OWNERS, Rng, Setup};
use super::super::program::{LimitProfile, Step};
use super::call::{Call, REGISTERS, Text};
use crate::{COPY, EXCEPT, MsgFlags, NOERROR, TRY, WAIT};
use libc::{IPC_CREAT, IPC_EXCL};

/// Number of queues that the first steps create.
const INITIAL: usize = 2;
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0];
/// Modes that let the tester read a queue without privileges.
const READABLE: &[i32] = &[0o600, 0o600, 0o666, 0o640, 0o400, 0o777, 0o644];
const TYPES: &[i64] = &[1, 1, 1, 2, 2, 3, 3, 4, 5];
const RARE_TYPES: &[i64] = &[i64::MAX, 1 << 32, 0, -1, i64::MIN];
const ASKED: &[i64] = &[0, 0, 0, 0, 0, 0, 1, 1, 2, 3, -1, -2, -3, -5, -5];
const RARELY_ASKED: &[i64] = &[i64::MAX, i64::MIN, -i64::MAX, 1 << 32, 6];
const LENGTHS: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 6, 8, 8, 10, 12];
const RARE_LENGTHS: &[usize] = &[20, 100, 4096, 8192, 8193];
const SIZES: &[usize] = &[100, 100, 100, 12, 12, 6, 4, 2, 0, 8192];
const CAPACITIES: &[u64] = &[12, 12, 16, 16, 20, 24, 24, 10, 8, 5, 1, 0];
const RARE_CAPACITIES: &[u64] = &[16384, 16385, 8192, 100];

/// The limit profiles for programs on queues.
pub fn limit_profiles() -> &'static [LimitProfile] {
    &[LimitProfile::FewQueues, LimitProfile::ShortMessages, LimitProfile::SmallQueues]
}

/// Steps that create queues with a small capacity.
pub fn initial_steps(rng: &mut Rng, setup: Setup) -> Vec<Step> {
    (0..INITIAL.min(setup.objects)).flat_map(|register| create(rng, register, setup)).collect()
}

fn mode(rng: &mut Rng, users: bool) -> i32 {
    match rng.below(4) {
        0 if users => rng.of(MODES),
        0..3 => 0o666,
        _ => rng.of(READABLE),
    }
}

/// Picks from `rare` once in 16 times.
fn or_rarely<T: Copy>(rng: &mut Rng, pool: &[T], rare: &[T]) -> T {
    if rng.below(16) == 0 { rng.of(rare) } else { rng.of(pool) }
}

fn create(rng: &mut Rng, register: usize, setup: Setup) -> [Step; 2] {
    let (slot, key, qbytes) = (rng.below(setup.processes), rng.of(KEYS), rng.of(CAPACITIES));
    let flags = IPC_CREAT | mode(rng, setup.users);
    let capacity = Call::SetCapacity { register, qbytes, racy: false };
    [Call::Get { register, key, flags }, capacity].map(|call| Step { slot, call: call.into() })
}

/// Mostly one of the initial queues.
fn register(rng: &mut Rng, setup: Setup) -> usize {
    if rng.below(12) > 0 { rng.below(INITIAL.min(setup.objects)) } else { rng.below(REGISTERS) }
}

/// Generates a call.
pub fn call(rng: &mut Rng, setup: Setup) -> Call {
    let (register, users) = (register(rng, setup), setup.users);
    match rng.below(81) {
        0..5 => Call::Get { register, key: rng.of(KEYS), flags: rng.of(GET_FLAGS) | mode(rng, users) },
        5..39 => {
            let text = Text { len: or_rarely(rng, LENGTHS, RARE_LENGTHS), first: rng.next() as u8 };
            let flags = rng.of(&[WAIT, WAIT, WAIT, WAIT, TRY, NOERROR | EXCEPT]);
            Call::Send { register, mtype: or_rarely(rng, TYPES, RARE_TYPES), text, flags }
        }
        39..69 => receive(rng, register),
        69..71 => Call::Stat { register },
        71..72 => Call::StatIndex { register, any: rng.below(2) == 0 },
        72..76 => Call::SetCapacity { register, qbytes: or_rarely(rng, CAPACITIES, RARE_CAPACITIES), racy: racy(rng) },
        76..79 => {
            let (uid, gid) = setup.owner((rng.of(OWNERS), rng.of(OWNERS)));
            let qbytes = or_rarely(rng, CAPACITIES, RARE_CAPACITIES);
            Call::Set { register, uid, gid, mode: mode(rng, users) as u32, qbytes, racy: racy(rng) }
        }
        79..80 => Call::Remove { register: rng.below(REGISTERS) },
        _ => rng.of(&[Call::Limits, Call::Usage]),
    }
}

fn racy(rng: &mut Rng) -> bool {
    rng.below(5) == 0
}

fn receive(rng: &mut Rng, register: usize) -> Call {
    let none = MsgFlags::empty();
    let flags = rng.of(&[none, none, none, NOERROR, EXCEPT, TRY, TRY, TRY, TRY | NOERROR, TRY | EXCEPT, TRY | COPY]);
    let flags = if rng.below(20) == 0 { flags ^ rng.of(&[COPY, EXCEPT, NOERROR, TRY]) } else { flags };
    Call::Receive { register, size: rng.of(SIZES), mtype: or_rarely(rng, ASKED, RARELY_ASKED), flags, racy: racy(rng) }
}
