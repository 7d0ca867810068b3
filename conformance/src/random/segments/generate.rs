//! Generates calls on segments. The pools are small, so that calls interact.

use super::super::generate::{KEYS, MODES, OWNERS, Rng, Setup};
use super::super::program::{LimitProfile, Step};
use super::call::{ADDRESSES, Call, Place, REGISTERS};
use libc::{IPC_CREAT, IPC_EXCL, SHM_EXEC, SHM_NORESERVE, SHM_RDONLY, SHM_REMAP, SHM_RND};

const SIZES: &[u64] = &[1, 1, 100, 100, 4096, 4096, 4096, 4097, 4097, 8192, 8192, 8192, 1, 0, 1 << 20, 1 << 50, u64::MAX];
/// The first entries of [`SIZES`] are valid.
const GOOD_SIZES: usize = 13;
/// Number of segments that the first steps create.
const INITIAL: usize = 3;
const GET_FLAGS: &[i32] = &[IPC_CREAT, IPC_CREAT, IPC_CREAT, IPC_CREAT | IPC_EXCL, IPC_EXCL, 0, 0, IPC_CREAT | SHM_NORESERVE];
const ATTACH_FLAGS: &[i32] =
    &[0, 0, 0, 0, SHM_RDONLY, SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_REMAP, SHM_REMAP | SHM_RDONLY, SHM_RND | SHM_REMAP, SHM_EXEC];
/// Offsets within the first page. Memory beyond a segment belongs to the system.
const OFFSETS: &[usize] = &[0, 0, 1, 100, 4095];
/// The pages of the pad that programs use. They are few, so that attachments overlap.
const PAGES: usize = 5;

/// The limit profiles for programs on segments.
pub fn limit_profiles() -> &'static [LimitProfile] {
    &[LimitProfile::FewSegments, LimitProfile::FewPages, LimitProfile::SmallSegments, LimitProfile::Forced]
}

/// Steps that create segments.
pub fn initial_steps(rng: &mut Rng, setup: Setup) -> Vec<Step> {
    let create = |register| {
        let (key, size, flags) = (rng.of(KEYS), rng.of(&SIZES[..GOOD_SIZES]), IPC_CREAT | rng.of(MODES));
        Step { slot: rng.below(setup.processes), call: Call::Get { register, key, size, flags }.into() }
    };
    (0..INITIAL.min(setup.objects)).map(create).collect()
}

/// Generates a call.
pub fn call(rng: &mut Rng, setup: Setup) -> Call {
    // Mostly one of the initial segments.
    let register = if rng.below(4) > 0 { rng.below(INITIAL.min(setup.objects)) } else { rng.below(REGISTERS) };
    let address = rng.below(ADDRESSES);
    match rng.below(88) {
        0..18 => Call::Get { register, key: rng.of(KEYS), size: rng.of(SIZES), flags: rng.of(GET_FLAGS) | rng.of(MODES) },
        18..38 => Call::Attach { register, place: place(rng), flags: rng.of(ATTACH_FLAGS), address },
        38..47 => Call::Detach { address },
        47..49 => Call::DetachPad { page: rng.below(PAGES) },
        49..57 => Call::Stat { register },
        57..61 => Call::StatIndex { register, any: rng.below(2) == 0 },
        61..66 => {
            let (uid, gid) = setup.owner((rng.of(OWNERS), rng.of(OWNERS)));
            Call::Set { register, uid, gid, mode: rng.of(MODES) as u32 }
        }
        66..71 => Call::Remove { register },
        71..73 => Call::Lock { register },
        73..74 => Call::Unlock { register },
        74..75 => Call::Info,
        75..77 => Call::Usage,
        77..79 => Call::List,
        79..82 => Call::Poke { address, offset: rng.of(OFFSETS), byte: rng.below(256) as u8 },
        82..85 => Call::Peek { address, offset: rng.of(OFFSETS) },
        85..86 => Call::Probe { address },
        _ => Call::Free { page: rng.below(PAGES) },
    }
}

fn place(rng: &mut Rng) -> Place {
    match rng.below(5) {
        0..3 => Place::Anywhere,
        3 => Place::Pad(rng.below(PAGES), 0),
        _ => Place::Pad(rng.below(PAGES), rng.of(&[0, 0, 1, 4095])),
    }
}
