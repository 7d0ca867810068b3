//! Calls over queues. The pools are small, so that messages meet who asks for them, and queues are full soon, so that calls wait and are served.

use super::super::generate::{Dice, Hands, KEYS, MODES, OWNERS};
use super::super::{Regime, Step};
use super::{Call, REGISTERS, Text};
use crate::{COPY, EXCEPT, MsgFlags, NOERROR, TRY, WAIT};
use libc::{IPC_CREAT, IPC_EXCL};

/// A program begins with so many creations.
const BEGINNING: usize = 2;
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0];
/// Modes with which the tester can look at a queue though he is not the superuser.
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

/// The limits that programs over queues are run under, besides the defaults.
pub fn regimes() -> &'static [Regime] {
    &[Regime::FewQueues, Regime::ShortMessages, Regime::SmallQueues]
}

/// Steps that create queues and have them take little, so that the others have something to work with.
pub fn beginning(dice: &mut Dice, hands: Hands) -> Vec<Step> {
    (0..BEGINNING.min(hands.made)).flat_map(|register| create(dice, register, hands)).collect()
}

fn mode(dice: &mut Dice, users: bool) -> i32 {
    match dice.below(4) {
        0 if users => dice.of(MODES),
        0..3 => 0o666,
        _ => dice.of(READABLE),
    }
}

/// Mostly one of the first of the pool's.
fn or_rarely<T: Copy>(dice: &mut Dice, pool: &[T], rare: &[T]) -> T {
    if dice.below(16) == 0 { dice.of(rare) } else { dice.of(pool) }
}

fn create(dice: &mut Dice, register: usize, hands: Hands) -> [Step; 2] {
    let (who, key, qbytes) = (dice.below(hands.cast), dice.of(KEYS), dice.of(CAPACITIES));
    let flags = IPC_CREAT | mode(dice, hands.users);
    let capacity = Call::SetCapacity { register, qbytes, bold: false };
    [Call::Get { register, key, flags }, capacity].map(|call| Step { who, call: call.into() })
}

/// Mostly one of the first, which are there from the start.
fn register(dice: &mut Dice, hands: Hands) -> usize {
    if dice.below(12) > 0 { dice.below(BEGINNING.min(hands.made)) } else { dice.below(REGISTERS) }
}

/// Any call.
pub fn call(dice: &mut Dice, hands: Hands) -> Call {
    let (register, users) = (register(dice, hands), hands.users);
    match dice.below(81) {
        0..5 => Call::Get { register, key: dice.of(KEYS), flags: dice.of(GET_FLAGS) | mode(dice, users) },
        5..39 => {
            let text = Text { len: or_rarely(dice, LENGTHS, RARE_LENGTHS), first: dice.roll() as u8 };
            let flags = dice.of(&[WAIT, WAIT, WAIT, WAIT, TRY, NOERROR | EXCEPT]);
            Call::Send { register, mtype: or_rarely(dice, TYPES, RARE_TYPES), text, flags }
        }
        39..69 => receive(dice, register),
        69..71 => Call::Stat { register },
        71..72 => Call::StatIndex { register, any: dice.below(2) == 0 },
        72..76 => Call::SetCapacity { register, qbytes: or_rarely(dice, CAPACITIES, RARE_CAPACITIES), bold: bold(dice) },
        76..79 => {
            let (uid, gid) = hands.owner((dice.of(OWNERS), dice.of(OWNERS)));
            let qbytes = or_rarely(dice, CAPACITIES, RARE_CAPACITIES);
            Call::Set { register, uid, gid, mode: mode(dice, users) as u32, qbytes, bold: bold(dice) }
        }
        79..80 => Call::Remove { register: dice.below(REGISTERS) },
        _ => dice.of(&[Call::Limits, Call::Usage]),
    }
}

fn bold(dice: &mut Dice) -> bool {
    dice.below(5) == 0
}

fn receive(dice: &mut Dice, register: usize) -> Call {
    let none = MsgFlags::empty();
    let flags = dice.of(&[none, none, none, NOERROR, EXCEPT, TRY, TRY, TRY, TRY | NOERROR, TRY | EXCEPT, TRY | COPY]);
    let flags = if dice.below(20) == 0 { flags ^ dice.of(&[COPY, EXCEPT, NOERROR, TRY]) } else { flags };
    Call::Receive { register, size: dice.of(SIZES), mtype: or_rarely(dice, ASKED, RARELY_ASKED), flags, bold: bold(dice) }
}
