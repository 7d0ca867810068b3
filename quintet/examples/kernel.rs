//! The kernel backend: the same code on the kernel's own System V IPC, and on a directory.
//!
//! [`Namespace::kernel`] makes the real system calls. It serves programs that share objects with
//! processes outside Quintet, and comparisons of both sides. The code is the same, with two
//! differences: the kernel's queues have no timeouts, and the kernel does not list the processes
//! that are attached or wait.
//!
//! Run it: `cargo run -p quintet --example kernel`

use quintet::{Errno, Key, Kind, MessageQueue, Namespace, Segment, Select, Semaphore};
use std::error::Error;
use std::time::Duration;

/// Uses one object of each class, and leaves nothing behind, even if a step fails.
fn use_all_three(ns: &Namespace) -> quintet::Result<()> {
    // A removed segment stays until its last attachment ends, so it can be removed at once.
    let segment = Segment::open_or_create(ns, Key::PRIVATE, 4096)?;
    let memory = segment.attach();
    segment.remove()?;
    let memory = memory?;
    memory.write(0, b"shared")?;
    assert_eq!(memory.to_vec(0..6)?, b"shared");

    let lock = Semaphore::open_or_create(ns, Key::PRIVATE, 1)?;
    let held = lock.acquire().and_then(|_guard| lock.value());
    lock.remove()?;
    assert_eq!(held?, 0);

    let queue = MessageQueue::private(ns)?;
    let message = queue.send(1, b"hello").and_then(|()| queue.receive(Select::First));
    let timeout = queue.receive_timeout(Select::First, Duration::from_millis(1));
    queue.remove()?;
    assert_eq!(message?.data, b"hello");
    match timeout {
        Ok(message) => println!("  receive with a timeout: {message:?}"),
        Err(e) if e.errno() == Errno::OPNOTSUPP => println!("  receive with a timeout: not supported"),
        Err(e) => return Err(e),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let directory = Namespace::create(dir.path().join("namespace"), Kind::Private)?;
    println!("on a directory:");
    use_all_three(&directory)?;
    println!("  a segment, a semaphore and a queue were used and removed");

    println!("on the kernel:");
    match use_all_three(&Namespace::kernel()) {
        Ok(()) => println!("  a segment, a semaphore and a queue were used and removed"),
        // A kernel without System V IPC, as on Android, or a sandbox that forbids it.
        Err(e) if [Errno::NOSYS, Errno::PERM].contains(&e.errno()) => println!("  there is no System V IPC here: {e}"),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}
