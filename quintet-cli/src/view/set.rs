//! Semaphore sets.

use super::perm::{KeyView, UserView, mode_text};
use super::process::ProcessView;
use crate::system::users::Users;
use quintet::{Namespace, SemFlags, SemOp, SemUndo, SemWaiter, SemaphoreStatus, SetStatus};
use serde::Serialize;

/// One semaphore of a set.
#[derive(Serialize)]
pub struct SemaphoreView {
    pub num: usize,
    pub value: u16,
    pub pid: i32,
    pub ncnt: u32,
    pub zcnt: u32,
}

impl SemaphoreView {
    fn new((num, status): (usize, &SemaphoreStatus)) -> SemaphoreView {
        let SemaphoreStatus { value, pid, waiting: ncnt, waiting_for_zero: zcnt } = *status;
        SemaphoreView { num, value, pid, ncnt, zcnt }
    }
}

/// One operation of a `semop` call.
#[derive(Clone, Serialize)]
pub struct OperationView {
    pub num: u16,
    pub op: i16,
    pub nowait: bool,
    pub undo: bool,
    pub text: String,
}

impl From<&SemOp> for OperationView {
    fn from(op: &SemOp) -> OperationView {
        OperationView {
            num: op.num,
            op: op.op,
            nowait: op.flags.contains(SemFlags::NOWAIT),
            undo: op.flags.contains(SemFlags::UNDO),
            text: op.to_string(),
        }
    }
}

/// A `semop` call that is blocked.
#[derive(Clone, Serialize)]
pub struct SetWaiterView {
    #[serde(flatten)]
    pub process: ProcessView,
    pub tid: i32,
    pub ops: Vec<OperationView>,
    pub blocking: usize,
    pub since: i64,
}

impl SetWaiterView {
    pub fn new(waiter: &SemWaiter, users: &Users) -> SetWaiterView {
        SetWaiterView {
            process: ProcessView::new(waiter.pid, waiter.pid_visible, waiter.uid, users),
            tid: waiter.tid,
            ops: waiter.ops.iter().map(OperationView::from).collect(),
            blocking: waiter.blocking,
            since: (waiter.since / 1_000_000_000) as i64,
        }
    }

    /// Returns the operations of the call: `0:-1u 1:+2`.
    pub fn operations(&self) -> String {
        self.ops.iter().map(|op| op.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Returns the operation that cannot proceed.
    pub fn blocking(&self) -> Option<&OperationView> {
        self.ops.get(self.blocking).or(self.ops.first())
    }
}

/// An undo adjustment: `adjust` is added to semaphore `num`.
#[derive(Serialize)]
pub struct AdjustmentView {
    pub num: u16,
    pub adjust: i16,
}

/// The undo adjustments of a process for one set. They are applied when the process exits.
#[derive(Serialize)]
pub struct UndoView {
    #[serde(flatten)]
    pub process: ProcessView,
    pub adjustments: Vec<AdjustmentView>,
}

impl UndoView {
    pub fn new(undo: &SemUndo, users: &Users) -> UndoView {
        let adjustments = undo.adjustments.iter().map(|&(num, adjust)| AdjustmentView { num, adjust });
        UndoView { process: ProcessView::new(undo.pid, undo.pid_visible, undo.uid, users), adjustments: adjustments.collect() }
    }

    /// Returns "0:+1 at exit of pid 13 (ann) ./server".
    pub fn phrase(&self) -> String {
        format!("{} at exit of {}", self.amounts(), self.process.phrase())
    }

    /// Returns the adjustments: `0:+1 2:-3`.
    fn amounts(&self) -> String {
        self.adjustments.iter().map(|a| format!("{}:{:+}", a.num, a.adjust)).collect::<Vec<_>>().join(" ")
    }
}

/// The status of a set.
#[derive(Serialize)]
pub struct SetView {
    pub id: i32,
    pub key: KeyView,
    pub owner: UserView,
    pub creator: UserView,
    pub mode: u32,
    pub mode_text: String,
    pub nsems: u32,
    pub otime: i64,
    pub ctime: i64,
    pub orphan: bool,
    /// All semaphores, or fewer than `nsems` without read permission.
    pub semaphores: Vec<SemaphoreView>,
    /// `None` for sets of the kernel, which does not list waiters.
    pub waiters: Option<Vec<SetWaiterView>>,
    /// `None` for sets of the kernel, which does not list adjustments.
    pub undo: Option<Vec<UndoView>>,
}

impl SetView {
    pub fn new(ns: &Namespace, status: &SetStatus, users: &Users) -> SetView {
        let (stat, perm) = (&status.stat, &status.stat.perm);
        let is_listed = ns.path().is_some();
        SetView {
            id: stat.id.raw(),
            key: stat.key.into(),
            owner: UserView::owner(perm, users),
            creator: UserView::creator(perm, users),
            mode: perm.mode,
            mode_text: mode_text(perm.mode),
            nsems: stat.nsems,
            otime: stat.otime,
            ctime: stat.ctime,
            orphan: status.orphan,
            semaphores: status.semaphores.iter().enumerate().map(SemaphoreView::new).collect(),
            waiters: is_listed.then(|| status.waiters.iter().map(|w| SetWaiterView::new(w, users)).collect()),
            undo: is_listed.then(|| status.undo.iter().map(|u| UndoView::new(u, users)).collect()),
        }
    }

    /// Returns the number of blocked calls, as far as the caller has permission to see them.
    pub fn waiting(&self) -> u64 {
        match &self.waiters {
            Some(waiters) => waiters.len() as u64,
            None => self.semaphores.iter().map(|s| u64::from(s.ncnt) + u64::from(s.zcnt)).sum(),
        }
    }

    /// Returns the first values: `1 0 5`, or `0 0 0 0 0 0 0 0 ...`; `-` without read permission.
    pub fn values(&self) -> String {
        const SHOWN: usize = 8;
        let mut values: Vec<String> = self.semaphores.iter().take(SHOWN).map(|s| s.value.to_string()).collect();
        match self.semaphores.len() {
            0 => return "-".to_owned(),
            n if n > SHOWN || n < self.nsems as usize => values.push("...".to_owned()),
            _ => {}
        }
        values.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quintet::{Id, Key, Permissions, SetStat};

    fn shown(values: &[u16], nsems: u32) -> String {
        let perm = Permissions { mode: 0o600, ..Permissions::default() };
        let stat = SetStat { key: Key::PRIVATE, id: Id::new(0, 0), perm, otime: 0, ctime: 0, nsems };
        let semaphores = values.iter().map(|&value| SemaphoreStatus { value, ..SemaphoreStatus::default() }).collect();
        let status = SetStatus { stat, semaphores, waiters: Vec::new(), undo: Vec::new(), orphan: false };
        SetView::new(&Namespace::kernel(), &status, &Users::load()).values()
    }

    #[test]
    fn many_values_are_shortened() {
        assert_eq!(shown(&[1, 0, 5], 3), "1 0 5");
        assert_eq!(shown(&[7; 8], 8), "7 7 7 7 7 7 7 7");
        assert_eq!(shown(&[7; 9], 9), "7 7 7 7 7 7 7 7 ...");
        assert_eq!(shown(&[], 3), "-");
    }
}
