//! Whether a call comes back, on a machine that may be slow, and busy with other things.
//!
//! How long a call took by the clock says little there. So the time does not count in which the victims, their children, or the attacker, who may have what they wait for,
//! could run and did not; what is left decides, and how long the call has computed, which no other process makes longer.

use crate::memory::{self, Board};
use crate::victim;
use crate::{Process, describe, ended, show};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// A call that takes longer is told of.
const SLOW: Duration = Duration::from_secs(1);
/// One that takes as long as that hangs, if nothing else was asked for. (A sleep of ten milliseconds may take a hundred times that, and calls sleep several times.)
pub const LONGEST_CALL: Duration = Duration::from_secs(60);
/// So does one that has computed for so long: a few milliseconds are what calls need.
const LONGEST_RUN: Duration = Duration::from_secs(20);
/// However busy the machine is.
pub const LONGEST_EVER: Duration = Duration::from_secs(600);

/// What the kernel says of a thread: how long it has run, how long it could have run and did not, how often it has slept.
#[derive(Clone, Copy, Default)]
struct Effort {
    run: Duration,
    put_off: Duration,
    sleeps: u64,
}

impl Effort {
    fn of(tid: u32) -> Effort {
        let read = |name| std::fs::read_to_string(format!("/proc/{tid}/{name}")).unwrap_or_default();
        let times = read("schedstat");
        let mut times = times.split_whitespace().map(|text| Duration::from_nanos(text.parse().unwrap_or_default()));
        let status = read("status");
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Effort {
            run: times.next().unwrap_or_default(),
            put_off: times.next().unwrap_or_default(),
            sleeps: sleeps.and_then(|text| text.trim().parse().ok()).unwrap_or_default(),
        }
    }
}

/// A call that has been going on since it was first seen.
struct Suspect {
    call: u64,
    since: Instant,
    own: Effort,
    /// That of all who it may wait for.
    put_off: Duration,
    told: bool,
}

/// What is known of all calls.
pub struct Watch {
    /// How long a call may take.
    pub longest: Duration,
    /// How many took longer than a second.
    pub slow: u64,
    /// The seed of the life at hand.
    pub seed: u64,
}

impl Watch {
    /// Waits until all have ended the round, and does something meanwhile, which is told how many calls there were. `false`: there was nothing to do.
    pub fn wait_for(&mut self, victims: &[Process], round: u32, mut meanwhile: impl FnMut(u64) -> bool) -> Result<(), String> {
        let mut suspects: Vec<Option<Suspect>> = victims.iter().map(|_| None).collect();
        let calls = |board: &Board| board.begun.load(Relaxed);
        let before: u64 = victims.iter().map(|victim| calls(victim.board)).sum();
        let mut looked = Instant::now();
        loop {
            let running = victims.iter().find(|victim| victim.board.done.load(SeqCst) <= round);
            let Some(running) = running else { return Ok(()) };
            if !meanwhile(victims.iter().map(|victim| calls(victim.board)).sum::<u64>() - before) {
                // Whoever is attacked needs the processor, too.
                memory::wait_while(&running.board.done, running.board.done.load(SeqCst), Duration::from_micros(50));
            }
            if looked.elapsed() < Duration::from_millis(5) {
                continue;
            }
            looked = Instant::now();
            for (victim, suspect) in victims.iter().zip(&mut suspects) {
                if victim.board.done.load(SeqCst) > round {
                    continue;
                }
                if let Some(status) = ended(victim.pid, false) {
                    let what = victim::CALLS[victim.board.call.load(SeqCst) as usize];
                    return Err(format!("{what}: {}", describe(status)));
                }
                self.suspect(victims, victim, suspect)?;
            }
        }
    }

    /// Looks at what a victim is doing.
    fn suspect(&mut self, victims: &[Process], victim: &Process, suspect: &mut Option<Suspect>) -> Result<(), String> {
        let board = victim.board;
        let call = board.begun.load(Relaxed);
        let theirs = || victims.iter().flat_map(|victim| [&victim.board.tid, &victim.board.child]).map(|tid| tid.load(Relaxed));
        let put_off = || theirs().chain([std::process::id()]).map(|tid| Effort::of(tid).put_off).sum::<Duration>();
        let own = Effort::of(board.tid.load(Relaxed));
        let Some(known) = suspect.as_mut().filter(|known| known.call == call) else {
            *suspect = Some(Suspect { call, since: Instant::now(), own, put_off: put_off(), told: false });
            return Ok(());
        };
        let by_the_clock = known.since.elapsed();
        if by_the_clock <= SLOW {
            return Ok(());
        }
        let time = by_the_clock.saturating_sub(put_off().saturating_sub(known.put_off));
        let run = own.run.saturating_sub(known.own.run);
        if board.ended.load(SeqCst) >= call {
            return Ok(());
        }
        let what = || {
            format!(
                "{}: {time:?} ({by_the_clock:?} by the clock), of it {run:?} run, {} sleeps",
                victim::CALLS[board.call.load(SeqCst) as usize],
                own.sleeps.saturating_sub(known.own.sleeps)
            )
        };
        if time > SLOW && !known.told {
            (known.told, self.slow) = (true, self.slow + 1);
            println!("slow, with seed {}: {}", self.seed, what());
        }
        if time > self.longest || run > LONGEST_RUN || by_the_clock > LONGEST_EVER {
            show(victim.pid);
            return Err(format!("it hangs: {}", what()));
        }
        Ok(())
    }
}
