//! `quintet why`: what a process waits for, and which process can unblock it.

mod answer;
mod cycle;
mod queue_wait;
mod semaphore_wait;
mod snapshot;

use crate::args::object::{self, Queue, Set};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hint;
use crate::output::emit;
use crate::system::process;
use crate::system::users::Users;
use answer::{Answer, KERNEL_QUEUE, QueueState, WaiterCount};
use quintet::{Errno, Id, Namespace};
use snapshot::{Snapshot, Waits};
use std::str::FromStr;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet why 4711                         what does process 4711 wait for?
  quintet why sem:0                        which processes wait for set 0?
  quintet why msg:0                        which processes wait to send or receive?
  quintet why key:0x4d2 --json             a set by its key, for scripts";

/// Tell what a process waits for, which process can unblock it, and whether there is a deadlock
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Process id; or semaphore set: sem:ID or key:KEY; or message queue: msg:ID or msg:key:KEY
    #[arg(value_name = "PID|SET|QUEUE")]
    subject: Subject,
}

/// The process or object in question.
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
            Ok(_) => Err(format!("'{text}' is not a process id: give sem:{text} for the set, or msg:{text} for the queue")),
            Err(_) if text.starts_with("msg:") => text.parse().map(Subject::Queue),
            Err(_) => text.parse().map(Subject::Set).map_err(|reason: String| format!("{reason}, or a process id")),
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let sets = object::sets(&ns)?;
    let queues = object::queues(&ns)?;
    let snapshot = Snapshot::new(&ns, &sets, &queues, &users);
    let (mut answer, concerned) = match args.subject {
        Subject::Process(pid) => about_process(&ns, &snapshot, pid)?,
        Subject::Set(set) => about_set(&ns, &snapshot, set.find(&ns)?)?,
        Subject::Queue(queue) => about_queue(&ns, &snapshot, queue.find(&ns)?)?,
    };
    answer.all_wait = snapshot.all_blocked().filter(|_| !answer.queue_waits.is_empty());
    let reach = snapshot.graph.reach(concerned);
    let deadlocks = snapshot.graph.deadlocks().into_iter();
    let deadlocks = deadlocks.filter(|cycle| cycle.iter().any(|edge| reach.contains(&edge.pid)));
    answer.deadlocks = deadlocks.map(|cycle| cycle::view(&cycle, &sets, &users)).collect();
    emit(context, &answer)?;
    Ok(Exit::Success)
}

/// Returns the answer about a process, and the pids that it concerns.
fn about_process(ns: &Namespace, snapshot: &Snapshot, pid: i32) -> Result<(Answer, Vec<i32>), Failure> {
    let mut waits = snapshot.waits(pid);
    let (mut family, mut children) = (vec![pid], Vec::new());
    if waits.is_empty() {
        children = process::awaited_children(pid);
        waits = descendant_waits(snapshot, &children, &mut family);
        if waits.is_empty() {
            children.clear();
        }
    }
    let (uses_namespace, holds) = (snapshot.uses_namespace(pid), snapshot.holds(pid));
    let Waits { sets: waits, queues: queue_waits } = waits;
    let answer = Answer { pid: Some(pid), uses_namespace, children, waits, queue_waits, holds, ..Answer::new(ns) };
    if answer.is_idle() && answer.holds.is_empty() && !process::exists(pid) {
        return Err(no_process(ns, snapshot, pid));
    }
    Ok((answer, family))
}

/// Returns what the awaited children wait for, or their awaited children in turn. Adds their pids
/// to `family`.
fn descendant_waits(snapshot: &Snapshot, children: &[i32], family: &mut Vec<i32>) -> Waits {
    let mut waits = Waits::default();
    let mut next = children.to_owned();
    while let Some(child) = next.pop() {
        let of_child = snapshot.waits(child);
        if of_child.is_empty() && !family.contains(&child) {
            next.extend(process::awaited_children(child));
        }
        waits.extend(of_child);
        family.push(child);
    }
    waits
}

