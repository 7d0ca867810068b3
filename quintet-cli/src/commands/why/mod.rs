//! `quintet why`: what a process waits for, and who could release it.

mod circle;
mod queue;
mod scene;
mod wait;

use super::view::{NamespaceView, count};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Queue, Set};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::process;
use crate::users::Users;
use queue::{Peer, QueueWaitView};
use quintet::{Errno, Id, Namespace};
use scene::{Scene, Waits};
use serde::Serialize;
use std::io;
use std::str::FromStr;
use wait::{Holding, WaitView};

const EXAMPLES: &str = "\
EXAMPLES:
  quintet why 4711                         what does process 4711 wait for, and who has it?
  quintet why sem:0                        who waits for set 0, and who could release them?
  quintet why msg:0                        who waits to send or to receive, and who could help?
  quintet why key:0x4d2 --json             a set by its key, for programs";

/// What the kernel leaves unsaid.
const KERNEL: &str = "The kernel does not tell who waits, nor who has something to be taken back (SEM_UNDO): \
                      only how many wait, and who changed a semaphore last.";

/// What the kernel leaves unsaid of a queue.
const KERNEL_QUEUE: &str = "The kernel does not tell who waits at a queue, nor how many.";

/// Tell what a process waits for and who could release it, and whether processes wait for each other in a circle
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A process id; a semaphore set: sem:ID or key:KEY; or a message queue: msg:ID or msg:key:KEY
    #[arg(value_name = "PID|SET|QUEUE")]
    subject: Subject,
}

/// Of what the question is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Process(i32),
    Set(Set),
    Queue(Queue),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        match text.parse() {
            Ok(pid) if pid > 0 => Ok(Subject::Process(pid)),
            Ok(_) => {
                Err(format!("'{text}' is no process id; of a semaphore set write sem:{text}, of a message queue msg:{text}"))
            }
            Err(_) if text.starts_with("msg:") => text.parse().map(Subject::Queue),
            Err(_) => text.parse().map(Subject::Set).map_err(|why: String| format!("{why}, or a process id")),
        }
    }
}

#[derive(Serialize)]
struct Answer {
    namespace: NamespaceView,
    /// The process that was asked about.
    pid: Option<i32>,
    /// The set or queue that was asked about, and which it is: `sem` or `msg`.
    id: Option<i32>,
    class: Option<&'static str>,
    /// Whether the process uses the namespace; `None` of a set or queue, and of the kernel's namespace.
    uses_namespace: Option<bool>,
    /// For whose end the process waits; what they wait for is in `waits`.
    children: Vec<i32>,
    waits: Vec<WaitView>,
    queue_waits: Vec<QueueWaitView>,
    /// The queue that was asked about.
    queue: Option<State>,
    /// How many processes use the namespace, if none of them can let another one go on, and one that is spoken of waits at a queue.
    all_wait: Option<usize>,
    holds: Vec<Holding>,
    deadlocks: Vec<Vec<circle::LinkView>>,
    /// How many wait: the kernel tells no more.
    counted: Vec<Counted>,
    /// What cannot be known.
    unknown: Option<&'static str>,
}

/// How many wait for a semaphore of the kernel's.
#[derive(Serialize)]
struct Counted {
    num: usize,
    value: u16,
    ncnt: u32,
    zcnt: u32,
    last: Option<wait::Last>,
}

/// How a queue is.
#[derive(Serialize)]
struct State {
    messages: u64,
    bytes: u64,
    capacity: u64,
    last_sender: Option<Peer>,
    last_receiver: Option<Peer>,
}

impl State {
    fn print(&self, id: i32, page: &mut Page) -> io::Result<()> {
        let State { messages, bytes, capacity, .. } = self;
        let last = |peer: &Option<Peer>, verb| match peer {
            Some(peer) => format!("last {verb} by {}", peer.last.sentence()),
            None => format!("never {verb}"),
        };
        let sent = last(&self.last_sender, "sent");
        let received = last(&self.last_receiver, "received");
        let messages = count(*messages, "message");
        page.line(format_args!("message queue {id} has {messages}, {bytes} bytes of {capacity}; {sent}; {received}"))
    }
}

