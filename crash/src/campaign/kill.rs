//! Kills at each instruction.

use super::{Run, Selection};
use crate::support::*;
use quintet::Namespace;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

impl Run<'_> {
    /// Starts the peers, the survivor and the victim. With `first`, kills a first victim there and
    /// returns the process that repairs.
    fn start(&self, scenario: &Scenario<'_>, first: Option<Place>, path: &Path) -> (Vec<Child>, Option<Prober>, Tracee) {
        scenario.prepare(path);
        // Started before the victims, so that it does not repair what they leave.
        let survivor = scenario.has_namespace.then(|| Prober::start(scenario, path));
        let peers = (scenario.peers)(path);
        let tracee = match first {
            None => scenario.victim(path),
            Some(place) => {
                let mut first = scenario.victim(path);
                self.stepper.borrow_mut().go(&mut first, place);
                first.kill();
                scenario.repairer(path)
            }
        };
        (peers, survivor, tracee)
    }

    /// Brings a process to a place. A timeout, a name or a peer may lead the operation
    /// along another path. Then this tries to reach the same visible state, up to three times.
    pub(super) fn drive_to(
        &self,
        scenario: &Scenario<'_>,
        first: Option<Place>,
        place: Place,
    ) -> (PathBuf, Vec<Child>, Option<Prober>, Tracee, Reached) {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let path = self.fresh();
            let (peers, survivor, mut tracee) = self.start(scenario, first, &path);
            let mut stepper = self.stepper.borrow_mut();
            let reached = if attempt == 1 { stepper.go(&mut tracee, place) } else { stepper.go_by_changes(&mut tracee, place) };
            drop(stepper);
            if reached == Reached::There || attempt == 3 {
                return (path, peers, survivor, tracee, reached);
            }
            tracee.kill();
            drop((peers, survivor));
            let _ = std::fs::remove_dir_all(&path);
        }
    }

    /// Traces each stretch in a process that has reached it at full speed.
    pub(super) fn stretches(&self, scenario: &Scenario<'_>, first: Option<Place>) -> Vec<Stretch> {
        let mut all = Vec::new();
        for stretch in 0.. {
            let path = self.fresh();
            let (peers, survivor, mut tracee) = self.start(scenario, first, &path);
            let mut stepper = self.stepper.borrow_mut();
            let there = stepper.go(&mut tracee, Place::begin_of(stretch)) == Reached::There;
            let found = there.then(|| stepper.trace_stretch(&mut tracee, &path));
            tracee.kill();
            drop((peers, survivor));
            let _ = std::fs::remove_dir_all(&path);
            let last = found.as_ref().is_none_or(Stretch::is_last);
            all.extend(found);
            if last {
                break;
            }
        }
        self.count(&all);
        all
    }

    /// Traces all stretches in one process. Each begins where the last one ended, so the process is
    /// late for any timeout. Operations with timeouts need [`Run::stretches`].
    pub(super) fn stretches_in_one_pass(&self, scenario: &Scenario<'_>, first: Option<Place>) -> Vec<Stretch> {
        let path = self.fresh();
        let (peers, survivor, mut tracee) = self.start(scenario, first, &path);
        let mut stepper = self.stepper.borrow_mut();
        let mut all: Vec<Stretch> = Vec::new();
        while all.last().is_none_or(|last| !last.is_last()) && stepper.go_to(&mut tracee, all.len() as u32) {
            all.push(stepper.trace_stretch(&mut tracee, &path));
        }
        tracee.kill();
        drop((peers, survivor));
        let _ = std::fs::remove_dir_all(&path);
        self.count(&all);
        all
    }

    fn count(&self, all: &[Stretch]) {
        let mut report = self.report.borrow_mut();
        report.instructions += all.iter().map(|found| found.instructions as usize).sum::<usize>();
        report.calls += all.iter().filter(|found| !found.is_last()).count();
    }

    /// Returns the selected places.
    pub(super) fn chosen(&self, scenario: &Scenario<'_>, first: Option<Place>, selection: Selection) -> Vec<Place> {
        let (places, distinct) = selection.of(&self.stretches(scenario, first));
        self.report.borrow_mut().distinct += distinct;
        places
    }

    pub(super) fn kill_each(&self, scenario: &Scenario<'_>, first: Option<Place>, selection: Selection) {
        for place in self.chosen(scenario, first, selection) {
            self.one(&format!("{first:?} {place:?}"), || self.kill_at(scenario, first, place));
        }
    }

    pub(super) fn kill_at(&self, scenario: &Scenario<'_>, first: Option<Place>, place: Place) {
        // On a busy machine a call may be late, but not each time. Unit tests do not check the
        // time.
        let (tries, soon) = if self.is_short() { (1, u32::MAX) } else { (MAX_TRIES, MAX_LATENCY) };
        let took = (0..tries).map(|_| self.kill_once(scenario, first, place)).find(|took| *took <= soon);
        let took = took.unwrap_or_else(|| panic!("the next operation took more than {soon} µs, {tries} times"));
        let mut report = self.report.borrow_mut();
        report.longest = report.longest.max(took);
    }

    /// Kills once. Returns the time until the next operation has succeeded, in microseconds.
    fn kill_once(&self, scenario: &Scenario<'_>, first: Option<Place>, place: Place) -> u32 {
        let (path, peers, survivor, tracee, reached) = self.drive_to(scenario, first, place);
        // The process that repairs does not complete the operation.
        let is_last = reached == Reached::There && place.at == At::End;
        set_completed(first.is_none() && (reached == Reached::End || is_last));
        let held = lock_words(&path) != [0; 3];
        if place.at != At::Asleep {
            println!("{place:?}: {reached:?} at {:#x}, lock held: {held}", registers(&tracee).rip);
        }
        tracee.kill();
        let took = match survivor {
            // Alternates between the survivor and a new process.
            Some(survivor) if self.number.get().is_multiple_of(2) => survivor.probe(),
            Some(_) => Prober::start_new(scenario, &path).probe(),
            None => 0,
        };
        let mut report = self.report.borrow_mut();
        report.elsewhere += usize::from(reached != Reached::There);
        report.with_lock += usize::from(held);
        drop(report);
        scenario.finish(&path, peers);
        took
    }
}

