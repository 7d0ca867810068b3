//! Killed at each instruction.

use super::Run;
use crate::support::*;
use quintet::Namespace;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Instant;

impl Run<'_> {
    /// Up to the victim: after the death of another one, if there is one. And one who survives.
    fn start(&self, scenario: &Scenario<'_>, first: Option<Place>, path: &Path) -> (Vec<Child>, Option<Prober>, Tracee) {
        let company = scenario.prepare(path);
        let survivor = scenario.furnished.then(|| Prober::start(scenario, path));
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

    /// A process at a place. If it goes another way, because a time has come or somebody else was quicker, another one is tried, and a third one.
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
            let reached = self.stepper.borrow_mut().go(&mut tracee, place);
            if reached == Reached::There || attempt == 3 {
                return (path, company, survivor, tracee, reached);
            }
            tracee.kill();
            drop((company, survivor));
            let _ = std::fs::remove_dir_all(&path);
        }
    }

    /// All places of what is killed.
    pub(super) fn places(&self, scenario: &Scenario<'_>, first: Option<Place>) -> Vec<Place> {
        let mut all = Vec::new();
        for (stretch, found) in self.stretches(scenario, first, false).into_iter().enumerate() {
            self.report.borrow_mut().instructions += found.instructions as usize;
            self.report.borrow_mut().calls += usize::from(!found.is_last());
            all.extend(found.places(stretch as u32));
        }
        all
    }

    /// Places after stores, and after system calls.
    pub(super) fn points(&self, scenario: &Scenario<'_>) -> Vec<Place> {
        let mut all = Vec::new();
        for (stretch, found) in self.stretches(scenario, None, true).into_iter().enumerate() {
            let begin = Place::begin_of(stretch as u32);
            all.push(begin);
            all.extend(found.stores.into_iter().map(|(nth, _)| Place { at: At::Instruction(nth, 0), ..begin }));
        }
        all
    }

    /// Places after stores, those with a lock held if there are any.
    pub(super) fn deaths(&self, scenario: &Scenario<'_>, most: usize) -> Vec<Place> {
        let (mut all, mut held) = (Vec::new(), Vec::new());
        for (stretch, found) in self.stretches(scenario, None, true).into_iter().enumerate() {
            for (nth, with_lock) in found.stores {
                let place = Place { at: At::Instruction(nth, 0), ..Place::begin_of(stretch as u32) };
                all.push(place);
                held.extend(with_lock.then_some(place));
            }
        }
        let from = if held.is_empty() { all } else { held };
        let step = from.len().div_ceil(most).max(1);
        from.into_iter().skip(step / 2).step_by(step).collect()
    }

    /// Each as it is found by a process that has come to it at full speed.
    fn stretches(&self, scenario: &Scenario<'_>, first: Option<Place>, watched: bool) -> Vec<Stretch> {
        let mut all = Vec::new();
        for stretch in 0.. {
            let path = self.fresh();
            let (company, survivor, mut tracee) = self.start(scenario, first, &path);
            let mut stepper = self.stepper.borrow_mut();
            let mut watch = Watch::new(&path);
            let found = (stepper.go(&mut tracee, Place::begin_of(stretch)) == Reached::There).then(|| {
                watch.reopen();
                stepper.survey(&mut tracee, watched.then_some(&mut watch))
            });
            tracee.kill();
            drop((company, survivor));
            let _ = std::fs::remove_dir_all(&path);
            let last = found.as_ref().is_none_or(Stretch::is_last);
            all.extend(found);
            if last {
                break;
            }
        }
        all
    }

    pub(super) fn kill_each(&self, scenario: &Scenario<'_>, first: Option<Place>, every: usize) {
        let places = self.places(scenario, first);
        let last = places.len() - 1;
        for (nth, place) in places.into_iter().enumerate() {
            if nth % every == nth / every % every || nth == last {
                self.one(&format!("{first:?} {place:?}"), || self.kill_at(scenario, first, place));
            }
        }
    }

    pub(super) fn kill_at(&self, scenario: &Scenario<'_>, first: Option<Place>, place: Place) {
        let (path, company, survivor, tracee, reached) = self.bring(scenario, first, place);
        // What the repairer has done is not the operation.
        set_completed(first.is_none() && (reached == Reached::End || place.at == At::End));
        let held = Watch::new(&path).lock_word() != 0;
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
        report.longest = report.longest.max(took);
        drop(report);
        assert!(took < 100_000, "the next operation took {took} µs");
        scenario.finish(&path, company);
    }
}

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
            go.wait();
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
