//! Kills at points: places at which other processes can see a change.

use super::Run;
use crate::support::*;

impl Scenario<'_> {
    /// Executes the plan of a run.
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
