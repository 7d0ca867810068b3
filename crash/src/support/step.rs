//! Single-steps a traced process.
//!
//! System calls divide an operation into *stretches*. The process reaches a stretch at full speed
//! and is then single-stepped.
//!
//! # Safety
//!
//! As `trace.rs`: the raw calls get a stopped child of this thread, and pointers to locals.

use super::*;
use std::collections::{HashMap, HashSet};

/// A place in the execution of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Number of system calls that have returned.
    pub stretch: u32,
    pub at: At,
    /// An earlier instruction that is reached at full speed.
    pub anchor: Option<Anchor>,
    /// Number of visible changes before it within the stretch.
    pub changes: u32,
}

impl Place {
    pub fn begin_of(stretch: u32) -> Place {
        Place { stretch, at: At::Instruction(0, 0), anchor: None, changes: 0 }
    }
}

/// An address, its occurrence within the stretch, and its number in the stretch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    rip: u64,
    time: u32,
    nth: u32,
}

impl Anchor {
    /// Returns the number of stops to reach instruction `nth`. Continuing from a breakpoint takes
    /// two stops.
    fn cost(&self, nth: u32) -> u32 {
        2 * self.time + (nth - self.nth)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// Before instruction `.0` of the stretch, after `.1` rounds if it is a repeated string
    /// instruction.
    Instruction(u32, u32),
    /// In the system call that ends the stretch, before it has an effect.
    Call,
    /// Asleep in that system call.
    Asleep,
    /// After the operation has returned.
    End,
}

/// The result of going to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    There,
    /// The operation took another path, and is held at the end of its stretch.
    Elsewhere,
    /// The operation has returned.
    End,
}

/// How a tracer must treat an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InstructionKind {
    Plain,
    Call,
    /// A repeated string instruction of this length. Each round is a step.
    Repeated(u64),
}

/// The instructions between two system calls.
pub struct Stretch {
    pub instructions: u32,
    /// The address of each instruction.
    trace: Vec<u64>,
    /// Repeated instructions, with the number of rounds.
    repeated: Vec<(u32, u32)>,
    /// The instructions before which the visible state has changed, and whether a lock is held
    /// there.
    pub stores: Vec<(u32, bool)>,
    ends_in: Ending,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Finish,
    Call,
    Sleep,
}

impl Stretch {
    /// Returns all places. The flag marks the last place of each group that leaves the same state
    /// (see [`SharedMemory`]).
    pub fn places(&self, stretch: u32) -> Vec<(Place, bool)> {
        let mut times: HashMap<u64, u32> = HashMap::new();
        let repeated: HashMap<u32, u32> = self.repeated.iter().copied().collect();
        let stores: HashSet<u32> = self.stores.iter().map(|(before, _)| before - 1).collect();
        let (mut anchor, mut changes) = (None::<Anchor>, 0);
        let mut all = Vec::new();
        for nth in 0..self.instructions {
            let rip = self.trace[nth as usize];
            let time = times.entry(rip).or_default();
            *time += 1;
            let here = Anchor { rip, time: *time, nth };
            if here.cost(nth) < anchor.map_or(nth, |anchor| anchor.cost(nth)) && !repeated.contains_key(&nth) {
                anchor = Some(here);
            }
            let place = |at| Place { stretch, at, anchor, changes };
            let stores = stores.contains(&nth);
            all.push((place(At::Instruction(nth, 0)), stores));
            let rounds = repeated.get(&nth).copied().unwrap_or(0);
            // It is one instruction that can be interrupted after any round.
            all.extend((0..32).map(|n| 1 << n).take_while(|n| *n < rounds).map(|n| (place(At::Instruction(nth, n)), stores)));
            changes += u32::from(stores);
        }
        let place = |at| Place { stretch, at, anchor, changes };
        if self.ends_in == Ending::Finish {
            all.push((place(At::End), true));
        } else {
            all.extend([(place(At::Instruction(self.instructions, 0)), false), (place(At::Call), true)]);
        }
        if self.ends_in == Ending::Sleep {
            all.push((place(At::Asleep), true));
        }
        all
    }

    /// Returns the places after stores, and whether a lock is held there.
    pub fn points(&self, stretch: u32) -> impl Iterator<Item = (Place, bool)> {
        let begin = Place::begin_of(stretch);
        let place = move |nth, changes| Place { at: At::Instruction(nth, 0), changes, ..begin };
        self.stores.iter().zip(1..).map(move |((nth, with_lock), changes)| (place(*nth, changes), *with_lock))
    }

    pub fn is_last(&self) -> bool {
        self.ends_in == Ending::Finish
    }
}

