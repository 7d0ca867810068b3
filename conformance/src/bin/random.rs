//! Runs random programs on the kernel and on Quintet and compares the results: `random --programs
//! 10000 --about sets --subject drop-in`.
//!
//! Ctrl-C ends it after the current programs; the final counts are still printed. It also prints
//! counts at regular intervals.

use conformance::Subject;
use conformance::interrupt;
use conformance::random::{About, Comparison, Counters, Program, keep_to_one_processor};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: random [--programs N] [--calls N] [--seed N] [--about all|segments|sets|queues] [--subject library|drop-in|kernel]
              [--failures N] [--jobs N] [--progress SECONDS]";
/// How often the main thread checks whether to print counts.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Command-line options.
struct Options {
    programs: u64,
    /// The length of each program. `None` means [`Program::length`].
    calls: Option<usize>,
    seed: u64,
    about: About,
    subject: Subject,
    failures: usize,
    jobs: usize,
    progress: u64,
}

/// Progress of all jobs.
struct Progress {
    /// The seed of the next program.
    next: u64,
    counters: Counters,
    differences: usize,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let (about, subject) = (About::All, Subject::Library);
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { programs: 10_000, calls: None, seed: 1, about, subject, failures: 1, jobs, progress: 60 };
    while let Some(option) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        let number = || value.parse::<u64>().map_err(|_| format!("'{value}' is not a number\n{USAGE}"));
        match option.as_str() {
            "--programs" => options.programs = number()?,
            "--calls" => options.calls = Some(number()? as usize),
            "--seed" => options.seed = number()?,
            "--about" => options.about = value.parse()?,
            "--subject" => options.subject = value.parse()?,
            "--failures" => options.failures = number()? as usize,
            "--jobs" => options.jobs = number()?.max(1) as usize,
            "--progress" => options.progress = number()?.max(1),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

/// Runs the programs. Returns the number of differences.
fn run(options: &Options) -> Result<usize, String> {
    interrupt::install();
    let start = Instant::now();
    let done = Mutex::new(Progress { next: options.seed, counters: Counters::default(), differences: 0 });
    let (about, subject) = (options.about, options.subject);
    let report = |done: &Progress| {
        let (from, to, seconds) = (options.seed, done.next, start.elapsed().as_secs_f64());
        println!(
            "{subject:?}, {about:?}, seeds {from}..{to}: {}, {} differences, {seconds:.0} s",
            done.counters, done.differences
        );
    };
    let ended = thread::scope(|scope| {
        let jobs: Vec<_> = (0..options.jobs)
            .map(|job| {
                scope.spawn({
                    let done = &done;
                    move || work(options, done, job)
                })
            })
            .collect();
        let mut reported = 0;
        while !jobs.iter().all(ScopedJoinHandle::is_finished) {
            thread::sleep(POLL_INTERVAL);
            if start.elapsed().as_secs() / options.progress > reported {
                reported = start.elapsed().as_secs() / options.progress;
                report(&locked(&done));
            }
        }
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| Err("a job panicked".to_owned())))
    });
    let done = locked(&done);
    report(&done);
    ended.map(|()| done.differences)
}

/// Runs programs until none are left.
fn work(options: &Options, done: &Mutex<Progress>, job: usize) -> Result<(), String> {
    keep_to_one_processor(job);
    let users = rustix::process::geteuid().is_root();
    let mut comparison = Comparison::new(options.subject)?;
    while let Some(seed) = next(options, done) {
        let before = comparison.counters();
        let program = Program::generate(options.about, seed, options.calls.unwrap_or_else(|| Program::length(seed)), users);
        let result = comparison.run(&program);
        locked(done).counters += comparison.counters() - before;
        if let Err(difference) = result {
            println!("seed {seed}: a difference, shrunk:\n{}", difference.shrink());
            locked(done).differences += 1;
            comparison = Comparison::new(options.subject)?;
        }
    }
    Ok(())
}

/// Returns the seed of the next program, or `None` at the end.
fn next(options: &Options, done: &Mutex<Progress>) -> Option<u64> {
    let mut done = locked(done);
    let enough = done.next == options.seed + options.programs || done.differences >= options.failures || interrupt::requested();
    (!enough).then(|| {
        done.next += 1;
        done.next - 1
    })
}

fn locked(done: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}
