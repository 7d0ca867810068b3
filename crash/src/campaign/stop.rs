//! Stops at each instruction, while other processes try calls that need what the stopped process
//! may hold.

use super::{Run, Selection};
use crate::support::*;
use quintet::{Errno, Namespace};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The bit in a lock word that waiters set.
const WAITERS: u32 = 1 << 31;
/// The timeout of an attempt.
const TIME: Duration = Duration::from_millis(2);
/// Every n-th stop is a SIGSTOP that lasts a second.
const LONG_STOP: usize = 500;

impl Run<'_> {
    pub(super) fn stop_each(&self, scenario: &Scenario<'_>, selection: Selection) {
        // A forked child belongs to its parent and cannot be waited for here.
        if scenario.forked_child.is_some() {
            return;
        }
        // A sleeping process is not stopped, and a finished one holds nothing.
        let places =
            self.chosen(scenario, None, selection).into_iter().filter(|place| matches!(place.at, At::Instruction(..) | At::Call));
        for (nth, place) in places.enumerate() {
            let time = if nth % LONG_STOP == LONG_STOP / 2 { Duration::from_secs(1) } else { Duration::ZERO };
            self.one(&format!("stop {place:?}"), || self.stop_at(scenario, place, time));
        }
    }

    pub(super) fn stop_at(&self, scenario: &Scenario<'_>, place: Place, time: Duration) {
        let (path, peers, survivor, tracee, reached) = self.drive_to(scenario, None, place);
        drop(survivor);
        println!("{place:?}: {reached:?} at {:#x}", registers(&tracee).rip);
        let mut watch = Watch::new(&path);
        let words = watch.lock_words();
        let mut report = self.report.borrow_mut();
        report.elsewhere += usize::from(reached != Reached::There);
        report.with_lock += usize::from(words != [0; 3]);
        drop(report);
        self.stepper.borrow_mut().restore_rseq(&tracee);
        // A long stop uses SIGSTOP without the tracer.
        let mut held = if time.is_zero() { Err(tracee) } else { Ok(tracee.release(libc::SIGSTOP)) };
        if let Ok(stopped) = &held {
            until("the process has stopped", || state(stopped.pid) == Some('T'));
        }
        let begin = Instant::now();
        let done = shared_words_of_attempts();
        done.store(0, SeqCst);
        if scenario.has_namespace {
            let waits = attempt(scenario, &path, done);
            until("the process is blocked or has exited", || waits.has_ended() || state(waits.pid) == Some('S'));
            std::thread::sleep(time.saturating_sub(begin.elapsed()));
            watch.reopen();
            for (before, now) in words.into_iter().zip(watch.lock_words()) {
                assert!(before == 0 || now & !WAITERS == before & !WAITERS, "a lock was stolen: {before:#x}, {now:#x}");
            }
            held = go_on(held);
            waits.succeeds();
        } else {
            // Another process creates the same namespace meanwhile.
            let makes = fork(|| drop(Namespace::create(&path, scenario.kind)));
            until("the process is blocked or has exited", || makes.has_ended() || state(makes.pid) == Some('S'));
            held = go_on(held);
            makes.succeeds();
        }
        match held {
            Ok(child) => assert_eq!(child.ends_through_stops(), End::Exit(0)),
            Err(tracee) => tracee.release(0).succeeds(),
        }
        if scenario.has_namespace {
            fork(|| (scenario.attempt.revert)(&Namespace::open(&path).unwrap(), done.load(SeqCst))).succeeds();
        }
        set_completed(true);
        scenario.finish(&path, peers);
    }
}

fn shared_words_of_attempts() -> &'static AtomicU32 {
    static DONE: std::sync::OnceLock<&'static [AtomicU32]> = std::sync::OnceLock::new();
    &DONE.get_or_init(|| shared_words(1))[0]
}

/// Resumes the stopped process, to the end of its operation if it is traced.
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

/// Returns `true` if the object may be gone or not exist yet.
fn is_gone(e: Errno) -> bool {
    [Errno::IDRM, Errno::INVAL, Errno::NOENT].contains(&e)
}

/// Makes three attempts: with a timeout, until a signal, and without limit. The last may go on
/// after this returns.
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
            // With a timeout, because a signal ends only a call that may block.
            let result = call(&ns, Some(BOUND));
            alarm_every(Duration::ZERO);
            assert!(result.is_none_or(|e| e == Errno::INTR), "{result:?}");
        })
        .succeeds();
    }
    fork(|| assert_eq!(call(&Namespace::open(path).unwrap(), None), None))
}