impl Report for Answer {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        if let (Some(pid), false) = (self.pid, self.children.is_empty()) {
            let children: Vec<String> = self.children.iter().map(|child| format!("pid {child}")).collect();
            let whom = if children.len() == 1 { "its child" } else { "its children" };
            page.line(format_args!("pid {pid} waits for {whom} {}", children.join(", ")))?;
        }
        for (i, wait) in self.waits.iter().enumerate() {
            if i > 0 {
                page.gap()?;
            }
            wait.print(page)?;
        }
        for (i, wait) in self.queue_waits.iter().enumerate() {
            if i > 0 || !self.waits.is_empty() {
                page.gap()?;
            }
            wait.print(page)?;
        }
        if let (Some(state), Some(id), true) = (&self.queue, self.id, self.queue_waits.is_empty()) {
            state.print(id, page)?;
        }
        for semaphore in &self.counted {
            let Counted { num, value, ncnt, zcnt, .. } = semaphore;
            let last =
                semaphore.last.as_ref().map_or("never changed".to_owned(), |last| format!("last changed by {}", last.sentence()));
            page.line(format_args!(
                "semaphore {num} has the value {value}; {ncnt} waiting for more, {zcnt} waiting for zero; {last}"
            ))?;
        }
        if self.nobody_waits() && self.unknown.is_none() {
            let space = self.namespace.sentence();
            match (self.pid, self.id) {
                (Some(pid), _) if self.uses_namespace == Some(false) => {
                    page.line(format_args!("pid {pid} does not use {space}; 'quintet namespace ls' lists others."))?
                }
                (Some(pid), _) => {
                    page.line(format_args!("pid {pid} waits for no semaphore and at no message queue in {space}."))?
                }
                (_, Some(id)) if self.queue.is_some() => {
                    page.line(format_args!("Nobody waits at message queue {id} in {space}."))?
                }
                (_, id) => page.line(format_args!("Nobody waits for semaphore set {} in {space}.", id.unwrap_or(-1)))?,
            }
        }
        if !self.nobody_waits() && !self.holds.is_empty() {
            page.gap()?;
        }
        for Holding { id, undo } in &self.holds {
            page.line(format_args!("{}", page.fit(&format!("sem:{id} gets {}", undo.sentence()), 0)))?;
        }
        match self.all_wait {
            None => {}
            Some(1) => {
                page.gap()?;
                page.line(format_args!("No other process uses the namespace: nobody is there who could let it go on."))?;
            }
            Some(n) => {
                page.gap()?;
                page.line(format_args!(
                    "All {n} processes that use the namespace wait: none of them can let another one go on."
                ))?;
            }
        }
        for circle in &self.deadlocks {
            circle::print(circle, page)?;
        }
        if let Some(unknown) = self.unknown {
            page.line(format_args!("{unknown}"))?;
        }
        Ok(())
    }
}

