//! A work queue with a killed worker: all jobs are done, although a kill takes one job away.
//!
//! A message that `receive` returned is out of the queue. If the worker is killed then, the job is
//! lost with it. So the supervisor keeps a ledger: a job is done when its result has arrived. When
//! a worker dies, the supervisor starts another one. It also sends each job again that has no
//! result and is not in the queue. A job can be done twice this way, so the ledger has one entry
//! for each job.
//!
//! Run it: `cargo run -p quintet --example work_queue`

use quintet::{Key, Kind, Message, MessageQueue, Namespace, Select};
use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

const JOBS: Key = Key::new(1);
const RESULTS: Key = Key::new(2);
/// The types of messages in the queue of jobs. A worker takes the lowest type first.
const AGAIN: i64 = 1;
const JOB: i64 = 2;
const STOP: i64 = 3;

/// A worker: squares numbers until it receives `STOP`.
fn work(ns: &Namespace) -> quintet::Result<()> {
    let (jobs, results) = (MessageQueue::open(ns, JOBS)?, MessageQueue::open(ns, RESULTS)?);
    loop {
        let message = jobs.receive(Select::LowestUpTo(STOP))?;
        if message.mtype == STOP {
            return Ok(());
        }
        let number: u64 = message.value()?;
        if number == 3 && message.mtype == JOB {
            // The out-of-memory killer strikes.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        results.send_value(1, &(number, number * number))?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(namespace) = std::env::args_os().nth(1) {
        return Ok(work(&Namespace::open(namespace)?)?);
    }

    let dir = tempfile::tempdir()?;
    let path = dir.path().join("namespace");
    let ns = Namespace::create(&path, Kind::Private)?;
    let jobs = MessageQueue::open_or_create(&ns, JOBS)?;
    let results = MessageQueue::open_or_create(&ns, RESULTS)?;
    (1..=8_u64).try_for_each(|number| jobs.send_value(JOB, &number))?;
    let start_worker = || Command::new(std::env::current_exe()?).arg(&path).spawn();
    let mut workers = [start_worker()?, start_worker()?];

    let mut ledger = BTreeMap::<u64, u64>::new();
    while ledger.len() < 8 {
        if let Some(message) = results.receive_timeout(Select::First, Duration::from_millis(100))? {
            let (number, square) = message.value()?;
            ledger.insert(number, square);
            continue;
        }
        // No result for a while: is each worker still alive?
        for worker in &mut workers {
            let Some(status) = worker.try_wait()? else { continue };
            println!("a worker ended: {status}");
            *worker = start_worker()?;
            let queued = jobs.messages()?.iter().map(Message::value).collect::<quintet::Result<Vec<u64>>>()?;
            for number in (1..=8).filter(|number| !ledger.contains_key(number) && !queued.contains(number)) {
                println!("job {number} has no result, so it is sent again");
                jobs.send_value(AGAIN, &number)?;
            }
        }
    }
    workers.iter().try_for_each(|_| jobs.send(STOP, b""))?;
    for mut worker in workers {
        assert!(worker.wait()?.success());
    }
    println!("results: {:?}", ledger.values().collect::<Vec<_>>());
    assert!(ledger.iter().all(|(number, square)| *square == number * number));
    Ok(())
}