/// Single-steps forks of this process. Their code is at the same addresses.
#[derive(Default)]
pub struct Stepper {
    kinds: HashMap<u64, InstructionKind>,
    area: Option<u64>,
    /// The restartable sequence that the tracee was in when it was hidden.
    rseq: u64,
    /// If `true`, each stop aborts a restartable sequence, as a signal does. Otherwise the tracee
    /// runs through it as if undisturbed.
    pub aborts_rseq: bool,
}

/// The kernel's description of a thread's `rseq` area.
#[repr(C)]
struct Configuration {
    area: u64,
    size: u32,
    signature: u32,
    flags: u32,
    unused: u32,
}

const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

impl Stepper {
    /// Steps from the initial stop to the first instruction of the operation.
    pub fn begin(&mut self, tracee: &mut Tracee) {
        while !tracee.is_forked_child && registers(tracee).rip != first_instruction as *const () as u64 {
            assert_eq!(single(tracee), Stop::Call);
        }
    }

    /// Traces a stretch from its beginning, and leaves the tracee at its end.
    pub fn trace_stretch(&mut self, tracee: &mut Tracee, path: &Path) -> Stretch {
        let mut shared = SharedMemory::of(tracee.pid);
        let mut found =
            Stretch { instructions: 0, trace: Vec::new(), repeated: Vec::new(), stores: Vec::new(), ends_in: Ending::Finish };
        loop {
            self.hide_rseq(tracee);
            // A change before the first instruction belongs to another process.
            if shared.changed() && found.instructions > 0 {
                found.stores.push((found.instructions, lock_words(path) != [0; 3]));
            }
            let now = registers(tracee);
            if tracee.has_finished() || now.rip == finish as *const () as u64 {
                return found;
            }
            let classify = self.classify(tracee, now.rip);
            if classify != InstructionKind::Call {
                found.trace.push(now.rip);
            }
            match classify {
                InstructionKind::Call => {
                    let wait = now.rax == libc::SYS_futex as u64 && [0, 9].contains(&(now.rsi & 0x7f));
                    found.ends_in = if wait { Ending::Sleep } else { Ending::Call };
                    return found;
                }
                InstructionKind::Repeated(len) => {
                    found.repeated.push((found.instructions, now.rcx as u32));
                    self.skip_repeated(tracee, now.rip, len, now.rcx);
                }
                InstructionKind::Plain => _ = single(tracee),
            }
            found.instructions += 1;
            assert!(found.instructions < 3_000_000, "the stretch does not end");
        }
    }

    /// Goes to the beginning of a stretch at full speed. Returns `false` if the operation ends
    /// before.
    pub fn go_to(&mut self, tracee: &mut Tracee, stretch: u32) -> bool {
        if stretch == 0 {
            self.begin(tracee);
        }
        while tracee.stops < 2 * stretch {
            if tracee.next() == Stop::Finished {
                return false;
            }
        }
        true
    }

    /// Goes to the place with the same number of visible changes, whatever the number of
    /// instructions.
    pub fn go_by_changes(&mut self, tracee: &mut Tracee, place: Place) -> Reached {
        if !self.go_to(tracee, place.stretch) {
            return Reached::End;
        }
        let mut shared = SharedMemory::of(tracee.pid);
        let (mut changes, mut stepped) = (0, false);
        loop {
            self.hide_rseq(tracee);
            changes += u32::from(shared.changed() && stepped);
            stepped = true;
            let now = registers(tracee);
            if tracee.has_finished() || now.rip == finish as *const () as u64 {
                return if place.at == At::End { Reached::There } else { Reached::End };
            }
            if changes == place.changes && matches!(place.at, At::Instruction(..)) {
                return Reached::There;
            }
            match self.classify(tracee, now.rip) {
                InstructionKind::Call => return into_call(tracee, place.at),
                InstructionKind::Repeated(len) => self.skip_repeated(tracee, now.rip, len, now.rcx),
                InstructionKind::Plain => _ = single(tracee),
            }
        }
    }

    /// Goes to a place from the start of the operation.
    pub fn go(&mut self, tracee: &mut Tracee, place: Place) -> Reached {
        if !self.go_to(tracee, place.stretch) {
            return Reached::End;
        }
        let (max_points, rounds) = match place.at {
            At::Instruction(nth, rounds) => (nth, rounds),
            _ => (u32::MAX, 0),
        };
        let mut nth = 0;
        if let Some(anchor) = place.anchor {
            if !self.run_to_anchor(tracee, anchor) {
                return if tracee.has_finished() { Reached::End } else { Reached::Elsewhere };
            }
            nth = anchor.nth;
        }
        let ended = loop {
            self.hide_rseq(tracee);
            let now = registers(tracee);
            if tracee.has_finished() || now.rip == finish as *const () as u64 {
                return if place.at == At::End { Reached::There } else { Reached::End };
            }
            if nth == max_points && rounds == 0 {
                break false;
            }
            match self.classify(tracee, now.rip) {
                InstructionKind::Call => break true,
                InstructionKind::Repeated(_) if nth == max_points => {
                    (0..rounds.min(now.rcx as u32)).for_each(|_| _ = single(tracee));
                    break false;
                }
                InstructionKind::Repeated(len) => self.skip_repeated(tracee, now.rip, len, now.rcx),
                InstructionKind::Plain => _ = single(tracee),
            }
            nth += 1;
        };
        if !ended { Reached::There } else { into_call(tracee, place.at) }
    }

