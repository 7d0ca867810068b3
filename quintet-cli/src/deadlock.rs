//! Processes that wait for each other: circles in who waits for whose units, as far as `SEM_UNDO` tells who has them.
//!
//! Whoever holds units and does not wait is presumed to give them back, and whoever could then go on to do the same. A circle
//! among those who are left is a deadlock: only somebody who is not in it could still raise (or lower) what it waits for.
//! A process that waits for its children, as shells do and `quintet sem op SET OPS -- COMMAND`, waits for what they wait for.

use quintet::{Id, SemOp, SemWaiter, SetStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why a process cannot go on before another one does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The other one has units of semaphore `num`: `adjust` is added to it when that one ends.
    Units { set: Id, num: u16, adjust: i16 },
    /// The other one is its child, for whose end it waits.
    Child,
}

/// `pid` waits for `next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    pub pid: i32,
    pub next: i32,
    pub reason: Reason,
}

/// Who waits for whom among the processes of this PID namespace.
pub struct Graph {
    links: BTreeMap<i32, Vec<Link>>,
    /// Those who cannot go on although all others give back what they have.
    stuck: BTreeSet<i32>,
}

impl Graph {
    /// `children` tells for which children a process waits; for none if it does something else.
    pub fn new(sets: &[SetStatus], children: impl Fn(i32) -> Vec<i32>) -> Graph {
        let waiting = waiting(sets);
        let parents = parents(sets, &waiting, children);
        let stuck = stuck(sets, &waiting, &parents);
        let mut links: BTreeMap<i32, Vec<Link>> = BTreeMap::new();
        for (pid, waits) in &waiting {
            links.entry(*pid).or_default().extend(waits.iter().flat_map(Wait::links));
        }
        for (&pid, children) in &parents {
            let child = |&next: &i32| Link { pid, next, reason: Reason::Child };
            links.entry(pid).or_default().extend(children.iter().map(child));
        }
        Graph { links, stuck }
    }

    /// For whom a process waits.
    pub fn links(&self, pid: i32) -> impl Iterator<Item = &Link> {
        self.links.get(&pid).into_iter().flatten()
    }

    /// The processes of `pids`, and all behind whom they wait.
    pub fn reach(&self, pids: impl IntoIterator<Item = i32>) -> BTreeSet<i32> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<i32> = pids.into_iter().collect();
        while let Some(pid) = next.pop() {
            if seen.insert(pid) {
                next.extend(self.links(pid).map(|link| link.next));
            }
        }
        seen
    }

    /// The deadlocks: circles, each starting at its lowest pid. No process is in two.
    pub fn circles(&self) -> Vec<Vec<Link>> {
        let mut circles: Vec<Vec<Link>> = Vec::new();
        for &pid in &self.stuck {
            let known = |pid: i32| circles.iter().flatten().any(|link: &Link| link.pid == pid);
            if !known(pid)
                && let Some(circle) = self.shortest(pid)
                && !circle.iter().any(|link| known(link.pid))
            {
                circles.push(circle);
            }
        }
        circles
    }

    /// The shortest way from a process back to itself, among those who are stuck.
    fn shortest(&self, start: i32) -> Option<Vec<Link>> {
        let mut seen = BTreeSet::new();
        let mut ways = VecDeque::from([Vec::new()]);
        while let Some(way) = ways.pop_front() {
            let at = way.last().map_or(start, |link: &Link| link.next);
            for link in self.links(at).filter(|link| self.stuck.contains(&link.next)) {
                let longer = [&way[..], &[*link]].concat();
                if link.next == start {
                    return Some(longer);
                }
                if seen.insert(link.next) {
                    ways.push_back(longer);
                }
            }
        }
        None
    }
}

/// The operation of a waiting call that could not proceed.
pub fn blocking(waiter: &SemWaiter) -> Option<&SemOp> {
    waiter.ops.get(waiter.blocking).or(waiter.ops.first())
}

/// Whether what is taken back from a semaphore, `adjust`, helps the operation to proceed.
pub fn helps(adjust: i16, op: &SemOp) -> bool {
    if op.op == 0 { adjust < 0 } else { adjust > 0 }
}

/// A call that waits, and its set.
#[derive(Clone, Copy)]
struct Wait<'a> {
    index: usize,
    set: &'a SetStatus,
    waiter: &'a SemWaiter,
}

