//! Timeouts and deadlines: calls that give up instead of blocking for ever.
//!
//! Every call that can block has four forms: `acquire` blocks, `try_acquire` never blocks,
//! `acquire_timeout` blocks for a duration at most, and `acquire_deadline` blocks until an instant
//! at most. A call that timed out returns `None` or `false`. That is not an error, and the objects
//! are unchanged. The calls of [`SemaphoreSet`] and [`MessageQueue`] have the same four forms.
//!
//! Run it: `cargo run -p quintet --example timeouts`

use quintet::{Key, Kind, MessageQueue, Namespace, Select, SemOp, Semaphore, SemaphoreSet};
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let ns = Namespace::create(dir.path().join("namespace"), Kind::Private)?;

    // A lock that is held: the call returns `None` once the timeout has passed.
    let lock = Semaphore::open_or_create(&ns, Key::PRIVATE, 1)?;
    let guard = lock.acquire()?;
    let start = Instant::now();
    assert!(lock.acquire_timeout(MOMENT)?.is_none());
    assert!(start.elapsed() >= MOMENT);
    println!("the lock is held: gave up after the timeout");

    // A lock that is released in time: the call returns as soon as it has the lock. A guard may
    // move to another thread, which here drops it a moment later.
    let releaser = thread::spawn(move || {
        thread::sleep(MOMENT);
        drop(guard);
    });
    let guard = lock.acquire_timeout(Duration::from_secs(60))?;
    println!("the lock was released: acquired it, {}", if guard.is_some() { "in time" } else { "too late" });
    assert!(guard.is_some());
    releaser.join().map_err(|_| "the thread panicked")?;

    // Two steps with one deadline: the time that the first step takes is missing from the second.
    let deadline = Instant::now() + 2 * MOMENT;
    let queue = MessageQueue::private(&ns)?;
    queue.send(1, b"the only message")?;
    let first = queue.receive_deadline(Select::First, deadline)?;
    let second = queue.receive_deadline(Select::First, deadline)?;
    assert!(first.is_some() && second.is_none() && Instant::now() >= deadline);
    println!("the first message came before the deadline, the second did not");

    // A full queue: `send_timeout` returns `false`, and the message is not in the queue.
    let queue = MessageQueue::options().capacity(100).create(&ns, Key::PRIVATE)?;
    assert!(queue.try_send(1, &[0; 80])?);
    assert!(!queue.send_timeout(1, &[0; 80], MOMENT)?);
    assert_eq!(queue.stat()?.messages, 1);
    println!("the queue is full: gave up, and the queue still has 1 message");

    // Several operations at once are done all or not at all. The second one cannot be done, so the
    // first one is not done either.
    let set = SemaphoreSet::open_or_create(&ns, Key::PRIVATE, &[5, 0])?;
    assert!(!set.op_timeout(&[SemOp::new(0, -5), SemOp::new(1, -1)], MOMENT)?);
    assert_eq!(set.values()?, [5, 0]);
    println!("one of two operations had to wait: gave up, and the values are still {:?}", set.values()?);
    Ok(())
}
