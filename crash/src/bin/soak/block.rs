//! A block of a segment. Only the holder of its semaphore writes to it. The next writer finds it
//! intact, or marked as left half-written by a killed process.

use crate::ledger::Ledger;
use crate::params::BLOCK_LEN;
use crate::payload;
use quintet::Attachment;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Layout: owner's process id, worker, incarnation, unused (4 bytes each), count (8), checksum (8),
/// then data.
const HEADER: usize = 32;
/// Limit for a killed process to exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Identifies the process that writes.
#[derive(Clone, Copy)]
pub struct Writer {
    pub pid: u32,
    pub worker: u32,
    pub incarnation: u32,
}

/// Updates a block. The caller holds its semaphore. Runs `between` while the block is marked.
pub fn update(memory: &Attachment, at: usize, writer: Writer, ledger: &Ledger, between: impl FnOnce()) -> Result<(), String> {
    let failed = |e: quintet::Error| e.to_string();
    let owner = memory.atomic_u32(at).map_err(failed)?;
    let (worker, incarnation) = (memory.atomic_u32(at + 4).map_err(failed)?, memory.atomic_u32(at + 8).map_err(failed)?);
    let before = owner.load(SeqCst);
    let mut text = [0; BLOCK_LEN];
    memory.read(at, &mut text).map_err(failed)?;
    if before == 0 {
        check(&text)?;
    } else if is_alive(ledger, before, worker.load(SeqCst), incarnation.load(SeqCst)) {
        let pid = writer.pid;
        return Err(format!("two processes in the block at {at}: {before}, which is alive, and {pid}"));
    }
    incarnation.store(writer.incarnation, SeqCst);
    worker.store(writer.worker, SeqCst);
    owner.store(writer.pid, SeqCst);
    between();
    let count = u64::from_ne_bytes(text[16..24].try_into().expect("eight bytes")) + 1;
    text[16..24].copy_from_slice(&count.to_ne_bytes());
    text[HEADER..].fill(count as u8);
    let sum = sum(&text);
    text[24..32].copy_from_slice(&sum.to_ne_bytes());
    memory.write(at + 16, &text[16..]).map_err(failed)?;
    match owner.compare_exchange(writer.pid, 0, SeqCst, SeqCst) {
        Ok(_) => Ok(()),
        Err(other) => Err(format!("process {other} entered the block at {at}, which {} was writing", writer.pid)),
    }
}

/// Returns an error if the checksum of a block is wrong.
pub fn check(text: &[u8; BLOCK_LEN]) -> Result<(), String> {
    let stored = u64::from_ne_bytes(text[24..32].try_into().expect("eight bytes"));
    if text[16..].iter().all(|byte| *byte == 0) || stored == sum(text) {
        return Ok(());
    }
    Err(format!("a block is damaged, although no writer was killed: {:?}", &text[..64]))
}

fn sum(text: &[u8; BLOCK_LEN]) -> u64 {
    payload::sum(&text[16..24]) ^ payload::sum(&text[HEADER..])
}

/// Returns `true` if the process runs and is not about to exit. The kernel releases what a killed
/// process held some moments before it reports the exit.
fn is_alive(ledger: &Ledger, pid: u32, worker: u32, incarnation: u32) -> bool {
    let current = || ledger.pages.get(worker as usize).map(|page| page.incarnation.load(SeqCst));
    let state = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    };
    let end = Instant::now() + EXIT_TIMEOUT;
    while current() == Some(incarnation) && state().is_some_and(|state| state != 'Z' && state != 'X') {
        if Instant::now() > end {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
