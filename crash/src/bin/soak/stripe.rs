//! A stripe of a segment: only who has its semaphore writes to it, and whoever comes next finds it whole, or marked as left in the middle by
//! somebody who has died.

use crate::ledger::Ledger;
use crate::letter;
use quintet::Attachment;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Owner's pid, worker, incarnation, unused; count (8); sum (8); bytes.
const HEAD: usize = 32;
pub const LEN: usize = 512;
/// How long somebody may take to end who was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who writes.
#[derive(Clone, Copy)]
pub struct Writer {
    pub pid: u32,
    pub worker: u32,
    pub incarnation: u32,
}

/// Turns the stripe's page, with its semaphore held. `between` is done in the midst of it.
pub fn turn(memory: &Attachment, at: usize, me: Writer, ledger: &Ledger, between: impl FnOnce()) -> Result<(), String> {
    let failed = |e: quintet::Error| e.to_string();
    let owner = memory.atomic_u32(at).map_err(failed)?;
    let (worker, incarnation) = (memory.atomic_u32(at + 4).map_err(failed)?, memory.atomic_u32(at + 8).map_err(failed)?);
    let before = owner.load(SeqCst);
    let mut text = [0; LEN];
    memory.read(at, &mut text).map_err(failed)?;
    if before == 0 {
        check(&text)?;
    } else if is_alive(ledger, before, worker.load(SeqCst), incarnation.load(SeqCst)) {
        let pid = me.pid;
        return Err(format!("two at once in the stripe at {at}: {before}, who lives, and {pid}"));
    }
    incarnation.store(me.incarnation, SeqCst);
    worker.store(me.worker, SeqCst);
    owner.store(me.pid, SeqCst);
    between();
    let count = u64::from_ne_bytes(text[16..24].try_into().expect("eight bytes")) + 1;
    text[16..24].copy_from_slice(&count.to_ne_bytes());
    text[HEAD..].fill(count as u8);
    let sum = sum(&text);
    text[24..32].copy_from_slice(&sum.to_ne_bytes());
    memory.write(at + 16, &text[16..]).map_err(failed)?;
    match owner.compare_exchange(me.pid, 0, SeqCst, SeqCst) {
        Ok(_) => Ok(()),
        Err(other) => Err(format!("{other} came into the stripe at {at}, where {} was", me.pid)),
    }
}

/// Whether it is whole.
pub fn check(text: &[u8; LEN]) -> Result<(), String> {
    let said = u64::from_ne_bytes(text[24..32].try_into().expect("eight bytes"));
    if text[16..].iter().all(|byte| *byte == 0) || said == sum(text) {
        return Ok(());
    }
    Err(format!("a stripe that nobody was killed in is not whole: {:?}", &text[..64]))
}

fn sum(text: &[u8; LEN]) -> u64 {
    letter::sum(&text[16..24]) ^ letter::sum(&text[HEAD..])
}

/// Whether a process is there and does more than end. One that was killed has given back what it held some moments before it says so.
fn is_alive(ledger: &Ledger, pid: u32, worker: u32, incarnation: u32) -> bool {
    let current = || ledger.pages.get(worker as usize).map(|page| page.incarnation.load(SeqCst));
    let state = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(") ")?.1.chars().next()
    };
    let end = Instant::now() + PATIENCE;
    while current() == Some(incarnation) && state().is_some_and(|state| state != 'Z' && state != 'X') {
        if Instant::now() > end {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
