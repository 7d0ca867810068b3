//! A traced process that goes on by single instructions.
//!
//! What a process does is divided by its system calls into *stretches*, each of which is run to at full speed and then stepped through.
//!
//! # Safety
//!
//! As `trace.rs`: the raw calls get a stopped child of this thread, and pointers to locals.

use super::*;
use std::collections::{HashMap, HashSet};

/// Where a traced process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// So many system calls have returned.
    pub stretch: u32,
    pub at: At,
    /// An instruction before it that is run to at full speed.
    pub anchor: Option<Anchor>,
    /// How often what others find has changed before it, in the stretch.
    pub changes: u32,
}

impl Place {
    pub fn begin_of(stretch: u32) -> Place {
        Place { stretch, at: At::Instruction(0, 0), anchor: None, changes: 0 }
    }
}

/// An instruction, which of the times that the stretch comes to it, and its number in the stretch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    rip: u64,
    time: u32,
    nth: u32,
}

impl Anchor {
    /// In steps, from there to an instruction. To go on from a breakpoint takes two stops.
    fn cost(&self, nth: u32) -> u32 {
        2 * self.time + (nth - self.nth)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// Before the n-th instruction of the stretch, of which, if it is a repeated one, so many rounds are done.
    Instruction(u32, u32),
    /// In the system call that ends the stretch, before it does anything.
    Call,
    /// Asleep in it.
    Asleep,
    /// The operation has returned.
    End,
}

/// What became of the way to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    There,
    /// It went another way this time, and has been held at the end of its stretch.
    Elsewhere,
    /// The operation has returned.
    End,
}

/// What an instruction is to a tracer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Plain,
    Call,
    /// A repeated one of so many bytes: each round is a step of its own.
    Repeated(u64),
}

/// What there is in a stretch.
pub struct Stretch {
    pub instructions: u32,
    /// Where each of them is.
    trace: Vec<u64>,
    /// Which of them are repeated, and how often.
    repeated: Vec<(u32, u32)>,
    /// Before which of them others find something else than before the last one, and whether a lock is held there.
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
    /// All its places; and whether it is the one of those which leave the same behind (see [`Shared`]) that stands for them: the last.
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
            // It is one instruction, which can be broken off after any round.
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

    /// Places after stores; and whether a lock is held there.
    pub fn points(&self, stretch: u32) -> impl Iterator<Item = (Place, bool)> {
        let begin = Place::begin_of(stretch);
        let place = move |nth, changes| Place { at: At::Instruction(nth, 0), changes, ..begin };
        self.stores.iter().zip(1..).map(move |((nth, with_lock), changes)| (place(*nth, changes), *with_lock))
    }

    pub fn is_last(&self) -> bool {
        self.ends_in == Ending::Finish
    }
}

/// Steps through processes that are forks of this one: their code is in the same place.
#[derive(Default)]
pub struct Stepper {
    sorts: HashMap<u64, Sort>,
    area: Option<u64>,
    /// What the tracee was within, when it was kept from being broken off.
    sequence: u64,
    /// Whether restartable sequences are broken off at their first instruction, as by a signal. Otherwise the processor
    /// goes through them as it does if it is left alone.
    pub breaks_off: bool,
}