impl Answer {
    fn nobody_waits(&self) -> bool {
        self.waits.is_empty() && self.queue_waits.is_empty()
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let sets = object::sets(&ns)?;
    let queues = object::queues(&ns)?;
    let scene = Scene::new(&ns, &sets, &queues, &users);
    let (mut answer, concerned) = match args.subject {
        Subject::Process(pid) => about_process(&ns, &scene, pid)?,
        Subject::Set(set) => about_set(&ns, &scene, set.find(&ns)?)?,
        Subject::Queue(queue) => about_queue(&ns, &scene, queue.find(&ns)?)?,
    };
    answer.all_wait = scene.all_wait().filter(|_| !answer.queue_waits.is_empty());
    let reach = scene.graph.reach(concerned);
    let circles = scene.graph.circles().into_iter().filter(|circle| circle.iter().any(|link| reach.contains(&link.pid)));
    answer.deadlocks = circles.map(|circle| circle::view(&circle, &sets, &users)).collect();
    emit(context, &answer)?;
    Ok(Exit::Success)
}

fn empty(ns: &Namespace) -> Answer {
    Answer {
        namespace: NamespaceView::new(ns),
        pid: None,
        id: None,
        class: None,
        uses_namespace: None,
        children: Vec::new(),
        waits: Vec::new(),
        queue_waits: Vec::new(),
        queue: None,
        all_wait: None,
        holds: Vec::new(),
        deadlocks: Vec::new(),
        counted: Vec::new(),
        unknown: ns.path().is_none().then_some(KERNEL),
    }
}

/// The answer, and the processes that it concerns.
fn about_process(ns: &Namespace, scene: &Scene, pid: i32) -> Result<(Answer, Vec<i32>), Failure> {
    let mut waits = scene.waits(pid);
    let (mut family, mut children) = (vec![pid], Vec::new());
    if waits.is_empty() {
        children = process::awaited_children(pid);
        let mut next = children.clone();
        while let Some(child) = next.pop() {
            let of_child = scene.waits(child);
            if of_child.is_empty() && !family.contains(&child) {
                next.extend(process::awaited_children(child));
            }
            waits.extend(of_child);
            family.push(child);
        }
        if waits.is_empty() {
            children.clear();
        }
    }
    let (uses_namespace, holds) = (scene.uses_namespace(pid), scene.holds(pid));
    let Waits { sets: waits, queues: queue_waits } = waits;
    let answer = Answer { pid: Some(pid), uses_namespace, children, waits, queue_waits, holds, ..empty(ns) };
    if answer.nobody_waits() && answer.holds.is_empty() && !process::exists(pid) {
        let failure = Failure::new(format!("there is no process {pid}")).errno(Errno::from_raw(libc::ESRCH));
        let set = scene.sets.iter().any(|set| set.stat.id.raw() == pid);
        let queue = scene.queues.iter().any(|queue| queue.stat.id.raw() == pid);
        return Err(match (set, queue) {
            (true, _) => failure.remedy(format_args!("of the semaphore set write sem:{pid}")),
            (_, true) => failure.remedy(format_args!("of the message queue write msg:{pid}")),
            _ => failure,
        });
    }
    Ok((answer, family))
}

/// As above.
fn about_set(ns: &Namespace, scene: &Scene, id: Id) -> Result<(Answer, Vec<i32>), Failure> {
    let set = scene.sets.iter().find(|set| set.stat.id == id);
    let set = set.ok_or_else(|| Failure::new(format!("the semaphore set {id} has just been removed")).errno(Errno::IDRM))?;
    let waits = (0..set.waiters.len()).map(|place| scene.wait(set, place)).collect();
    let holds = set.undo.iter().map(|undo| scene.holding(set, undo)).collect();
    let mut answer = Answer { id: Some(id.raw()), class: Some("sem"), waits, holds, ..empty(ns) };
    if answer.unknown.is_some() {
        let waited_for = set.semaphores.iter().enumerate().filter(|(_, s)| s.waiting > 0 || s.waiting_for_zero > 0);
        answer.counted = waited_for
            .map(|(num, s)| Counted { num, value: s.value, ncnt: s.waiting, zcnt: s.waiting_for_zero, last: scene.last(s.pid) })
            .collect();
    }
    Ok((answer, set.waiters.iter().filter(|w| w.pid_visible).map(|w| w.pid).collect()))
}

/// As above.
fn about_queue(ns: &Namespace, scene: &Scene, id: Id) -> Result<(Answer, Vec<i32>), Failure> {
    let queue = scene.queues.iter().find(|queue| queue.stat.id == id);
    let queue = queue.ok_or_else(|| Failure::new(format!("the message queue {id} has just been removed")).errno(Errno::IDRM))?;
    let stat = &queue.stat;
    let state = State {
        messages: stat.messages,
        bytes: stat.bytes,
        capacity: stat.capacity,
        last_sender: scene.peer(stat.lspid),
        last_receiver: scene.peer(stat.lrpid),
    };
    let queue_waits = (0..queue.waiters.len()).map(|place| scene.queue_wait(queue, place)).collect();
    let mut answer = Answer { id: Some(id.raw()), class: Some("msg"), queue: Some(state), queue_waits, ..empty(ns) };
    answer.unknown = answer.unknown.map(|_| KERNEL_QUEUE);
    Ok((answer, queue.waiters.iter().filter(|w| w.pid_visible).map(|w| w.pid).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_process() {
        assert_eq!("4711".parse(), Ok(Subject::Process(4711)));
        assert_eq!("sem:0".parse(), Ok(Subject::Set("0".parse().unwrap())));
        assert_eq!("key:0x4d2".parse(), Ok(Subject::Set("key:1234".parse().unwrap())));
        assert_eq!("msg:key:0x4d2".parse(), Ok(Subject::Queue("key:1234".parse().unwrap())));
        assert!("msg:x".parse::<Subject>().unwrap_err().contains("names no message queue"));
        assert!("0".parse::<Subject>().unwrap_err().contains("write sem:0"));
        assert!("x".parse::<Subject>().unwrap_err().contains("or a process id"));
        assert!("shm:0".parse::<Subject>().unwrap_err().contains("no semaphore set"));
    }
}
