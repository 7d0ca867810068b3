//! Stopped at each instruction, while others try what needs what it may hold.

use super::{Run, Which};
use crate::support::*;
use quintet::{Errno, Namespace};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Set in a lock's word by others.
const SLEEPERS: u32 = 1 << 31;
/// So long an attempt that has a time waits.
const TIME: Duration = Duration::from_millis(2);
/// Each so many-th stop is one by SIGSTOP that lasts a second.
const SECOND: usize = 500;

impl Run<'_> {
    pub(super) fn stop_each(&self, scenario: &Scenario<'_>, which: Which) {
        // A newborn child is not this process's to wait for.
        if scenario.newborn.is_some() {
            return;
        }
        // Asleep it is not stopped, and after its end it holds nothing.
        let places =
            self.chosen(scenario, None, which).into_iter().filter(|place| matches!(place.at, At::Instruction(..) | At::Call));
        for (nth, place) in places.enumerate() {
            let time = if nth % SECOND == SECOND / 2 { Duration::from_secs(1) } else { Duration::ZERO };
            self.one(&format!("stop {place:?}"), || self.stop_at(scenario, place, time));
        }
    }

    pub(super) fn stop_at(&self, scenario: &Scenario<'_>, place: Place, time: Duration) {
        let (path, company, survivor, tracee, reached) = self.bring(scenario, None, place);
        drop(survivor);
        println!("{place:?}: {reached:?} at {:#x}", registers(&tracee).rip);
        let mut watch = Watch::new(&path);
        let words = watch.lock_words();
        let mut report = self.report.borrow_mut();
        report.elsewhere += usize::from(reached != Reached::There);
        report.with_lock += usize::from(words != [0; 3]);
        drop(report);
        self.stepper.borrow_mut().let_go(&tracee);
        // A second's stop is one by a signal: the tracer lets go.
        let mut held = if time.is_zero() { Err(tracee) } else { Ok(tracee.release(libc::SIGSTOP)) };
        if let Ok(stopped) = &held {
            until("it stops", || state(stopped.pid) == Some('T'));
        }
        let begin = Instant::now();
        let done = shared_words_of_attempts();
        done.store(0, SeqCst);
        if scenario.furnished {
            let waits = attempt(scenario, &path, done);
            until("it waits, or has ended", || waits.has_ended() || state(waits.pid) == Some('S'));
            std::thread::sleep(time.saturating_sub(begin.elapsed()));
            watch.reopen();
            for (before, now) in words.into_iter().zip(watch.lock_words()) {
                assert!(before == 0 || now & !SLEEPERS == before & !SLEEPERS, "a lock was stolen: {before:#x}, {now:#x}");
            }
            held = go_on(held);
            waits.succeeds();
        } else {
            // Another one makes the same namespace meanwhile.
            let makes = fork(|| drop(Namespace::create(&path, scenario.kind)));
            until("it waits, or has ended", || makes.has_ended() || state(makes.pid) == Some('S'));
            held = go_on(held);
            makes.succeeds();
        }
        match held {
            Ok(child) => assert_eq!(child.ends_through_stops(), End::Exit(0)),
            Err(tracee) => tracee.release(0).succeeds(),
        }
        if scenario.furnished {
            fork(|| (scenario.attempt.settle)(&Namespace::open(&path).unwrap(), done.load(SeqCst))).succeeds();
        }
        set_completed(true);
        scenario.finish(&path, company);
    }
}

fn shared_words_of_attempts() -> &'static AtomicU32 {
    static DONE: std::sync::OnceLock<&'static [AtomicU32]> = std::sync::OnceLock::new();
    &DONE.get_or_init(|| shared_words(1))[0]
}

/// What is stopped goes on, to the end of its operation if it is traced.
fn go_on(held: Result<Child, Tracee>) -> Result<Child, Tracee> {
    match held {
        Ok(child) => {
            child.signal(libc::SIGCONT);
            Ok(child)
        }
        Err(mut tracee) => {
            while tracee.next() != Stop::Finished {}
            Err(tracee)
        }
    }
}

/// The object may be gone, or not be there yet.
fn is_gone(e: Errno) -> bool {
    [Errno::IDRM, Errno::INVAL, Errno::NOENT].contains(&e)
}

/// Tries for a short time, then until a signal comes, then for as long as it takes: the last one may go on after this returns.
fn attempt(scenario: &Scenario<'_>, path: &Path, done: &'static AtomicU32) -> Child {
    let attempt = scenario.attempt;
    let call = |ns: &Namespace, time| {
        let result = (attempt.call)(ns, time);
        done.fetch_add(u32::from(result.is_ok()), SeqCst);
        result.err().filter(|e| !is_gone(*e))
    };
    if let Some(timed_out) = attempt.timed_out {
        fork(|| {
            let ns = Namespace::open(path).unwrap();
            let begin = Instant::now();
            let result = call(&ns, Some(TIME));
            assert!(result.is_none_or(|e| e == timed_out), "{result:?}");
            assert!(result.is_none() || begin.elapsed() >= TIME);
        })
        .succeeds();
        fork(|| {
            let ns = Namespace::open(path).unwrap();
            on_alarm();
            alarm_every(TIME);
            // With a time: it is a call that may wait, so a signal ends it.
            let result = call(&ns, Some(BOUND));
            alarm_every(Duration::ZERO);
            assert!(result.is_none_or(|e| e == Errno::INTR), "{result:?}");
        })
        .succeeds();
    }
    fork(|| assert_eq!(call(&Namespace::open(path).unwrap(), None), None))
}
