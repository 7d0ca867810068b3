//! A traced process that goes on by single instructions.
//!
//! What a process does is divided by its system calls into *stretches*, each of which is run to at full speed and then stepped through.
//!
//! # Safety
//!
//! As `trace.rs`: the raw calls get a stopped child of this thread, and pointers to locals.

use super::*;
use std::collections::HashMap;

/// Where a traced process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// So many system calls have returned.
    pub stretch: u32,
    pub at: At,
    /// An instruction before it that the stretch comes to only once, and its number: it is run to at full speed.
    pub anchor: Option<(u64, u32)>,
}

impl Place {
    pub fn begin_of(stretch: u32) -> Place {
        Place { stretch, at: At::Instruction(0, 0), anchor: None }
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
    /// Before which of them something has been stored, and whether a lock is held there.
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
    /// All its places.
    pub fn places(&self, stretch: u32) -> Vec<Place> {
        let mut times: HashMap<u64, u32> = HashMap::new();
        self.trace.iter().for_each(|at| *times.entry(*at).or_default() += 1);
        let is_repeated = |nth| self.repeated.iter().any(|(of, _)| *of == nth);
        let mut anchor = None;
        let mut all = Vec::new();
        for nth in 0..self.instructions {
            let rip = self.trace[nth as usize];
            if nth > 0 && times[&rip] == 1 && !is_repeated(nth) {
                anchor = Some((rip, nth));
            }
            let place = |at| Place { stretch, at, anchor };
            all.push(place(At::Instruction(nth, 0)));
            let rounds = self.repeated.iter().find(|(of, _)| *of == nth).map_or(0, |(_, rounds)| *rounds);
            // It is one instruction, which can be broken off after any round.
            all.extend((0..32).map(|n| 1 << n).take_while(|n| *n < rounds).map(|n| place(At::Instruction(nth, n))));
        }
        let place = |at| Place { stretch, at, anchor };
        match self.ends_in {
            Ending::Finish => all.push(place(At::End)),
            Ending::Call => all.extend([place(At::Instruction(self.instructions, 0)), place(At::Call)]),
            Ending::Sleep => all.extend([At::Instruction(self.instructions, 0), At::Call, At::Asleep].map(place)),
        }
        all
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

    /// What a stretch consists of: from where the tracee is. It ends up at the end of it. With a watch it is seen what is stored.
    pub fn survey(&mut self, tracee: &mut Tracee, mut watch: Option<&mut Watch>) -> Stretch {
        let mut found =
            Stretch { instructions: 0, trace: Vec::new(), repeated: Vec::new(), stores: Vec::new(), ends_in: Ending::Finish };
        loop {
            self.keep_sequence(tracee);
            if let Some(watch) = &mut watch
                && watch.changed()
            {
                found.stores.push((found.instructions, watch.lock_word() != 0));
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

    /// Goes on to a place, from the beginning.
    pub fn go(&mut self, tracee: &mut Tracee, place: Place) -> Reached {
        if place.stretch == 0 {
            self.begin(tracee);
        }
        while tracee.stops < 2 * place.stretch {
            if tracee.next() == Stop::Finished {
                return Reached::End;
            }
        }
        let (most, rounds) = match place.at {
            At::Instruction(nth, rounds) => (nth, rounds),
            _ => (u32::MAX, 0),
        };
        let mut nth = 0;
        if let Some((anchor, number)) = place.anchor {
            if !run_to(tracee, anchor) {
                return if tracee.has_finished() { Reached::End } else { Reached::Elsewhere };
            }
            nth = number;
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
        match place.at {
            At::Instruction(..) if !ended => Reached::There,
            At::Call if ended => {
                assert_eq!(tracee.next(), Stop::Call);
                Reached::There
            }
            At::Asleep if ended => {
                assert_eq!(tracee.next(), Stop::Call);
                if tracee.falls_asleep() { Reached::There } else { Reached::Elsewhere }
            }
            _ => Reached::Elsewhere,
        }
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
