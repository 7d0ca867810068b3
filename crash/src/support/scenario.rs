//! A process that is killed, or stopped, in the midst of what it does; and what must be true then.

use super::*;
use crate::campaign::Run;
use quintet::{Errno, Kind, Namespace};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What is killed, and what must be true then.
pub struct Scenario<'a> {
    pub kind: Kind,
    /// Whether there is a namespace before.
    pub furnished: bool,
    /// In a process of its own that ends before.
    pub setup: &'a dyn Fn(&Namespace),
    /// Others, who are there all the time.
    pub company: &'a dyn Fn(&Path) -> Vec<Child>,
    /// In the process to be killed, before what is traced.
    pub prelude: &'a dyn Fn(&Namespace),
    pub victim: &'a dyn Fn(&Namespace),
    /// In place of the two, for one that has something in hand: calls `begin` and `finish`.
    pub process: Option<&'a dyn Fn(&Path)>,
    /// It is the child that is killed: where its parent is kept.
    pub newborn: Option<&'a RefCell<Option<Child>>>,
    /// After the victim's death. What is left is whole, and is cleared.
    pub check: &'a dyn Fn(&Path, Vec<Child>),
    /// After that: takes away all that is there.
    pub clear: &'a dyn Fn(&Path, &Namespace),
    /// No more than so many points, unless it is said which.
    pub most: usize,
    /// Whether its stores are points. Before there is a namespace nobody sees them.
    pub stores: bool,
    /// Whether it is the same each time.
    pub steady: bool,
    /// What must succeed at once after a death, and leaves all as it is: on the object, if it is there.
    pub probe: &'a dyn Fn(&Namespace),
    /// What finds out what the dead one has left, and makes it good.
    pub repair: &'a dyn Fn(&Namespace),
    pub attempt: Attempt<'a>,
}

/// A call with or without a time.
pub type Tried = dyn Fn(&Namespace, Option<Duration>) -> Result<(), Errno>;

/// What others try while a process is stopped.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// It needs what the stopped one may hold.
    pub call: &'a Tried,
    /// What it says when its time is over; else it knows no time.
    pub timed_out: Option<Errno>,
    /// It has been done so often. Takes it back.
    pub settle: &'a dyn Fn(&Namespace, u32),
}

pub fn nothing(_: &Namespace) {}

pub fn nobody(_: &Path) -> Vec<Child> {
    Vec::new()
}

/// Makes and removes an object: needs the registry's lock.
pub fn registry_works(ns: &Namespace) {
    let set = ns.semget(quintet::Key::PRIVATE, 1, 0o600).unwrap();
    ns.sem_remove(set.raw()).unwrap();
}

impl Default for Attempt<'_> {
    fn default() -> Self {
        let call = &|ns: &Namespace, _: Option<Duration>| {
            registry_works(ns);
            Ok(())
        };
        Attempt { call, timed_out: None, settle: &|_, _| {} }
    }
}

impl Default for Scenario<'_> {
    fn default() -> Self {
        Scenario {
            kind: Kind::Private,
            furnished: true,
            setup: &nothing,
            company: &nobody,
            prelude: &nothing,
            victim: &nothing,
            process: None,
            newborn: None,
            check: &|_, _| {},
            clear: &|_, _| {},
            most: usize::MAX,
            stores: true,
            steady: false,
            probe: &nothing,
            repair: &|ns| ns.sweep().unwrap(),
            attempt: Attempt::default(),
        }
    }
}

static COMPLETED: AtomicBool = AtomicBool::new(false);

/// Whether the victim's operation had returned when it died: then what it did is there.
pub fn completed() -> bool {
    COMPLETED.load(SeqCst)
}

pub fn set_completed(completed: bool) {
    COMPLETED.store(completed, SeqCst);
}

impl Scenario<'_> {
    /// What is there before anybody else comes.
    pub fn prepare(&self, path: &Path) {
        set_completed(false);
        discard_forked();
        if self.furnished {
            fork(|| (self.setup)(&Namespace::create(path, self.kind).unwrap())).succeeds();
        }
    }

    /// The process that is to be killed, before it does anything.
    pub fn victim(&self, path: &Path) -> Tracee {
        let mut tracee = self.traced(path);
        let Some(kept) = self.newborn else { return tracee };
        loop {
            match tracee.next() {
                Stop::Forked(pid) => {
                    kept.replace(Some(tracee.release(0)));
                    return Tracee::newborn(pid);
                }
                stop => assert_eq!(stop, Stop::Call),
            }
        }
    }

    fn traced(&self, path: &Path) -> Tracee {
        Tracee::start(|| {
            if let Some(process) = self.process {
                return process(path);
            }
            let ns = Namespace::open(path).unwrap();
            (self.prelude)(&ns);
            begin();
            (self.victim)(&ns);
            finish();
        })
    }

    /// Who makes good what a dead one has left, before he does anything.
    pub fn repairer(&self, path: &Path) -> Tracee {
        if !self.furnished {
            return self.victim(path);
        }
        Tracee::start(|| {
            let ns = Namespace::open(path).unwrap();
            begin();
            (self.repair)(&ns);
            finish();
        })
    }

    fn start(&self, path: &Path) -> (Vec<Child>, Tracee) {
        self.prepare(path);
        ((self.company)(path), self.victim(path))
    }

    pub fn finish(&self, path: &Path, company: Vec<Child>) {
        (self.check)(path, company);
        if self.furnished {
            fork(|| (self.clear)(path, &Namespace::open(path).unwrap())).succeeds();
        }
        let _ = std::fs::remove_dir_all(path);
    }

    pub fn run(&self, run: &Run) {
        run.carry_out(self);
    }

    /// All points at which others see something new.
    pub fn all_points(&self, run: &Run) -> Vec<Point> {
        let path = run.fresh();
        let (company, tracee) = self.start(&path);
        let points = tracee.all_points(&mut Watch::new(&path), self.stores);
        drop(company);
        let _ = std::fs::remove_dir_all(&path);
        points
    }

    /// Kills at points, not at instructions.
    pub fn kill_at_points(&self, run: &Run, thinned: usize) {
        let points = self.all_points(run);
        let every = thinned * if self.steady { 1 } else { 2 }.max(points.len().div_ceil(self.most));
        let (mut held, mut missed) = (0, 0);
        let points: Vec<Point> = points.into_iter().step_by(every).collect();
        for point in &points {
            let path = run.fresh();
            let (company, mut tracee) = self.start(&path);
            missed += usize::from(!tracee.run_to(*point, &mut Watch::new(&path)));
            held += u32::from(tracee.lock_held);
            tracee.kill();
            println!("{}: killed at {point:?}", run.name);
            self.finish(&path, company);
        }
        println!("{}: {} points, {held} with a lock held; {missed} not reached", run.name, points.len());
        // Where others store, too, they do so each time at another point.
        assert!(!self.steady || missed <= 2 + points.len() / 4);
    }
}