    fn run_to_anchor(&mut self, tracee: &mut Tracee, anchor: Anchor) -> bool {
        let mut at_anchor = registers(tracee).rip == anchor.rip;
        for _ in u32::from(at_anchor)..anchor.time {
            self.hide_rseq(tracee);
            if at_anchor {
                _ = single(tracee);
                self.hide_rseq(tracee);
            }
            at_anchor = run_to(tracee, anchor.rip);
            if !at_anchor {
                return false;
            }
        }
        true
    }

    /// Before the tracee runs freely again: restores the sequence pointer, so that the kernel
    /// aborts the sequence.
    pub fn restore_rseq(&mut self, tracee: &Tracee) {
        if self.rseq != 0 {
            poke(tracee, self.area.unwrap_or(0) + 8, self.rseq);
        }
    }

    /// Hides the sequence pointer. Otherwise the kernel aborts the sequence at each stop.
    fn hide_rseq(&mut self, tracee: &Tracee) {
        if self.aborts_rseq {
            return;
        }
        let area = *self.area.get_or_insert_with(|| {
            let mut found = Configuration { area: 0, size: 0, signature: 0, flags: 0, unused: 0 };
            let len = size_of::<Configuration>();
            // SAFETY: see the module.
            unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tracee.pid, len, &raw mut found) };
            found.area
        });
        if area != 0 {
            let rseq = peek(tracee, area + 8);
            if rseq != 0 {
                self.rseq = rseq;
                poke(tracee, area + 8, 0);
            }
        }
    }

    fn classify(&mut self, tracee: &Tracee, at: u64) -> InstructionKind {
        *self.kinds.entry(at).or_insert_with(|| {
            let code = peek(tracee, at).to_le_bytes();
            let string = |byte: u8| matches!(byte, 0xa4..=0xa7 | 0xaa..=0xaf);
            match code {
                [0x0f, 0x05, ..] => InstructionKind::Call,
                [0xf3 | 0xf2, 0x48, op, ..] if string(op) => InstructionKind::Repeated(3),
                [0xf3 | 0xf2, op, ..] if string(op) => InstructionKind::Repeated(2),
                _ => InstructionKind::Plain,
            }
        })
    }

    /// Steps past a repeated instruction.
    fn skip_repeated(&mut self, tracee: &mut Tracee, at: u64, len: u64, rounds: u64) {
        if rounds < 16 {
            while registers(tracee).rip == at {
                _ = single(tracee);
            }
            return;
        }
        assert!(run_to(tracee, at + len));
    }
}

/// Continues from the end of a stretch.
fn into_call(tracee: &mut Tracee, to: At) -> Reached {
    match to {
        At::Call => {
            assert_eq!(tracee.next(), Stop::Call);
            Reached::There
        }
        At::Asleep => {
            assert_eq!(tracee.next(), Stop::Call);
            if tracee.falls_asleep() { Reached::There } else { Reached::Elsewhere }
        }
        _ => Reached::Elsewhere,
    }
}

/// Runs to an instruction at full speed. Returns `false` if a system call or the end comes first.
fn run_to(tracee: &mut Tracee, at: u64) -> bool {
    let code = peek(tracee, at);
    poke(tracee, at, code & !0xff | 0xcc);
    let stop = tracee.resume(libc::PTRACE_SYSCALL);
    poke(tracee, at, code);
    let mut now = registers(tracee);
    if stop != Stop::Call || now.rip != at + 1 {
        return false;
    }
    now.rip = at;
    // SAFETY: see the module.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SETREGS, tracee.pid, 0, &raw const now) }, 0);
    true
}

fn single(tracee: &mut Tracee) -> Stop {
    tracee.resume(libc::PTRACE_SINGLESTEP)
}

pub fn registers(tracee: &Tracee) -> libc::user_regs_struct {
    // SAFETY: zeroes are registers; see the module.
    unsafe {
        let mut now: libc::user_regs_struct = std::mem::zeroed();
        assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, tracee.pid, 0, &raw mut now), 0);
        now
    }
}

fn peek(tracee: &Tracee, at: u64) -> u64 {
    // SAFETY: see the module.
    unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, tracee.pid, at, 0) as u64 }
}

fn poke(tracee: &Tracee, at: u64, value: u64) {
    // SAFETY: see the module.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_POKEDATA, tracee.pid, at, value) }, 0);
}