impl Wait<'_> {
    /// To those who have what it waits for.
    fn links(&self) -> Vec<Link> {
        let Some(op) = blocking(self.waiter) else { return Vec::new() };
        let holders = self.set.undo.iter().filter(|undo| undo.pid_visible);
        let held = holders.flat_map(|undo| undo.adjustments.iter().map(|&(num, adjust)| (undo.pid, num, adjust)));
        let (pid, set) = (self.waiter.pid, self.set.stat.id);
        held.filter(|(_, num, adjust)| *num == op.num && helps(*adjust, op))
            .map(|(next, num, adjust)| Link { pid, next, reason: Reason::Units { set, num, adjust } })
            .collect()
    }
}

fn waiting(sets: &[SetStatus]) -> BTreeMap<i32, Vec<Wait<'_>>> {
    let mut waiting: BTreeMap<i32, Vec<Wait>> = BTreeMap::new();
    for (index, set) in sets.iter().enumerate() {
        for waiter in set.waiters.iter().filter(|waiter| waiter.pid_visible) {
            waiting.entry(waiter.pid).or_default().push(Wait { index, set, waiter });
        }
    }
    waiting
}

/// Of those who hold something and do not wait for a semaphore: the children for whom they wait, and those children's.
fn parents(
    sets: &[SetStatus],
    waiting: &BTreeMap<i32, Vec<Wait>>,
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

/// The highest and the lowest value that each semaphore of each set may come to, as more and more is given back.
struct Reach(Vec<Vec<(i64, i64)>>);

impl Reach {
    fn new(sets: &[SetStatus]) -> Reach {
        Reach(sets.iter().map(|set| set.semaphores.iter().map(|s| (s.value.into(), s.value.into())).collect()).collect())
    }

    fn change(&mut self, set: usize, num: u16, by: i16) {
        if let Some((high, low)) = self.0[set].get_mut(usize::from(num)) {
            *high += i64::from(by.max(0));
            *low += i64::from(by.min(0));
        }
    }

    /// Gives back everything that those have of whom `who` is true; pids of elsewhere are `None`.
    fn release(&mut self, sets: &[SetStatus], who: impl Fn(Option<i32>) -> bool) {
        for (index, set) in sets.iter().enumerate() {
            for undo in set.undo.iter().filter(|undo| who(undo.pid_visible.then_some(undo.pid))) {
                undo.adjustments.iter().for_each(|&(num, adjust)| self.change(index, num, adjust));
            }
        }
    }

    /// Whether the call may come to proceed; always, if its values may not be read.
    fn allows(&self, wait: &Wait) -> bool {
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

/// Those who wait, and cannot go on when all others have given back what they have. Who waits for children can go on as soon as
/// one of them can.
fn stuck(sets: &[SetStatus], waiting: &BTreeMap<i32, Vec<Wait>>, parents: &BTreeMap<i32, Vec<i32>>) -> BTreeSet<i32> {
    let with_children = parents.iter().filter(|(_, children)| !children.is_empty()).map(|(pid, _)| *pid);
    let mut stuck: BTreeSet<i32> = waiting.keys().copied().chain(with_children).collect();
    let mut reach = Reach::new(sets);
    reach.release(sets, |pid| pid.is_none_or(|pid| !stuck.contains(&pid)));
    let goes_on = |pid: i32, stuck: &BTreeSet<i32>, reach: &Reach| match waiting.get(&pid) {
        Some(waits) => waits.iter().any(|wait| reach.allows(wait)),
        None => parents.get(&pid).is_none_or(|children| children.iter().any(|child| !stuck.contains(child))),
    };
    while let Some(pid) = stuck.iter().copied().find(|pid| goes_on(*pid, &stuck, &reach)) {
        stuck.remove(&pid);
        for wait in waiting.get(&pid).into_iter().flatten() {
            wait.waiter.ops.iter().for_each(|op| reach.change(wait.index, op.num, op.op));
        }
        reach.release(sets, |other| other == Some(pid));
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

    fn units(pid: i32, num: u16, next: i32) -> Link {
        Link { pid, next, reason: Reason::Units { set: Id::new(0, 3), num, adjust: 1 } }
    }

    /// The pids of each circle.
    fn circles(sets: &[SetStatus]) -> Vec<Vec<i32>> {
        Graph::new(sets, |_| Vec::new()).circles().iter().map(|circle| circle.iter().map(|link| link.pid).collect()).collect()
    }

    /// Two locks; 1 has the first and wants the second, 2 the other way round.
    fn crossed() -> SetStatus {
        let set = holds(holds(set(3, &[0, 0]), 1, 0, 1), 2, 1, 1);
        waits(waits(set, 1, &[(1, -1)]), 2, &[(0, -1)])
    }

    #[test]
    fn two_who_want_what_the_other_has() {
        let graph = Graph::new(&[crossed()], |_| Vec::new());
        assert_eq!(graph.circles(), [[units(1, 1, 2), units(2, 0, 1)]]);
        assert_eq!(graph.reach([2]), BTreeSet::from([1, 2]));
    }

    #[test]
    fn across_three_sets_and_with_somebody_who_waits_behind() {
        let a = waits(waits(holds(set(0, &[0]), 10, 0, 1), 30, &[(0, -1)]), 40, &[(0, -1)]);
        let b = waits(holds(set(1, &[0]), 20, 0, 1), 10, &[(0, -1)]);
        let c = waits(holds(set(2, &[0]), 30, 0, 1), 20, &[(0, -1)]);
        assert_eq!(circles(&[a, b, c]), [[10, 20, 30]]);
    }

    #[test]
    fn one_who_wants_what_it_has() {
        assert_eq!(circles(&[waits(holds(set(0, &[0]), 5, 0, 1), 5, &[(0, -1)])]), [[5]]);
    }

    #[test]
    fn a_wait_for_zero_depends_on_who_has_given() {
        let a = waits(holds(set(0, &[1, 0]), 1, 1, 1), 1, &[(0, 0)]);
        assert_eq!(circles(&[waits(holds(a, 2, 0, -1), 2, &[(1, -1)])]), [[1, 2]]);
    }

    #[test]
    fn no_circle_where_somebody_can_still_give() {
        // A third one has a unit of what 1 wants, and does not wait.
        assert!(circles(&[holds(crossed(), 3, 1, 1)]).is_empty());
        // A third one has it, and waits for something that is there.
        let three = waits(holds(crossed(), 3, 1, 1), 3, &[(2, -1)]);
        let mut free = three.clone();
        free.semaphores.push(SemaphoreStatus { value: 1, ..SemaphoreStatus::default() });
        assert!(circles(&[free]).is_empty());
        // It waits for what nobody has: then 1 and 2 stay.
        let mut never = three;
        never.semaphores.push(SemaphoreStatus::default());
        assert_eq!(circles(&[never]), [[1, 2]]);
    }

    #[test]
    fn no_circle_of_waits_that_nobody_holds_up() {
        assert!(circles(&[waits(set(0, &[0]), 1, &[(0, -1)])]).is_empty());
        assert!(circles(&[waits(holds(set(0, &[0]), 2, 0, 1), 1, &[(0, -1)])]).is_empty());
        assert!(circles(&[]).is_empty());
    }

    #[test]
    fn who_waits_for_a_child_waits_for_what_that_waits_for() {
        // 1 and 2 hold, and wait for 11, whose child 111 wants what 2 has, and for 22, who wants what 1 has.
        let set = holds(holds(set(3, &[0, 0]), 1, 0, 1), 2, 1, 1);
        let set = waits(waits(set, 111, &[(1, -1)]), 22, &[(0, -1)]);
        let child = |pid, next| Link { pid, next, reason: Reason::Child };
        let family = |pid| match pid {
            1 => vec![11],
            11 => vec![111],
            2 => vec![22],
            _ => Vec::new(),
        };
        let circle = [child(1, 11), child(11, 111), units(111, 1, 2), child(2, 22), units(22, 0, 1)];
        assert_eq!(Graph::new(std::slice::from_ref(&set), family).circles(), [circle]);
        // If 2 has another child, which does something else, that may end first.
        let busy = |pid| if pid == 2 { vec![22, 23] } else { family(pid) };
        assert!(Graph::new(std::slice::from_ref(&set), busy).circles().is_empty());
        assert!(Graph::new(&[set], |_| Vec::new()).circles().is_empty());
    }

    #[test]
    fn pids_of_elsewhere_are_not_compared() {
        let mut set = crossed();
        set.waiters[0].pid_visible = false;
        assert!(circles(&[set]).is_empty());
    }

    #[test]
    fn nonsense_is_survived() {
        let mut set = waits(crossed(), 3, &[]);
        set.waiters[0].blocking = 99;
        set.waiters.push(SemWaiter { ops: vec![SemOp::new(65535, i16::MIN)], ..set.waiters[1].clone() });
        set.undo.push(SemUndo { pid: 3, uid: 0, pid_visible: true, adjustments: vec![(65535, i16::MAX)] });
        Graph::new(&[set], |pid| vec![pid, 7]).circles();
    }
}
