//! Typed data in a segment: one process writes records, and another one reads them.
//!
//! Another process can write to shared memory at any time, so the library gives out no `&T` to it.
//! A [`Cell`](quintet::Cell) copies a value in and out instead, and `atomic_u64` and its siblings
//! are shared counters. A cell of at most 8 bytes is copied in one piece. A larger one can be seen
//! half written, so this example publishes its records through an atomic counter.
//!
//! Run it: `cargo run -p quintet --example typed_data`

use bytemuck::{Pod, Zeroable};
use quintet::{Attachment, Key, Kind, Namespace, Segment};
use std::error::Error;
use std::process::Command;
use std::sync::atomic::Ordering;

const KEY: Key = Key::new(0x7a91);
/// Where the records begin. The 64 bytes before them hold `COUNT`.
const RECORDS: usize = 64;
/// The number of records that are complete, an `AtomicU64`.
const COUNT: usize = 0;

/// One record: plain data without padding and without pointers, the same in every process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Reading {
    time_ms: u64,
    sensor: u32,
    celsius: f32,
}

/// The offset of record number `index`. A multiple of 8, as the alignment of `Reading` demands.
fn offset(index: u64) -> usize {
    RECORDS + index as usize * size_of::<Reading>()
}

/// Appends a record: first its bytes, then the counter that makes it visible.
fn append(memory: &Attachment, reading: Reading) -> quintet::Result<()> {
    let count = memory.atomic_u64(COUNT)?;
    let index = count.load(Ordering::Relaxed);
    memory.cell(offset(index))?.store(reading)?;
    // Release: a reader that sees the new count sees the bytes of the record, too.
    count.store(index + 1, Ordering::Release);
    Ok(())
}

/// Returns all records that are complete.
fn read(memory: &Attachment) -> quintet::Result<Vec<Reading>> {
    let count = memory.atomic_u64(COUNT)?.load(Ordering::Acquire);
    // The count comes from another process: an offset beyond the segment's end is the error EINVAL.
    (0..count).map(|index| Ok(memory.cell(offset(index))?.load())).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    // The second process measures.
    if let Some(namespace) = std::env::args_os().nth(1) {
        let memory = Segment::open(&Namespace::open(namespace)?, KEY)?.attach()?;
        append(&memory, Reading { time_ms: 1000, sensor: 7, celsius: 21.5 })?;
        append(&memory, Reading { time_ms: 2000, sensor: 7, celsius: 22.0 })?;
        return Ok(());
    }

    // The first process creates the segment, which begins as zeroes, and reads the records.
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("namespace");
    let memory = Segment::open_or_create(&Namespace::create(&path, Kind::Private)?, KEY, 4096)?.attach()?;
    assert!(Command::new(std::env::current_exe()?).arg(&path).status()?.success());

    let readings = read(&memory)?;
    for Reading { time_ms, sensor, celsius } in &readings {
        println!("sensor {sensor} at {time_ms} ms: {celsius:.1} degrees");
    }
    assert_eq!(readings[1], Reading { time_ms: 2000, sensor: 7, celsius: 22.0 });
    Ok(())
}
