//! Processes that use a namespace or an object.

use crate::system::process;
use crate::system::users::Users;
use quintet::Attacher;
use serde::Serialize;

/// A process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessView {
    pub pid: i32,
    pub pid_visible: bool,
    pub uid: u32,
    pub user: String,
    pub command: Option<String>,
}

impl ProcessView {
    pub fn new(pid: i32, pid_visible: bool, uid: u32, users: &Users) -> ProcessView {
        let command = if pid_visible { process::command(pid) } else { None };
        ProcessView { pid, pid_visible, uid, user: users.name(uid), command }
    }

    /// Returns "pid 12 (ann) ./server".
    pub fn phrase(&self) -> String {
        self.phrase_with("")
    }

    /// Returns the same phrase with `note` after the name of the user.
    fn phrase_with(&self, note: &str) -> String {
        let ProcessView { pid, user, .. } = self;
        match (&self.command, self.pid_visible) {
            (_, false) => format!("pid {pid} in another PID namespace ({user}{note})"),
            (Some(command), true) => format!("pid {pid} ({user}{note}) {command}"),
            // The process has just exited, or /proc hides it.
            (None, true) => format!("pid {pid} ({user}{note})"),
        }
    }
}

/// A process that has a segment attached, or that uses the namespace.
#[derive(Serialize)]
pub struct AttacherView {
    #[serde(flatten)]
    pub process: ProcessView,
    pub count: u32,
}

impl AttacherView {
    pub fn new(attacher: &Attacher, users: &Users) -> AttacherView {
        let process = ProcessView::new(attacher.pid, attacher.pid_visible, attacher.uid, users);
        AttacherView { process, count: attacher.count }
    }

    /// Returns "pid 12 (ann) ./server", with the number of attachments if there are several.
    pub fn phrase(&self) -> String {
        let times = if self.count > 1 { format!(", {} times", self.count) } else { String::new() };
        self.process.phrase_with(&times)
    }
}

/// Returns a pid as a table cell: `-` for 0, which means no process.
pub fn pid_cell(pid: i32) -> String {
    if pid == 0 { "-".to_owned() } else { pid.to_string() }
}
