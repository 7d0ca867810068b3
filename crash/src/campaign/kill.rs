//! Killed at each instruction.

use super::{Run, Which};
use crate::support::*;
use quintet::Namespace;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

impl Run<'_> {
    /// Up to the victim: after the death of another one, if there is one. And one who survives.
    fn start(&self, scenario: &Scenario<'_>, first: Option<Place>, path: &Path) -> (Vec<Child>, Option<Prober>, Tracee) {
        scenario.prepare(path);
        // Before the others: it must not make good what one of them leaves.
        let survivor = scenario.furnished.then(|| Prober::start(scenario, path));
        let company = (scenario.company)(path);
        let tracee = match first {
            None => scenario.victim(path),
            Some(place) => {
                let mut first = scenario.victim(path);
                self.stepper.borrow_mut().go(&mut first, place);
                first.kill();
                scenario.repairer(path)
            }
        };
        (company, survivor, tracee)
    }

    /// A process at a place. If it goes another way, because a time has come, a name is another, or somebody else was quicker, it is tried by what
    /// others find there, and once more.
    pub(super) fn bring(
        &self,
        scenario: &Scenario<'_>,
        first: Option<Place>,
        place: Place,
    ) -> (PathBuf, Vec<Child>, Option<Prober>, Tracee, Reached) {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let path = self.fresh();
            let (company, survivor, mut tracee) = self.start(scenario, first, &path);
            let mut stepper = self.stepper.borrow_mut();
            let reached = if attempt == 1 { stepper.go(&mut tracee, place) } else { stepper.go_by_changes(&mut tracee, place) };
            drop(stepper);
            if reached == Reached::There || attempt == 3 {
                return (path, company, survivor, tracee, reached);
            }
            tracee.kill();
            drop((company, survivor));
            let _ = std::fs::remove_dir_all(&path);
        }
    }

    /// What is killed, each stretch as it is found by a process that has come to it at full speed.
    pub(super) fn stretches(&self, scenario: &Scenario<'_>, first: Option<Place>) -> Vec<Stretch> {
        let mut all = Vec::new();
        for stretch in 0.. {
            let path = self.fresh();
            let (company, survivor, mut tracee) = self.start(scenario, first, &path);
            let mut stepper = self.stepper.borrow_mut();
            let there = stepper.go(&mut tracee, Place::begin_of(stretch)) == Reached::There;
            let found = there.then(|| stepper.survey(&mut tracee, &path));
            tracee.kill();
            drop((company, survivor));
            let _ = std::fs::remove_dir_all(&path);
            let last = found.as_ref().is_none_or(Stretch::is_last);
            all.extend(found);
            if last {
                break;
            }
        }
        let mut report = self.report.borrow_mut();
        report.instructions += all.iter().map(|found| found.instructions as usize).sum::<usize>();
        report.calls += all.iter().filter(|found| !found.is_last()).count();
        all
    }

    /// The places at which something is done.
    pub(super) fn chosen(&self, scenario: &Scenario<'_>, first: Option<Place>, which: Which) -> Vec<Place> {
        let (places, distinct) = which.of(&self.stretches(scenario, first));
        self.report.borrow_mut().distinct += distinct;
        places
    }

    pub(super) fn kill_each(&self, scenario: &Scenario<'_>, first: Option<Place>, which: Which) {
        for place in self.chosen(scenario, first, which) {
            self.one(&format!("{first:?} {place:?}"), || self.kill_at(scenario, first, place));
        }
    }

    pub(super) fn kill_at(&self, scenario: &Scenario<'_>, first: Option<Place>, place: Place) {
        // On a machine that does something else, too, a call may be late for that; it is not so each time. Tests do not measure.
        let (tries, soon) = if self.is_short() { (1, u32::MAX) } else { (TRIES, SOON) };
        let took = (0..tries).map(|_| self.kill_once(scenario, first, place)).find(|took| *took <= soon);
        let took = took.unwrap_or_else(|| panic!("the next operation took more than {soon} µs, {tries} times"));
        let mut report = self.report.borrow_mut();
        report.longest = report.longest.max(took);
    }

    /// Returns how many microseconds later the next operation had succeeded.
    fn kill_once(&self, scenario: &Scenario<'_>, first: Option<Place>, place: Place) -> u32 {
        let (path, company, survivor, tracee, reached) = self.bring(scenario, first, place);
        // What the repairer has done is not the operation.
        let is_last = reached == Reached::There && place.at == At::End;
        set_completed(first.is_none() && (reached == Reached::End || is_last));
        let held = lock_words(&path) != [0; 3];
        if place.at != At::Asleep {
            println!("{place:?}: {reached:?} at {:#x}, lock held: {held}", registers(&tracee).rip);
        }
        tracee.kill();
        let took = match survivor {
            // One who is there all the time, or one who comes.
            Some(survivor) if self.number.get().is_multiple_of(2) => survivor.probe(),
            Some(_) => Prober::start_new(scenario, &path).probe(),
            None => 0,
        };
        let mut report = self.report.borrow_mut();
        report.elsewhere += usize::from(reached != Reached::There);
        report.with_lock += usize::from(held);
        drop(report);
        scenario.finish(&path, company);
        took
    }
}

/// So many microseconds after a death the next operation has succeeded.
const SOON: u32 = 100_000;
const TRIES: u32 = 10;

/// A process that does something and says how long it took.
pub(super) struct Prober {
    child: Child,
    go: Signpost,
    took: &'static AtomicU32,
}

impl Prober {
    /// One who has used the object already.
    fn start(scenario: &Scenario<'_>, path: &Path) -> Prober {
        let ready = Signpost::new();
        let prober = Prober::spawn(scenario, path, || {
            let ns = Namespace::open(path).unwrap();
            (scenario.probe)(&ns);
            ready.tell(1);
            Some(ns)
        });
        until("the survivor is there", || tells(&ready) || prober.child.has_ended());
        assert!(tells(&ready), "the survivor has ended");
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
        self.go.tell(1);
        self.child.succeeds();
        self.took.load(SeqCst)
    }
}

static TOOK: std::sync::OnceLock<&'static [AtomicU32]> = std::sync::OnceLock::new();

/// Without the time in which others had the processor.
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
