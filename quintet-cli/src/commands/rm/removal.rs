//! The report about one removed object.

use crate::failure::Failure;
use crate::view::perm::KeyView;
use crate::view::process::{AttacherView, ProcessView};
use crate::words::count;
use quintet::Errno;
use serde::Serialize;

/// The outcome for one object.
#[derive(Serialize)]
pub struct Removal {
    /// `shm`, `sem` or `msg`.
    pub class: &'static str,
    pub id: i32,
    pub key: KeyView,
    /// The size of a segment in bytes.
    pub size: Option<u64>,
    /// The number of semaphores of a set.
    pub nsems: Option<u32>,
    /// The number of messages of a queue.
    pub messages: Option<u64>,
    /// `removed`, `marked` (for destruction), `would-remove` or `would-mark`.
    pub result: &'static str,
    /// The processes that have the segment attached.
    pub kept_by: Vec<AttacherView>,
    /// The processes that were blocked at the set or queue.
    pub woken: Vec<ProcessView>,
}

impl Removal {
    /// Returns the sentence for the result, without the list of processes.
    pub fn sentence(&self) -> String {
        let name = self.name();
        match (self.result, self.woken.is_empty()) {
            ("removed", true) => format!("removed {name}"),
            ("removed", false) => format!("removed {name}; these processes were blocked and get EIDRM:"),
            ("would-remove", true) => format!("would remove {name}"),
            ("would-remove", false) => format!("would remove {name}; these processes are blocked and would get EIDRM:"),
            ("marked", _) => format!("marked {name} for destruction (dest); the last detach of these processes destroys it:"),
            _ => format!("would mark {name} for destruction (dest); the last detach of these processes would destroy it:"),
        }
    }

    /// Returns the processes that the result concerns.
    pub fn processes(&self) -> impl Iterator<Item = String> {
        self.kept_by.iter().map(AttacherView::phrase).chain(self.woken.iter().map(ProcessView::phrase))
    }

    /// Returns "segment 7 (key 0x000004d2, 4096 bytes)", or the number of semaphores or messages
    /// instead of the size.
    fn name(&self) -> String {
        let Removal { id, key, .. } = self;
        match (self.size, self.nsems, self.messages) {
            (_, Some(nsems), _) => format!("semaphore set {id} (key {}, {})", key.text, count(nsems, "semaphore")),
            (_, _, Some(messages)) => format!("message queue {id} (key {}, {})", key.text, count(messages, "message")),
            (size, ..) => format!("segment {id} (key {}, {})", key.text, count(size.unwrap_or(0), "byte")),
        }
    }
}

/// Returns the failure to remove `object`, which belongs to the user `owner`.
pub fn remove_failure(object: &str, owner: &str, errno: Errno) -> Failure {
    let failed = |reason: String| Failure::new(format!("cannot remove {object}: {reason} ({errno:?})")).errno(errno);
    match errno {
        Errno::PERM => failed(format!("it belongs to {owner}, and only owner and creator have permission")),
        Errno::INVAL | Errno::IDRM => failed("it has already been removed".to_owned()),
        _ => failed(errno.description().to_owned()),
    }
}
