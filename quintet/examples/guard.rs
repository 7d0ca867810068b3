//! Two processes count to 2000 together, in steps that nobody may come between: `guard`.
//!
//! Without the line that acquires, the sum is wrong; and a process that is killed in the middle does not stop the other.

use quintet::{Key, Kind, Namespace, Segment, Semaphore};
use std::process::Command;

const KEY: Key = Key::new(0x5eed);
const STEPS: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // As another process: the namespace is told by the first one.
    if let Some(dir) = std::env::args_os().nth(1) {
        return Ok(count(&Namespace::open(dir)?)?);
    }
    let dir = std::env::temp_dir().join(format!("quintet-guard-{}", std::process::id()));
    let ns = Namespace::create(&dir, Kind::Private)?;
    let mut other = Command::new(std::env::current_exe()?).arg(&dir).spawn()?;
    count(&ns)?;
    other.wait()?;
    println!("{}", sum(&ns)?);
    ns.destroy(true)?;
    Ok(())
}

fn count(ns: &Namespace) -> quintet::Result<()> {
    let memory = Segment::create(ns, KEY, 8)?.attach()?;
    let sum = memory.cell::<u64>(0)?;
    let turn = Semaphore::open_or_create(ns, KEY, 1)?;
    for _ in 0..STEPS {
        let _mine = turn.acquire()?;
        sum.store(sum.load() + 1)?;
    }
    Ok(())
}

fn sum(ns: &Namespace) -> quintet::Result<u64> {
    Ok(Segment::open(ns, KEY)?.attach_read_only()?.cell::<u64>(0)?.load())
}
