//! Programs from numbers. The pools are small, so that messages meet who asks for them, and queues are full soon, so that calls wait and are served.

use super::super::generate::{Dice, MODES, OWNERS, SIGNALS, several};
use super::super::{Mechanism, PROCESSES, Program, Regime, Step, User};
use super::{Call, REGISTERS, Text};
use crate::{COPY, EXCEPT, MsgFlags, NOERROR, TRY, WAIT};
use libc::{IPC_CREAT, IPC_EXCL};

const KEYS: &[i32] = &[0, 1, 1, 2, 2, -3];
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

/// The program of `seed`, of `calls` calls; of several users if `users`.
pub fn generate(seed: u64, calls: usize, users: bool) -> Program {
    let mut dice = Dice(seed);
    let cast = several(&mut dice, users);
    let regime = if users { regime(&mut dice) } else { Regime::Default };
    let beginning: Vec<Step> = (0..BEGINNING).flat_map(|register| create(&mut dice, cast.len(), register, users)).collect();
    let rest = (beginning.len()..calls).map(|_| step(&mut dice, cast.len(), users));
    let steps = beginning.into_iter().chain(rest).collect();
    Program { mechanism: Mechanism::Queues, regime, cast, steps }
}

/// Limits are the superuser's to set.
fn regime(dice: &mut Dice) -> Regime {
    let unusual = [Regime::FewQueues, Regime::ShortMessages, Regime::SmallQueues];
    if dice.below(6) > 0 { Regime::Default } else { dice.of(&unusual) }
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

/// Steps that create a queue and have it take little, so that the others have something to work with.
fn create(dice: &mut Dice, cast: usize, register: usize, users: bool) -> [Step; 2] {
    let (who, key, qbytes) = (dice.below(cast), dice.of(KEYS), dice.of(CAPACITIES));
    let flags = IPC_CREAT | mode(dice, users);
    let capacity = Call::SetCapacity { register, qbytes, bold: false };
    [Call::Get { register, key, flags }, capacity].map(|call| Step { who, call: call.into() })
}

fn step(dice: &mut Dice, cast: usize, users: bool) -> Step {
    // Mostly one of those that are there from the start.
    let who = if dice.below(4) > 0 { dice.below(cast) } else { dice.below(PROCESSES) };
    Step { who, call: call(dice, users).into() }
}

/// Mostly one of the first, which are there from the start.
fn register(dice: &mut Dice) -> usize {
    if dice.below(12) > 0 { dice.below(BEGINNING) } else { dice.below(REGISTERS) }
}

fn call(dice: &mut Dice, users: bool) -> Call {
    let register = register(dice);
    match dice.below(100) {
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
        76..79 => set(dice, register, users),
        79..80 => Call::Remove { register: dice.below(REGISTERS) },
        80..81 => dice.of(&[Call::Limits, Call::Usage]),
        81..86 => Call::Interrupt,
        86..91 => Call::Fork { child: dice.below(PROCESSES) },
        91..92 => Call::Vfork { child: dice.below(PROCESSES) },
        92..93 => Call::Exec,
        93..94 => dice.of(&[Call::FailingExec, Call::Exit, Call::ExitAtOnce]),
        94..99 => Call::Kill { signal: dice.of(SIGNALS) },
        _ => Call::Become { user: dice.of(&[User::Nobody, User::Stranger, User::Member]) },
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

/// In a user namespace only the tester's own number exists.
fn set(dice: &mut Dice, register: usize, users: bool) -> Call {
    let (uid, gid) = (dice.of(OWNERS), dice.of(OWNERS));
    let own = |id: u32, own: u32| if users || id == u32::MAX { id } else { own };
    let (uid, gid) = (own(uid, rustix::process::geteuid().as_raw()), own(gid, rustix::process::getegid().as_raw()));
    let qbytes = or_rarely(dice, CAPACITIES, RARE_CAPACITIES);
    Call::Set { register, uid, gid, mode: mode(dice, users) as u32, qbytes, bold: bold(dice) }
}