/// What the kernel says of a thread's `rseq` area.
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
    /// From where it has stopped itself to the first instruction of the operation.
    pub fn begin(&mut self, tracee: &mut Tracee) {
        while !tracee.is_newborn && registers(tracee).rip != first_instruction as *const () as u64 {
            assert_eq!(single(tracee), Stop::Call);
        }
    }

    /// What a stretch consists of: from where the tracee is. It ends up at the end of it.
    pub fn survey(&mut self, tracee: &mut Tracee, path: &Path) -> Stretch {
        let mut shared = Shared::of(tracee.pid);
        let mut found =
            Stretch { instructions: 0, trace: Vec::new(), repeated: Vec::new(), stores: Vec::new(), ends_in: Ending::Finish };
        loop {
            self.keep_sequence(tracee);
            // What others do at the same time is not its own.
            if shared.changed() && found.instructions > 0 {
                found.stores.push((found.instructions, lock_words(path) != [0; 3]));
            }
            let now = registers(tracee);
            if tracee.has_finished() || now.rip == finish as *const () as u64 {
                return found;
            }
            let sort = self.sort(tracee, now.rip);
            if sort != Sort::Call {
                found.trace.push(now.rip);
            }
            match sort {
                Sort::Call => {
                    let wait = now.rax == libc::SYS_futex as u64 && [0, 9].contains(&(now.rsi & 0x7f));
                    found.ends_in = if wait { Ending::Sleep } else { Ending::Call };
                    return found;
                }
                Sort::Repeated(len) => {
                    found.repeated.push((found.instructions, now.rcx as u32));
                    self.pass(tracee, now.rip, len, now.rcx);
                }
                Sort::Plain => _ = single(tracee),
            }
            found.instructions += 1;
            assert!(found.instructions < 3_000_000, "it goes round for ever");
        }
    }

    /// To the beginning of a stretch. `false`: it has finished before.
    fn go_to(&mut self, tracee: &mut Tracee, stretch: u32) -> bool {
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

    /// Goes on, from the beginning, to where others find what they find at a place, whatever the number of instructions.
    pub fn go_by_changes(&mut self, tracee: &mut Tracee, place: Place) -> Reached {
        if !self.go_to(tracee, place.stretch) {
            return Reached::End;
        }
        let mut shared = Shared::of(tracee.pid);
        let (mut changes, mut stepped) = (0, false);
        loop {
            self.keep_sequence(tracee);
            changes += u32::from(shared.changed() && stepped);
            stepped = true;
            let now = registers(tracee);
            if tracee.has_finished() || now.rip == finish as *const () as u64 {
                return if place.at == At::End { Reached::There } else { Reached::End };
            }
            if changes == place.changes && matches!(place.at, At::Instruction(..)) {
                return Reached::There;
            }
            match self.sort(tracee, now.rip) {
                Sort::Call => return into_call(tracee, place.at),
                Sort::Repeated(len) => self.pass(tracee, now.rip, len, now.rcx),
                Sort::Plain => _ = single(tracee),
            }
        }
    }

    /// Goes on to a place, from the beginning.
    pub fn go(&mut self, tracee: &mut Tracee, place: Place) -> Reached {
        if !self.go_to(tracee, place.stretch) {
            return Reached::End;
        }
        let (most, rounds) = match place.at {
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
            self.keep_sequence(tracee);
            let now = registers(tracee);
            if tracee.has_finished() || now.rip == finish as *const () as u64 {
                return if place.at == At::End { Reached::There } else { Reached::End };
            }
            if nth == most && rounds == 0 {
                break false;
            }
            match self.sort(tracee, now.rip) {
                Sort::Call => break true,
                Sort::Repeated(_) if nth == most => {
                    (0..rounds.min(now.rcx as u32)).for_each(|_| _ = single(tracee));
                    break false;
                }
                Sort::Repeated(len) => self.pass(tracee, now.rip, len, now.rcx),
                Sort::Plain => _ = single(tracee),
            }
            nth += 1;
        };
        if !ended { Reached::There } else { into_call(tracee, place.at) }
    }

    fn run_to_anchor(&mut self, tracee: &mut Tracee, anchor: Anchor) -> bool {
        let mut is_there = registers(tracee).rip == anchor.rip;
        for _ in u32::from(is_there)..anchor.time {
            self.keep_sequence(tracee);
            if is_there {
                _ = single(tracee);
                self.keep_sequence(tracee);
            }
            is_there = run_to(tracee, anchor.rip);
            if !is_there {
                return false;
            }
        }
        true
    }

    /// After the last step, before it is left alone again: it is within its sequence, which the kernel breaks off.
    pub fn let_go(&mut self, tracee: &Tracee) {
        if self.sequence != 0 {
            poke(tracee, self.area.unwrap_or(0) + 8, self.sequence);
        }
    }

    /// Each stop makes the kernel break off the sequence that a thread is within. It does not if it cannot tell.
    fn keep_sequence(&mut self, tracee: &Tracee) {
        if self.breaks_off {
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
            let sequence = peek(tracee, area + 8);
            if sequence != 0 {
                self.sequence = sequence;
                poke(tracee, area + 8, 0);
            }
        }
    }

    fn sort(&mut self, tracee: &Tracee, at: u64) -> Sort {
        *self.sorts.entry(at).or_insert_with(|| {
            let code = peek(tracee, at).to_le_bytes();
            let string = |byte: u8| matches!(byte, 0xa4..=0xa7 | 0xaa..=0xaf);
            match code {
                [0x0f, 0x05, ..] => Sort::Call,
                [0xf3 | 0xf2, 0x48, op, ..] if string(op) => Sort::Repeated(3),
                [0xf3 | 0xf2, op, ..] if string(op) => Sort::Repeated(2),
                _ => Sort::Plain,
            }
        })
    }

    /// Past a repeated instruction.
    fn pass(&mut self, tracee: &mut Tracee, at: u64, len: u64, rounds: u64) {
        if rounds < 16 {
            while registers(tracee).rip == at {
                _ = single(tracee);
            }
            return;
        }
        assert!(run_to(tracee, at + len));
    }
}

/// From the end of a stretch.
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

/// At full speed to an instruction. `false`: it has come to a system call before, or to its end.
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
