//! Calls over segments. The pools are small, so that calls meet.

use super::super::generate::{Dice, Hands, KEYS, MODES, OWNERS};
use super::super::{Regime, Step};
use super::{Call, HOLDS, Place, REGISTERS};
use libc::{IPC_CREAT, IPC_EXCL, SHM_EXEC, SHM_NORESERVE, SHM_RDONLY, SHM_REMAP, SHM_RND};

const SIZES: &[u64] = &[1, 1, 100, 100, 4096, 4096, 4096, 4097, 4097, 8192, 8192, 8192, 1, 0, 1 << 20, 1 << 50, u64::MAX];
/// Those at the head of [`SIZES`] that can be had.
const GOOD_SIZES: usize = 13;
/// A program begins with so many creations.
const BEGINNING: usize = 3;
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0, IPC_CREAT | SHM_NORESERVE];
const ATTACH_FLAGS: &[i32] =
    &[0, 0, 0, 0, SHM_RDONLY, SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_REMAP, SHM_REMAP | SHM_RDONLY, SHM_RND | SHM_REMAP, SHM_EXEC];
/// Within the first page: beyond a segment is what the system has put there.
const OFFSETS: &[usize] = &[0, 0, 1, 100, 4095];
/// Pages of the pad that programs use: few, so that attachments meet there.
const PAGES: usize = 5;

/// The limits that programs over segments are run under, besides the defaults.
pub fn regimes() -> &'static [Regime] {
    &[Regime::FewSegments, Regime::FewPages, Regime::SmallSegments, Regime::Forced]
}

/// Steps that create segments, so that the others have something to work with.
pub fn beginning(dice: &mut Dice, hands: Hands) -> Vec<Step> {
    let create = |register| {
        let (key, size, flags) = (dice.of(KEYS), dice.of(&SIZES[..GOOD_SIZES]), IPC_CREAT | dice.of(MODES));
        Step { who: dice.below(hands.cast), call: Call::Get { register, key, size, flags }.into() }
    };
    (0..BEGINNING.min(hands.made)).map(create).collect()
}

/// Any call.
pub fn call(dice: &mut Dice, hands: Hands) -> Call {
    // Mostly one of the first, which are there from the start.
    let register = if dice.below(4) > 0 { dice.below(BEGINNING.min(hands.made)) } else { dice.below(REGISTERS) };
    let hold = dice.below(HOLDS);
    match dice.below(88) {
        0..18 => Call::Get { register, key: dice.of(KEYS), size: dice.of(SIZES), flags: dice.of(GET_FLAGS) | dice.of(MODES) },
        18..38 => Call::Attach { register, place: place(dice), flags: dice.of(ATTACH_FLAGS), hold },
        38..47 => Call::Detach { hold },
        47..49 => Call::DetachPad { page: dice.below(PAGES) },
        49..57 => Call::Stat { register },
        57..61 => Call::StatIndex { register, any: dice.below(2) == 0 },
        61..66 => {
            let (uid, gid) = hands.owner((dice.of(OWNERS), dice.of(OWNERS)));
            Call::Set { register, uid, gid, mode: dice.of(MODES) as u32 }
        }
        66..71 => Call::Remove { register },
        71..73 => Call::Lock { register },
        73..74 => Call::Unlock { register },
        74..75 => Call::Info,
        75..77 => Call::Usage,
        77..79 => Call::List,
        79..82 => Call::Poke { hold, offset: dice.of(OFFSETS), byte: dice.below(256) as u8 },
        82..85 => Call::Peek { hold, offset: dice.of(OFFSETS) },
        85..86 => Call::Probe { hold },
        _ => Call::Free { page: dice.below(PAGES) },
    }
}

fn place(dice: &mut Dice) -> Place {
    match dice.below(5) {
        0..3 => Place::Anywhere,
        3 => Place::Pad(dice.below(PAGES), 0),
        _ => Place::Pad(dice.below(PAGES), dice.of(&[0, 0, 1, 4095])),
    }
}
