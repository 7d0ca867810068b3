//! Detects calls that do not return, even on a slow and busy machine.
//!
//! Wall-clock time says little there. The watcher subtracts the time in which the victims, their
//! children or the attacker were runnable but did not run: a call may wait for them. The rest
//! decides, and so does the processor time of the call.

use crate::memory::{self, StatusPage};
use crate::victim;
use crate::{Process, describe, ended, show};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// A longer call is reported.
const SLOW: Duration = Duration::from_secs(1);
/// Default limit for a call. A sleep of 10 ms may take a hundred times as long, and a call sleeps
/// several times.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Limit for the processor time of a call, which needs a few milliseconds.
const RUN_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit for the wall-clock time on any machine.
pub const HARD_TIMEOUT: Duration = Duration::from_secs(600);

/// Times of a thread: running, runnable but not running, and the number of sleeps.
#[derive(Clone, Copy, Default)]
struct ThreadTimes {
    run: Duration,
    runnable: Duration,
    sleeps: u64,
}

impl ThreadTimes {
    fn of(tid: u32) -> ThreadTimes {
        let read = |name| std::fs::read_to_string(format!("/proc/{tid}/{name}")).unwrap_or_default();
        let times = read("schedstat");
        let mut times = times.split_whitespace().map(|text| Duration::from_nanos(text.parse().unwrap_or_default()));
        let status = read("status");
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        ThreadTimes {
            run: times.next().unwrap_or_default(),
            runnable: times.next().unwrap_or_default(),
            sleeps: sleeps.and_then(|text| text.trim().parse().ok()).unwrap_or_default(),
        }
    }
}

/// A call that has been seen before and is still running.
struct Suspect {
    call: u64,
    since: Instant,
    own: ThreadTimes,
    /// The runnable time of all threads that the call may wait for.
    runnable: Duration,
    reported: bool,
}

/// State of the watcher.
pub struct Watch {
    /// Limit for a call.
    pub longest: Duration,
    /// Number of calls that took longer than a second.
    pub slow: u64,
    /// The seed of the current life.
    pub seed: u64,
}

impl Watch {
    /// Blocks until all victims have finished the round. Calls `meanwhile` with the number of calls
    /// so far; it returns `false` if it had nothing to do.
    pub fn wait_for(&mut self, victims: &[Process], round: u32, mut meanwhile: impl FnMut(u64) -> bool) -> Result<(), String> {
        let mut suspects: Vec<Option<Suspect>> = victims.iter().map(|_| None).collect();
        let calls = |page: &StatusPage| page.begun.load(Relaxed);
        let before: u64 = victims.iter().map(|victim| calls(victim.page)).sum();
        let mut looked = Instant::now();
        loop {
            let running = victims.iter().find(|victim| victim.page.done.load(SeqCst) <= round);
            let Some(running) = running else { return Ok(()) };
            if !meanwhile(victims.iter().map(|victim| calls(victim.page)).sum::<u64>() - before) {
                // The victim needs the processor, too.
                memory::wait_while(&running.page.done, running.page.done.load(SeqCst), Duration::from_micros(50));
            }
            if looked.elapsed() < Duration::from_millis(5) {
                continue;
            }
            looked = Instant::now();
            for (victim, suspect) in victims.iter().zip(&mut suspects) {
                if victim.page.done.load(SeqCst) > round {
                    continue;
                }
                if let Some(status) = ended(victim.pid, false) {
                    let what = victim::CALLS[victim.page.call.load(SeqCst) as usize];
                    return Err(format!("{what}: {}", describe(status)));
                }
                self.suspect(victims, victim, suspect)?;
            }
        }
    }

    /// Checks the current call of a victim.
    fn suspect(&mut self, victims: &[Process], victim: &Process, suspect: &mut Option<Suspect>) -> Result<(), String> {
        let page = victim.page;
        let call = page.begun.load(Relaxed);
        let threads = || victims.iter().flat_map(|victim| [&victim.page.tid, &victim.page.child]).map(|tid| tid.load(Relaxed));
        let runnable = || threads().chain([std::process::id()]).map(|tid| ThreadTimes::of(tid).runnable).sum::<Duration>();
        let own = ThreadTimes::of(page.tid.load(Relaxed));
        let Some(known) = suspect.as_mut().filter(|known| known.call == call) else {
            *suspect = Some(Suspect { call, since: Instant::now(), own, runnable: runnable(), reported: false });
            return Ok(());
        };
        let wall_time = known.since.elapsed();
        if wall_time <= SLOW {
            return Ok(());
        }
        let time = wall_time.saturating_sub(runnable().saturating_sub(known.runnable));
        let run = own.run.saturating_sub(known.own.run);
        if page.ended.load(SeqCst) >= call {
            return Ok(());
        }
        let what = || {
            format!(
                "{}: {time:?} ({wall_time:?} of wall-clock time), {run:?} of processor time, {} sleeps",
                victim::CALLS[page.call.load(SeqCst) as usize],
                own.sleeps.saturating_sub(known.own.sleeps)
            )
        };
        if time > SLOW && !known.reported {
            (known.reported, self.slow) = (true, self.slow + 1);
            println!("slow call, seed {}: {}", self.seed, what());
        }
        if time > self.longest || run > RUN_TIMEOUT || wall_time > HARD_TIMEOUT {
            show(victim.pid);
            return Err(format!("it hangs: {}", what()));
        }
        Ok(())
    }
}
