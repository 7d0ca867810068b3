//! Deadlocks: cycles of processes that wait for each other's semaphores.
//!
//! A semaphore has no holder, but undo adjustments (`SEM_UNDO`) show one. A process with an
//! adjustment for a semaphore holds the units that the adjustment gives back.
//!
//! The analysis assumes that a process that is not blocked gives back everything that it holds.
//! Each process that can then proceed is assumed to do the same, until no further process can
//! proceed. A cycle among the remaining processes is a deadlock: only a process outside the cycle
//! can change what it waits for.
//!
//! A process that waits for its children waits for what they wait for. Shells do so, and
//! `quintet sem op SET OPS -- COMMAND` does.

use quintet::{Id, SemOp, SemWaiter, SetStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why a process waits for another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The other process holds semaphore `num`. At its exit, `adjust` is added to the value.
    Units { set: Id, num: u16, adjust: i16 },
    /// The other process is a child. The process waits for its exit.
    Child,
}

/// An edge of the graph: process `pid` waits for process `next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    pub pid: i32,
    pub next: i32,
    pub reason: Reason,
}

/// The processes of this PID namespace, and which of them waits for which.
pub struct WaitGraph {
    edges: BTreeMap<i32, Vec<Edge>>,
    /// The processes that cannot proceed even if all other processes give back what they hold.
    stuck: BTreeSet<i32>,
}

impl WaitGraph {
    /// Builds the graph. `children` returns the children that a process waits for.
    pub fn new(sets: &[SetStatus], children: impl Fn(i32) -> Vec<i32>) -> WaitGraph {
        let waiting = waiting(sets);
        let parents = parents(sets, &waiting, children);
        let stuck = stuck(sets, &waiting, &parents);
        let mut edges: BTreeMap<i32, Vec<Edge>> = BTreeMap::new();
        for (pid, waits) in &waiting {
            edges.entry(*pid).or_default().extend(waits.iter().flat_map(BlockedCall::edges));
        }
        for (&pid, children) in &parents {
            let child = |&next: &i32| Edge { pid, next, reason: Reason::Child };
            edges.entry(pid).or_default().extend(children.iter().map(child));
        }
        WaitGraph { edges, stuck }
    }

    /// Returns the edges from a process.
    pub fn edges(&self, pid: i32) -> impl Iterator<Item = &Edge> {
        self.edges.get(&pid).into_iter().flatten()
    }

    /// Returns the processes of `pids`, and all processes that they wait for, directly or not.
    pub fn reach(&self, pids: impl IntoIterator<Item = i32>) -> BTreeSet<i32> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<i32> = pids.into_iter().collect();
        while let Some(pid) = next.pop() {
            if seen.insert(pid) {
                next.extend(self.edges(pid).map(|edge| edge.next));
            }
        }
        seen
    }

    /// Returns the deadlocks. Each is a cycle that starts at its lowest pid. No process is in two
    /// of them.
    pub fn deadlocks(&self) -> Vec<Vec<Edge>> {
        let mut cycles: Vec<Vec<Edge>> = Vec::new();
        for &pid in &self.stuck {
            let known = |pid: i32| cycles.iter().flatten().any(|edge: &Edge| edge.pid == pid);
            if !known(pid)
                && let Some(cycle) = self.shortest_cycle(pid)
                && !cycle.iter().any(|edge| known(edge.pid))
            {
                cycles.push(cycle);
            }
        }
        cycles
    }

    /// Returns the shortest path from a process back to itself through stuck processes.
    fn shortest_cycle(&self, start: i32) -> Option<Vec<Edge>> {
        let mut seen = BTreeSet::new();
        let mut paths = VecDeque::from([Vec::new()]);
        while let Some(path) = paths.pop_front() {
            let at = path.last().map_or(start, |edge: &Edge| edge.next);
            for edge in self.edges(at).filter(|edge| self.stuck.contains(&edge.next)) {
                let longer = [&path[..], &[*edge]].concat();
                if edge.next == start {
                    return Some(longer);
                }
                if seen.insert(edge.next) {
                    paths.push_back(longer);
                }
            }
        }
        None
    }
}

/// Returns the operation that blocks a call.
pub fn blocking_op(waiter: &SemWaiter) -> Option<&SemOp> {
    waiter.ops.get(waiter.blocking).or(waiter.ops.first())
}

