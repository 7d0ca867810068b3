//! A process that is killed or stopped during an operation, and the condition afterwards.

use super::*;
use crate::campaign::Run;
use quintet::{Errno, Kind, Namespace};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// An operation, and the condition after a kill or stop.
pub struct Scenario<'a> {
    pub kind: Kind,
    /// `true` if the namespace exists before.
    pub has_namespace: bool,
    /// Runs before, in a process of its own.
    pub setup: &'a dyn Fn(&Namespace),
    /// Starts other processes that exist all the time.
    pub peers: &'a dyn Fn(&Path) -> Vec<Child>,
    /// Runs in the victim before the traced part.
    pub warm_up: &'a dyn Fn(&Namespace),
    pub victim: &'a dyn Fn(&Namespace),
    /// Replaces `warm_up` and `victim` for a victim that keeps values across `begin`. Calls `begin`
    /// and `finish`.
    pub process: Option<&'a dyn Fn(&Path)>,
    /// If set, the victim is the forked child, and its parent is kept here.
    pub forked_child: Option<&'a RefCell<Option<Child>>>,
    /// Checks the state after the kill, which must be consistent.
    pub check: &'a dyn Fn(&Path, Vec<Child>),
    /// Removes all objects after the check.
    pub clear: &'a dyn Fn(&Path, &Namespace),
    /// Maximal number of points, unless the plan selects all.
    pub max_points: usize,
    /// `true` if stores are points. Before a namespace exists no process sees them.
    pub stores: bool,
    /// `true` if the operation takes the same path each time.
    pub deterministic: bool,
    /// A call that must succeed at once after a kill and change nothing.
    pub probe: &'a dyn Fn(&Namespace),
    /// Notices what the killed process left, and repairs it.
    pub repair: &'a dyn Fn(&Namespace),
    pub attempt: Attempt<'a>,
}

/// A call with or without a timeout.
pub type AttemptCall = dyn Fn(&Namespace, Option<Duration>) -> Result<(), Errno>;

/// What other processes try while a process is stopped.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// A call that needs what the stopped process may hold.
    pub call: &'a AttemptCall,
    /// The errno of the call after its timeout. `None` if the call has no timeout.
    pub timed_out: Option<Errno>,
    /// Reverts this many successful calls.
    pub revert: &'a dyn Fn(&Namespace, u32),
}

pub fn nothing(_: &Namespace) {}

pub fn no_peers(_: &Path) -> Vec<Child> {
    Vec::new()
}

/// Creates and removes an object, which needs the registry's lock.
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
        Attempt { call, timed_out: None, revert: &|_, _| {} }
    }
}

impl Default for Scenario<'_> {
    fn default() -> Self {
        Scenario {
            kind: Kind::Private,
            has_namespace: true,
            setup: &nothing,
            peers: &no_peers,
            warm_up: &nothing,
            victim: &nothing,
            process: None,
            forked_child: None,
            check: &|_, _| {},
            clear: &|_, _| {},
            max_points: usize::MAX,
            stores: true,
            deterministic: false,
            probe: &nothing,
            repair: &|ns| ns.sweep().unwrap(),
            attempt: Attempt::default(),
        }
    }
}

static COMPLETED: AtomicBool = AtomicBool::new(false);

/// Returns `true` if the operation had returned before the kill. Its effects must then be there.
pub fn completed() -> bool {
    COMPLETED.load(SeqCst)
}

pub fn set_completed(completed: bool) {
    COMPLETED.store(completed, SeqCst);
}

impl Scenario<'_> {
    /// Creates the namespace and runs `setup`.
    pub fn prepare(&self, path: &Path) {
        set_completed(false);
        discard_forked();
        if self.has_namespace {
            fork(|| (self.setup)(&Namespace::create(path, self.kind).unwrap())).succeeds();
        }
    }

    /// Starts the victim and returns it at the beginning of the traced part.
    pub fn victim(&self, path: &Path) -> Tracee {
        let mut tracee = self.traced(path);
        let Some(kept) = self.forked_child else { return tracee };
        loop {
            match tracee.next() {
                Stop::Forked(pid) => {
                    kept.replace(Some(tracee.release(0)));
                    return Tracee::forked_child(pid);
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
            (self.warm_up)(&ns);
            begin();
            (self.victim)(&ns);
            finish();
        })
    }

    /// Starts the process that repairs, and returns it before it does anything.
    pub fn repairer(&self, path: &Path) -> Tracee {
        if !self.has_namespace {
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
        ((self.peers)(path), self.victim(path))
    }

    pub fn finish(&self, path: &Path, peers: Vec<Child>) {
        (self.check)(path, peers);
        if self.has_namespace {
            fork(|| (self.clear)(path, &Namespace::open(path).unwrap())).succeeds();
        }
        let _ = std::fs::remove_dir_all(path);
    }

    pub fn run(&self, run: &Run) {
        run.execute_plan(self);
    }

    /// Returns all points at which other processes can see a change.
    pub fn all_points(&self, run: &Run) -> Vec<Point> {
        let path = run.fresh();
        let (peers, tracee) = self.start(&path);
        let points = tracee.all_points(&mut Watch::new(&path), self.stores);
        drop(peers);
        let _ = std::fs::remove_dir_all(&path);
        points
    }

    /// Kills at points instead of instructions.
    pub fn kill_at_points(&self, run: &Run, thinning: usize) {
        let points = self.all_points(run);
        let every = thinning * if self.deterministic { 1 } else { 2 }.max(points.len().div_ceil(self.max_points));
        let (mut held, mut missed) = (0, 0);
        let points: Vec<Point> = points.into_iter().step_by(every).collect();
        for point in &points {
            let path = run.fresh();
            let (peers, mut tracee) = self.start(&path);
            missed += usize::from(!tracee.run_to(*point, &mut Watch::new(&path)));
            held += u32::from(tracee.lock_held);
            tracee.kill();
            println!("{}: killed at {point:?}", run.name);
            self.finish(&path, peers);
        }
        println!("{}: {} points, {held} with a lock held; {missed} not reached", run.name, points.len());
        // If other processes store at the same time, the points differ between runs.
        assert!(!self.deterministic || missed <= 2 + points.len() / 4);
    }
}