/// Limit for the time between a kill and the success of the next operation, in microseconds.
const MAX_LATENCY: u32 = 100_000;
const MAX_TRIES: u32 = 10;

/// A process that performs an operation on command and measures its time.
pub(super) struct Prober {
    child: Child,
    go: Signpost,
    took: &'static AtomicU32,
}

impl Prober {
    /// Starts a prober that has already used the object.
    fn start(scenario: &Scenario<'_>, path: &Path) -> Prober {
        let ready = Signpost::new();
        let prober = Prober::spawn(scenario, path, || {
            let ns = Namespace::open(path).unwrap();
            (scenario.probe)(&ns);
            ready.post(1);
            Some(ns)
        });
        while !ready.is_posted_within(Duration::from_millis(10)) && !prober.child.has_ended() {}
        assert!(is_posted(&ready), "the survivor has exited");
        prober
    }

    fn start_new(scenario: &Scenario<'_>, path: &Path) -> Prober {
        Prober::spawn(scenario, path, || None)
    }

    fn spawn(scenario: &Scenario<'_>, path: &Path, before: impl FnOnce() -> Option<Namespace>) -> Prober {
        let (go, took) = (Signpost::new(), &TOOK.get_or_init(|| shared_words(1))[0]);
        took.store(0, SeqCst);
        let child = fork(|| {
            let ns = before();
            go.wait_patiently();
            let ns = timed(took, || ns.unwrap_or_else(|| Namespace::open(path).unwrap()));
            timed(took, || (scenario.probe)(&ns));
            timed(took, || registry_works(&ns));
        });
        Prober { child, go, took }
    }

    fn probe(self) -> u32 {
        self.go.post(1);
        self.child.succeeds();
        self.took.load(SeqCst)
    }
}

static TOOK: std::sync::OnceLock<&'static [AtomicU32]> = std::sync::OnceLock::new();

/// Measures without the time in which other processes had the processor.
fn timed<T>(took: &AtomicU32, body: impl FnOnce() -> T) -> T {
    let waited = || {
        let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
        text.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let (before, begin) = (waited(), Instant::now());
    let result = body();
    let all = begin.elapsed().as_nanos() as u64;
    took.fetch_max((all.saturating_sub(waited() - before) / 1000) as u32, SeqCst);
    result
}