/// Returns `true` if the adjustment `adjust` brings the operation closer to proceeding.
pub fn helps(adjust: i16, op: &SemOp) -> bool {
    if op.op == 0 { adjust < 0 } else { adjust > 0 }
}

/// A blocked call, and its set.
#[derive(Clone, Copy)]
struct BlockedCall<'a> {
    index: usize,
    set: &'a SetStatus,
    waiter: &'a SemWaiter,
}

impl BlockedCall<'_> {
    /// Returns the edges to the holders of the semaphore that blocks the call.
    fn edges(&self) -> Vec<Edge> {
        let Some(op) = blocking_op(self.waiter) else { return Vec::new() };
        let holders = self.set.undo.iter().filter(|undo| undo.pid_visible);
        let held = holders.flat_map(|undo| undo.adjustments.iter().map(|&(num, adjust)| (undo.pid, num, adjust)));
        let (pid, set) = (self.waiter.pid, self.set.stat.id);
        held.filter(|(_, num, adjust)| *num == op.num && helps(*adjust, op))
            .map(|(next, num, adjust)| Edge { pid, next, reason: Reason::Units { set, num, adjust } })
            .collect()
    }
}

fn waiting(sets: &[SetStatus]) -> BTreeMap<i32, Vec<BlockedCall<'_>>> {
    let mut waiting: BTreeMap<i32, Vec<BlockedCall>> = BTreeMap::new();
    for (index, set) in sets.iter().enumerate() {
        for waiter in set.waiters.iter().filter(|waiter| waiter.pid_visible) {
            waiting.entry(waiter.pid).or_default().push(BlockedCall { index, set, waiter });
        }
    }
    waiting
}

/// Returns the awaited children of each holder that is not blocked at a semaphore, and of those
/// children in turn.
fn parents(
    sets: &[SetStatus],
    waiting: &BTreeMap<i32, Vec<BlockedCall>>,
    children: impl Fn(i32) -> Vec<i32>,
) -> BTreeMap<i32, Vec<i32>> {
    let mut parents = BTreeMap::new();
    if waiting.is_empty() {
        return parents;
    }
    let holders = sets.iter().flat_map(|set| &set.undo).filter(|undo| undo.pid_visible);
    let mut next: Vec<i32> = holders.map(|undo| undo.pid).collect();
    while let Some(pid) = next.pop() {
        if !waiting.contains_key(&pid) && !parents.contains_key(&pid) {
            let children = children(pid);
            next.extend(&children);
            parents.insert(pid, children);
        }
    }
    parents
}

/// The highest and the lowest value that each semaphore of each set can reach, as processes give
/// back what they hold.
struct Bounds(Vec<Vec<(i64, i64)>>);

impl Bounds {
    fn new(sets: &[SetStatus]) -> Bounds {
        Bounds(sets.iter().map(|set| set.semaphores.iter().map(|s| (s.value.into(), s.value.into())).collect()).collect())
    }

    fn change(&mut self, set: usize, num: u16, by: i16) {
        if let Some((high, low)) = self.0[set].get_mut(usize::from(num)) {
            *high += i64::from(by.max(0));
            *low += i64::from(by.min(0));
        }
    }

    /// Gives back everything that the selected processes hold. The pid is `None` in another PID
    /// namespace.
    fn release(&mut self, sets: &[SetStatus], is_selected: impl Fn(Option<i32>) -> bool) {
        for (index, set) in sets.iter().enumerate() {
            for undo in set.undo.iter().filter(|undo| is_selected(undo.pid_visible.then_some(undo.pid))) {
                undo.adjustments.iter().for_each(|&(num, adjust)| self.change(index, num, adjust));
            }
        }
    }

    /// Returns `true` if the call can proceed within the bounds, or if its values cannot be read.
    fn allows(&self, wait: &BlockedCall) -> bool {
        let mut done: BTreeMap<u16, i64> = BTreeMap::new();
        wait.waiter.ops.iter().all(|op| {
            let Some(&(high, low)) = self.0[wait.index].get(usize::from(op.num)) else { return true };
            let so_far = done.entry(op.num).or_default();
            let allowed = if op.op == 0 { low + *so_far <= 0 } else { high + *so_far + i64::from(op.op) >= 0 };
            *so_far += i64::from(op.op);
            allowed
        })
    }
}

