//! A process that is killed at each point of what it does, one after the other.
//!
//! `QUINTET_CRASH_EVERY=n` takes every n-th point; without it it is each, or each second one where others store, too.

use super::*;
use quintet::{Kind, Namespace};

/// What is killed, and what must be true then.
pub struct Scenario<'a> {
    pub name: &'a str,
    pub kind: Kind,
    /// In a process of its own that ends before.
    pub setup: &'a dyn Fn(&Namespace),
    /// Others, who are there all the time.
    pub company: &'a dyn Fn(&Path) -> Vec<Child>,
    /// In the process to be killed, before what is traced.
    pub prelude: &'a dyn Fn(&Namespace),
    pub victim: &'a dyn Fn(&Namespace),
    /// After the victim's death. What is left is whole, and is cleared.
    pub check: &'a dyn Fn(&Path, Vec<Child>),
    /// After that: takes away all that is there.
    pub clear: &'a dyn Fn(&Path, &Namespace),
    /// No more than so many points, unless it is said which.
    pub most: usize,
    /// Whether it is the same each time.
    pub steady: bool,
}

pub fn nothing(_: &Namespace) {}

pub fn nobody(_: &Path) -> Vec<Child> {
    Vec::new()
}

impl Default for Scenario<'_> {
    fn default() -> Self {
        Scenario {
            name: "",
            kind: Kind::Private,
            setup: &nothing,
            company: &nobody,
            prelude: &nothing,
            victim: &nothing,
            check: &|_, _| {},
            clear: &|_, _| {},
            most: usize::MAX,
            steady: false,
        }
    }
}

impl Scenario<'_> {
    fn start(&self, path: &Path) -> (Vec<Child>, Tracee) {
        fork(|| (self.setup)(&Namespace::create(path, self.kind).unwrap())).succeeds();
        let company = (self.company)(path);
        let tracee = Tracee::start(|| {
            let ns = Namespace::open(path).unwrap();
            (self.prelude)(&ns);
            begin();
            (self.victim)(&ns);
            finish();
        });
        (company, tracee)
    }

    pub fn run(&self, directory: &Path) {
        let path = directory.join(format!("{}-points", self.name));
        let (company, tracee) = self.start(&path);
        let points = tracee.all_points(&mut Watch::new(&path), true);
        drop(company);
        let every = std::env::var("QUINTET_CRASH_EVERY").ok().and_then(|n| n.parse().ok());
        let every = every.unwrap_or(if self.steady { 1 } else { 2 }.max(points.len().div_ceil(self.most)));
        let (mut held, mut missed) = (0, 0);
        let points: Vec<Point> = points.into_iter().step_by(every).collect();
        for (i, point) in points.iter().enumerate() {
            let path = directory.join(format!("{}-{i}", self.name));
            let (company, mut tracee) = self.start(&path);
            missed += usize::from(!tracee.run_to(*point, &mut Watch::new(&path)));
            held += u32::from(tracee.lock_held);
            tracee.kill();
            println!("{}: killed at {point:?}", self.name);
            (self.check)(&path, company);
            fork(|| (self.clear)(&path, &Namespace::open(&path).unwrap())).succeeds();
            let _ = std::fs::remove_dir_all(&path);
        }
        println!("{}: {} points, {held} with a lock held; {missed} not reached", self.name, points.len());
        // Where others store, too, they do so each time at another point.
        assert!(!self.steady || missed <= 2 + points.len() / 4);
    }
}
