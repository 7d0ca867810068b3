//! Many readers of one large array: 16 MiB of numbers, in memory once, summed by four processes.
//!
//! Each reader attaches the segment for reading only, and copies 64 KiB at a time out of it. So a
//! reader needs 64 KiB of its own, however large the array is. A semaphore of `READERS` units is
//! the readers-writer lock: a reader takes one unit, the writer takes all of them at once. If a
//! reader is killed, its unit returns, so the writer does not block for ever.
//!
//! Run it: `cargo run --release -p quintet --example many_readers`

use quintet::{Key, Kind, MessageQueue, Namespace, Segment, Select, Semaphore};
use std::error::Error;
use std::process::Command;

const ARRAY: Key = Key::new(1);
const LOCK: Key = Key::new(2);
const SUMS: Key = Key::new(3);
const READERS: u16 = 4;
/// The number of `u64` in the array, and in the part that is copied at a time.
const LEN: usize = 2 << 20;
const PART: usize = 8 << 10;

/// A reader: sends the sum of all numbers.
fn read(ns: &Namespace) -> quintet::Result<()> {
    let array = Segment::open(ns, ARRAY)?.attach_read_only()?;
    let mut part = vec![0_u64; PART];
    let mut sum = 0;
    let guard = Semaphore::open(ns, LOCK)?.acquire()?;
    for offset in (0..array.len()).step_by(size_of_val(&part[..])) {
        array.read(offset, bytemuck::cast_slice_mut(&mut part))?;
        sum += part.iter().sum::<u64>();
    }
    drop(guard);
    MessageQueue::open(ns, SUMS)?.send_value(1, &sum)
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(namespace) = std::env::args_os().nth(1) {
        return Ok(read(&Namespace::open(namespace)?)?);
    }

    let dir = tempfile::tempdir()?;
    let path = dir.path().join("namespace");
    let ns = Namespace::create(&path, Kind::Private)?;
    let segment = Segment::open_or_create(&ns, ARRAY, (LEN * size_of::<u64>()) as u64)?;
    let array = segment.attach()?;
    let lock = Semaphore::open_or_create(&ns, LOCK, READERS)?;
    let sums = MessageQueue::open_or_create(&ns, SUMS)?;

    // The writer keeps readers out, starts them, and writes while they wait.
    let guard = lock.acquire_many(READERS)?;
    let start = || Command::new(std::env::current_exe()?).arg(&path).spawn();
    let mut readers = (0..READERS).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    let mut part = vec![0_u64; PART];
    for first in (0..LEN).step_by(PART) {
        part.iter_mut().zip(first as u64..).for_each(|(number, value)| *number = value);
        array.write(first * size_of::<u64>(), bytemuck::cast_slice(&part))?;
    }
    drop(guard);

    let right = (LEN as u64 - 1) * LEN as u64 / 2;
    for _ in 0..READERS {
        let (_, sum) = sums.receive_value::<u64>(Select::First)?;
        println!("a reader's sum of {LEN} numbers: {sum}");
        assert_eq!(sum, right);
    }
    for reader in &mut readers {
        assert!(reader.wait()?.success());
    }
    assert_eq!(segment.stat()?.nattch, 1);
    Ok(())
}