/// Returns the processes that wait and cannot proceed even if all other processes give back what
/// they hold.
///
/// A process that waits for children can proceed as soon as one of them can.
fn stuck(sets: &[SetStatus], waiting: &BTreeMap<i32, Vec<BlockedCall>>, parents: &BTreeMap<i32, Vec<i32>>) -> BTreeSet<i32> {
    let with_children = parents.iter().filter(|(_, children)| !children.is_empty()).map(|(pid, _)| *pid);
    let mut stuck: BTreeSet<i32> = waiting.keys().copied().chain(with_children).collect();
    let mut bounds = Bounds::new(sets);
    bounds.release(sets, |pid| pid.is_none_or(|pid| !stuck.contains(&pid)));
    let can_proceed = |pid: i32, stuck: &BTreeSet<i32>, bounds: &Bounds| match waiting.get(&pid) {
        Some(waits) => waits.iter().any(|wait| bounds.allows(wait)),
        None => parents.get(&pid).is_none_or(|children| children.iter().any(|child| !stuck.contains(child))),
    };
    while let Some(pid) = stuck.iter().copied().find(|pid| can_proceed(*pid, &stuck, &bounds)) {
        stuck.remove(&pid);
        for wait in waiting.get(&pid).into_iter().flatten() {
            wait.waiter.ops.iter().for_each(|op| bounds.change(wait.index, op.num, op.op));
        }
        bounds.release(sets, |released| released == Some(pid));
    }
    stuck
}

#[cfg(test)]
mod tests {
    use super::*;
    use quintet::{Key, Permissions, SemUndo, SemaphoreStatus, SetStat};

    fn set(index: u16, values: &[u16]) -> SetStatus {
        let nsems = values.len() as u32;
        let stat = SetStat { key: Key::PRIVATE, id: Id::new(0, index), perm: Permissions::default(), otime: 0, ctime: 0, nsems };
        let semaphores = values.iter().map(|&value| SemaphoreStatus { value, ..SemaphoreStatus::default() }).collect();
        SetStatus { stat, semaphores, waiters: Vec::new(), undo: Vec::new(), orphan: false }
    }

    fn waits(mut set: SetStatus, pid: i32, ops: &[(u16, i16)]) -> SetStatus {
        let ops = ops.iter().map(|&(num, op)| SemOp::new(num, op)).collect();
        set.waiters.push(SemWaiter { pid, tid: pid, uid: 0, pid_visible: true, ops, blocking: 0, since: 0 });
        set
    }

    fn holds(mut set: SetStatus, pid: i32, num: u16, adjust: i16) -> SetStatus {
        set.undo.push(SemUndo { pid, uid: 0, pid_visible: true, adjustments: vec![(num, adjust)] });
        set
    }

    fn units(pid: i32, num: u16, next: i32) -> Edge {
        Edge { pid, next, reason: Reason::Units { set: Id::new(0, 3), num, adjust: 1 } }
    }

    /// Returns the pids of each deadlock.
    fn deadlocks(sets: &[SetStatus]) -> Vec<Vec<i32>> {
        let deadlocks = WaitGraph::new(sets, |_| Vec::new()).deadlocks();
        deadlocks.iter().map(|cycle| cycle.iter().map(|edge| edge.pid).collect()).collect()
    }

    /// Two locks. Process 1 holds the first and waits for the second; process 2 does the reverse.
    fn crossed() -> SetStatus {
        let set = holds(holds(set(3, &[0, 0]), 1, 0, 1), 2, 1, 1);
        waits(waits(set, 1, &[(1, -1)]), 2, &[(0, -1)])
    }