/// Returns the failure for a pid without a process. The number may be the id of an object.
fn no_process(ns: &Namespace, snapshot: &Snapshot, pid: i32) -> Failure {
    let errno = Errno::from_raw(libc::ESRCH);
    let failure = Failure::new(format!("cannot examine pid {pid}: no such process (ESRCH)")).errno(errno);
    let is_set = snapshot.sets.iter().any(|set| set.stat.id.raw() == pid);
    let is_queue = snapshot.queues.iter().any(|queue| queue.stat.id.raw() == pid);
    let why = |class: &str| hint::on(ns, format_args!("why {class}:{pid}"));
    match (is_set, is_queue) {
        (true, _) => failure.remedy(format_args!("{} examines the semaphore set", why("sem"))),
        (_, true) => failure.remedy(format_args!("{} examines the message queue", why("msg"))),
        _ => failure,
    }
}

/// Returns the answer about a set, and the pids that it concerns.
fn about_set(ns: &Namespace, snapshot: &Snapshot, id: Id) -> Result<(Answer, Vec<i32>), Failure> {
    let set = snapshot.sets.iter().find(|set| set.stat.id == id).ok_or_else(|| removed("semaphore set", id))?;
    let waits = (0..set.waiters.len()).map(|place| snapshot.semaphore_wait(set, place)).collect();
    let holds = set.undo.iter().map(|undo| snapshot.set_undo(set, undo)).collect();
    let mut answer = Answer { id: Some(id.raw()), class: Some("sem"), waits, holds, ..Answer::new(ns) };
    if answer.unknown.is_some() {
        let awaited = set.semaphores.iter().enumerate().filter(|(_, s)| s.waiting > 0 || s.waiting_for_zero > 0);
        let counts = awaited.map(|(num, s)| WaiterCount {
            num,
            value: s.value,
            ncnt: s.waiting,
            zcnt: s.waiting_for_zero,
            last: snapshot.last_process(s.pid),
        });
        answer.counted = counts.collect();
    }
    Ok((answer, set.waiters.iter().filter(|w| w.pid_visible).map(|w| w.pid).collect()))
}

/// Returns the answer about a queue, and the pids that it concerns.
fn about_queue(ns: &Namespace, snapshot: &Snapshot, id: Id) -> Result<(Answer, Vec<i32>), Failure> {
    let queue = snapshot.queues.iter().find(|queue| queue.stat.id == id).ok_or_else(|| removed("message queue", id))?;
    let stat = &queue.stat;
    let state = QueueState {
        messages: stat.messages,
        bytes: stat.bytes,
        capacity: stat.capacity,
        last_sender: snapshot.last_peer(stat.lspid),
        last_receiver: snapshot.last_peer(stat.lrpid),
    };
    let queue_waits = (0..queue.waiters.len()).map(|place| snapshot.queue_wait(queue, place)).collect();
    let mut answer = Answer { id: Some(id.raw()), class: Some("msg"), queue: Some(state), queue_waits, ..Answer::new(ns) };
    answer.unknown = answer.unknown.map(|_| KERNEL_QUEUE);
    Ok((answer, queue.waiters.iter().filter(|w| w.pid_visible).map(|w| w.pid).collect()))
}

fn removed(noun: &str, id: Id) -> Failure {
    Failure::new(format!("cannot examine {noun} {id}: it has just been removed (EIDRM)")).errno(Errno::IDRM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_process_id() {
        assert_eq!("4711".parse(), Ok(Subject::Process(4711)));
        assert_eq!("sem:0".parse(), Ok(Subject::Set("0".parse().unwrap())));
        assert_eq!("key:0x4d2".parse(), Ok(Subject::Set("key:1234".parse().unwrap())));
        assert_eq!("msg:key:0x4d2".parse(), Ok(Subject::Queue("key:1234".parse().unwrap())));
        assert!("msg:x".parse::<Subject>().unwrap_err().contains("is not the name of a message queue"));
        assert!("0".parse::<Subject>().unwrap_err().contains("give sem:0 for the set"));
        assert!("x".parse::<Subject>().unwrap_err().contains("or a process id"));
        assert!("shm:0".parse::<Subject>().unwrap_err().contains("is not a semaphore set"));
    }
}
