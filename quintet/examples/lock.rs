//! Two processes and a lock: both add 1000 to one number, and no addition is lost.
//!
//! A [`Semaphore`] with the initial value 1 is a lock between processes. [`Semaphore::acquire`]
//! returns a guard, and dropping the guard releases the lock. If a process is killed while it holds
//! the guard, the unit returns to the semaphore (`SEM_UNDO`), so the other process does not block
//! for ever.
//!
//! Run it: `cargo run -p quintet --example lock`

use quintet::{Key, Kind, Namespace, Segment, Semaphore};
use std::error::Error;
use std::process::Command;

/// A segment and a semaphore set may have the same key: each class of objects has its own keys.
const KEY: Key = Key::new(0x5eed);
const STEPS: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    // The second process: this program again, with the namespace as its argument.
    if let Some(namespace) = std::env::args_os().nth(1) {
        return Ok(add(&Namespace::open(namespace)?)?);
    }

    // The first process creates the namespace in a directory that goes with the variable `dir`.
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("namespace");
    let ns = Namespace::create(&path, Kind::Private)?;
    let memory = Segment::open_or_create(&ns, KEY, 8)?.attach_read_only()?;

    let mut second = Command::new(std::env::current_exe()?).arg(&path).spawn()?;
    add(&ns)?;
    assert!(second.wait()?.success());

    let sum = memory.cell::<u64>(0)?.load();
    println!("two processes added 1 to a number {STEPS} times each: {sum}");
    assert_eq!(sum, 2 * STEPS);
    Ok(())
}

/// Adds 1 to the number, `STEPS` times.
fn add(ns: &Namespace) -> quintet::Result<()> {
    let memory = Segment::open_or_create(ns, KEY, 8)?.attach()?;
    let number = memory.cell::<u64>(0)?;
    // The process that comes first creates the lock; the other one opens it.
    let lock = Semaphore::open_or_create(ns, KEY, 1)?;
    for _ in 0..STEPS {
        // Without the guard, both processes could load the same number, and lose an addition.
        let _guard = lock.acquire()?;
        number.store(number.load() + 1)?;
    }
    Ok(())
}
