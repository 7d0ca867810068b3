//! Watching a namespace: which process has a segment attached, and which one waits for a lock.
//!
//! The kernel counts the processes that are attached to a segment, and those that wait for a
//! semaphore. A namespace also lists them: [`Namespace::segments`], [`Namespace::sets`] and
//! [`Namespace::queues`] return what `quintet ls` shows.
//!
//! Run it: `cargo run -p quintet --example watch`

use quintet::{Key, Kind, Namespace, Segment, Semaphore};
use std::error::Error;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const KEY: Key = Key::new(0x3a7c);

/// The watched process: attaches the segment, and blocks until it has the lock.
fn be_watched(ns: &Namespace) -> quintet::Result<()> {
    let _memory = Segment::open(ns, KEY)?.attach()?;
    let _guard = Semaphore::open(ns, KEY)?.acquire()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(namespace) = std::env::args_os().nth(1) {
        return Ok(be_watched(&Namespace::open(namespace)?)?);
    }

    let dir = tempfile::tempdir()?;
    let path = dir.path().join("namespace");
    let ns = Namespace::create(&path, Kind::Private)?;
    let segment = Segment::open_or_create(&ns, KEY, 4096)?;
    let guard = Semaphore::open_or_create(&ns, KEY, 1)?.acquire()?;
    let mut child = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    let child_pid = i32::try_from(child.id())?;
    let name = |pid: i32| if pid == child_pid { "the child" } else { "this process" };

    // Look again and again until the child sleeps in `acquire`.
    let end = Instant::now() + Duration::from_secs(60);
    let set = loop {
        let set = ns.sets()?.into_iter().find(|set| set.stat.key == KEY).ok_or("the set is gone")?;
        if !set.waiters.is_empty() {
            break set;
        }
        if Instant::now() > end {
            return Err("the child never waited".into());
        }
        thread::sleep(Duration::from_millis(5));
    };
    for waiter in &set.waiters {
        println!("semaphore set {KEY}: {} waits to do {}", name(waiter.pid), waiter.ops[waiter.blocking]);
    }
    for undo in &set.undo {
        println!("semaphore set {KEY}: {} holds {} unit", name(undo.pid), undo.adjustments[0].1);
    }
    for status in ns.segments()? {
        let attached: Vec<_> = status.attached.iter().map(|process| name(process.pid)).collect();
        println!("segment {KEY}: {} bytes, attached by {}", status.stat.size, attached.join(" and "));
    }

    drop(guard);
    assert!(child.wait()?.success());
    assert_eq!(ns.sets()?[0].waiters, []);
    assert_eq!(segment.stat()?.nattch, 0);
    println!("the child has ended: nothing waits, nothing is attached");
    Ok(())
}
