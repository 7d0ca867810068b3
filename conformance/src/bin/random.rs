//! Random programs, run on the kernel and on Quintet: `random --programs 10000 --about sets --subject drop-in`.
//!
//! Ctrl-C ends it after the programs that are being run; the figures are told all the same, and now and then meanwhile.

use conformance::Subject;
use conformance::random::{About, Duel, Figures, Program, keep_to_one_processor, stop};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: random [--programs N] [--calls N] [--seed N] [--about all|segments|sets|queues] [--subject library|drop-in|kernel]
              [--failures N] [--jobs N] [--progress SECONDS]";
/// How often it is asked whether it is time to tell how far it has come.
const LOOK: Duration = Duration::from_millis(50);

/// What the command line asks for.
struct Wish {
    programs: u64,
    /// The length of each program; `None`: as [`Program::length`] says.
    calls: Option<usize>,
    seed: u64,
    about: About,
    subject: Subject,
    failures: usize,
    jobs: usize,
    progress: u64,
}

/// How far it has come.
struct Done {
    /// The seed of the next program.
    next: u64,
    figures: Figures,
    differences: usize,
}

fn main() -> ExitCode {
    match wish(std::env::args().skip(1)).and_then(|wish| fight(&wish)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn wish(mut args: impl Iterator<Item = String>) -> Result<Wish, String> {
    let (about, subject) = (About::All, Subject::Library);
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut wish = Wish { programs: 10_000, calls: None, seed: 1, about, subject, failures: 1, jobs, progress: 60 };
    while let Some(option) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        let number = || value.parse::<u64>().map_err(|_| format!("'{value}' is not a number\n{USAGE}"));
        match option.as_str() {
            "--programs" => wish.programs = number()?,
            "--calls" => wish.calls = Some(number()? as usize),
            "--seed" => wish.seed = number()?,
            "--about" => wish.about = value.parse()?,
            "--subject" => wish.subject = value.parse()?,
            "--failures" => wish.failures = number()? as usize,
            "--jobs" => wish.jobs = number()?.max(1) as usize,
            "--progress" => wish.progress = number()?.max(1),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(wish)
}

/// Runs the programs, and tells how many differences there were.
fn fight(wish: &Wish) -> Result<usize, String> {
    stop::watch();
    let start = Instant::now();
    let done = Mutex::new(Done { next: wish.seed, figures: Figures::default(), differences: 0 });
    let (about, subject) = (wish.about, wish.subject);
    let tell = |done: &Done| {
        let (from, to, seconds) = (wish.seed, done.next, start.elapsed().as_secs_f64());
        println!(
            "{subject:?}, {about:?}, seeds {from}..{to}: {}, {} differences, {seconds:.0} s",
            done.figures, done.differences
        );
    };
    let ended = thread::scope(|scope| {
        let jobs: Vec<_> = (0..wish.jobs)
            .map(|nth| {
                scope.spawn({
                    let done = &done;
                    move || work(wish, done, nth)
                })
            })
            .collect();
        let mut told = 0;
        while !jobs.iter().all(ScopedJoinHandle::is_finished) {
            thread::sleep(LOOK);
            if start.elapsed().as_secs() / wish.progress > told {
                told = start.elapsed().as_secs() / wish.progress;
                tell(&locked(&done));
            }
        }
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| Err("a job has panicked".to_owned())))
    });
    let done = locked(&done);
    tell(&done);
    ended.map(|()| done.differences)
}

/// One program after another.
fn work(wish: &Wish, done: &Mutex<Done>, nth: usize) -> Result<(), String> {
    keep_to_one_processor(nth);
    let users = rustix::process::geteuid().is_root();
    let mut duel = Duel::new(wish.subject)?;
    while let Some(seed) = next(wish, done) {
        let before = duel.figures();
        let program = Program::generate(wish.about, seed, wish.calls.unwrap_or_else(|| Program::length(seed)), users);
        let fought = duel.fight(&program);
        locked(done).figures += duel.figures() - before;
        if let Err(difference) = fought {
            println!("seed {seed}: a difference; shrunk:\n{}", difference.shrink());
            locked(done).differences += 1;
            duel = Duel::new(wish.subject)?;
        }
    }
    Ok(())
}

/// The seed of the next program, if there is to be one.
fn next(wish: &Wish, done: &Mutex<Done>) -> Option<u64> {
    let mut done = locked(done);
    let enough = done.next == wish.seed + wish.programs || done.differences >= wish.failures || stop::told();
    (!enough).then(|| {
        done.next += 1;
        done.next - 1
    })
}

fn locked(done: &Mutex<Done>) -> MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}