    #[test]
    fn two_processes_that_wait_for_each_other() {
        let graph = WaitGraph::new(&[crossed()], |_| Vec::new());
        assert_eq!(graph.deadlocks(), [[units(1, 1, 2), units(2, 0, 1)]]);
        assert_eq!(graph.reach([2]), BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_cycle_across_three_sets_excludes_a_waiter_behind_it() {
        let a = waits(waits(holds(set(0, &[0]), 10, 0, 1), 30, &[(0, -1)]), 40, &[(0, -1)]);
        let b = waits(holds(set(1, &[0]), 20, 0, 1), 10, &[(0, -1)]);
        let c = waits(holds(set(2, &[0]), 30, 0, 1), 20, &[(0, -1)]);
        assert_eq!(deadlocks(&[a, b, c]), [[10, 20, 30]]);
    }

    #[test]
    fn a_process_that_waits_for_what_it_holds() {
        assert_eq!(deadlocks(&[waits(holds(set(0, &[0]), 5, 0, 1), 5, &[(0, -1)])]), [[5]]);
    }

    #[test]
    fn a_wait_for_zero_is_held_up_by_the_process_that_raised_the_value() {
        let a = waits(holds(set(0, &[1, 0]), 1, 1, 1), 1, &[(0, 0)]);
        assert_eq!(deadlocks(&[waits(holds(a, 2, 0, -1), 2, &[(1, -1)])]), [[1, 2]]);
    }

    #[test]
    fn a_third_process_that_can_give_resolves_the_cycle() {
        // Process 3 holds a unit that process 1 waits for, and is not blocked.
        assert!(deadlocks(&[holds(crossed(), 3, 1, 1)]).is_empty());
        // Process 3 waits for a unit that is available.
        let three = waits(holds(crossed(), 3, 1, 1), 3, &[(2, -1)]);
        let mut free = three.clone();
        free.semaphores.push(SemaphoreStatus { value: 1, ..SemaphoreStatus::default() });
        assert!(deadlocks(&[free]).is_empty());
        // Process 3 waits for a unit that does not exist, so processes 1 and 2 stay blocked.
        let mut never = three;
        never.semaphores.push(SemaphoreStatus::default());
        assert_eq!(deadlocks(&[never]), [[1, 2]]);
    }

    #[test]
    fn a_wait_without_a_blocked_holder_is_no_deadlock() {
        assert!(deadlocks(&[waits(set(0, &[0]), 1, &[(0, -1)])]).is_empty());
        assert!(deadlocks(&[waits(holds(set(0, &[0]), 2, 0, 1), 1, &[(0, -1)])]).is_empty());
        assert!(deadlocks(&[]).is_empty());
    }

    #[test]
    fn a_parent_waits_for_what_its_children_wait_for() {
        // Process 1 waits for its child 11, which waits for its child 111, which waits for process
        // 2. Process 2 waits for its child 22, which waits for process 1.
        let set = holds(holds(set(3, &[0, 0]), 1, 0, 1), 2, 1, 1);
        let set = waits(waits(set, 111, &[(1, -1)]), 22, &[(0, -1)]);
        let child = |pid, next| Edge { pid, next, reason: Reason::Child };
        let family = |pid| match pid {
            1 => vec![11],
            11 => vec![111],
            2 => vec![22],
            _ => Vec::new(),
        };
        let cycle = [child(1, 11), child(11, 111), units(111, 1, 2), child(2, 22), units(22, 0, 1)];
        assert_eq!(WaitGraph::new(std::slice::from_ref(&set), family).deadlocks(), [cycle]);
        // Another child of process 2 is not blocked, and may exit first.
        let busy = |pid| if pid == 2 { vec![22, 23] } else { family(pid) };
        assert!(WaitGraph::new(std::slice::from_ref(&set), busy).deadlocks().is_empty());
        assert!(WaitGraph::new(&[set], |_| Vec::new()).deadlocks().is_empty());
    }

    #[test]
    fn pids_of_another_pid_namespace_are_ignored() {
        let mut set = crossed();
        set.waiters[0].pid_visible = false;
        assert!(deadlocks(&[set]).is_empty());
    }

    #[test]
    fn invalid_numbers_do_no_harm() {
        let mut set = waits(crossed(), 3, &[]);
        set.waiters[0].blocking = 99;
        set.waiters.push(SemWaiter { ops: vec![SemOp::new(65535, i16::MIN)], ..set.waiters[1].clone() });
        set.undo.push(SemUndo { pid: 3, uid: 0, pid_visible: true, adjustments: vec![(65535, i16::MAX)] });
        WaitGraph::new(&[set], |pid| vec![pid, 7]).deadlocks();
    }
}
