//! Attacks every byte of a namespace; see docs/reliability.md.
//!
//! A *life* is one namespace from creation to removal. Two victims use it. The attacker has all
//! files mapped writable, except those of the objects that must not change. It stores invalid
//! values before and during the victims' calls.
#![allow(unsafe_code)]
//!
//!
//! # Safety
//!
//! This process has one thread, so its children can go on after `fork`.

mod attack;
mod memory;
mod objects;
mod rng;
mod victim;
mod watch;

use attack::{Attacker, Kind};
use memory::StatusPage;
use rng::Rng;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};
use watch::Watch;

const USAGE: &str = "usage: hostile [--corruptions N] [--seconds N] [--seed N] [--lives N] [--longest SECONDS]";

/// Limit for a process to exit, on any machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(180);
const VICTIMS: usize = 2;
const ROUNDS: u32 = 40;

struct Options {
    corruptions: u64,
    seconds: u64,
    seed: u64,
    lives: u64,
    longest: Duration,
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { corruptions: u64::MAX, seconds: u64::MAX, seed: 1, lives: u64::MAX, longest: watch::CALL_TIMEOUT };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|text| text.replace('_', "").parse().ok()).ok_or(USAGE)?;
        match name.as_str() {
            "--corruptions" => options.corruptions = value,
            "--seconds" => options.seconds = value,
            "--seed" => options.seed = value,
            "--lives" => options.lives = value,
            "--longest" => options.longest = Duration::from_secs(value),
            _ => return Err(USAGE.into()),
        }
    }
    if options.corruptions == u64::MAX && options.seconds == u64::MAX && options.lives == u64::MAX {
        options.corruptions = 1_000_000;
    }
    Ok(options)
}

#[derive(Default)]
struct Totals {
    corruptions: [u64; Kind::ALL.len()],
    lives: u64,
    rounds: u64,
    calls: u64,
    succeeded: u64,
    longest: (u64, u32),
    shortened: u64,
}

fn main() {
    let options = options().unwrap_or_else(|usage| {
        eprintln!("{usage}");
        std::process::exit(2);
    });
    let memory = Path::new("/dev/shm");
    let parent = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
    let directory = tempfile::Builder::new().prefix("quintet-hostile-").tempdir_in(parent).expect("a directory");
    let begin = Instant::now();
    let mut totals = Totals::default();
    let mut watch = Watch { longest: options.longest, slow: 0, seed: 0 };
    let mut printed = Instant::now();
    let mut failed = None;
    while totals.corruptions.iter().sum::<u64>() < options.corruptions
        && begin.elapsed().as_secs() < options.seconds
        && totals.lives < options.lives
    {
        let seed = options.seed.wrapping_add(totals.lives);
        watch.seed = seed;
        if let Err(why) = run_life(directory.path(), &mut watch, &mut totals) {
            failed = Some(format!("{why}\nto repeat: cargo xtask hostile --lives 1 --seed {seed}"));
            break;
        }
        totals.lives += 1;
        if printed.elapsed() > Duration::from_secs(60) {
            printed = Instant::now();
            report(&totals, &watch, begin.elapsed());
        }
    }
    report(&totals, &watch, begin.elapsed());
    drop(directory);
    if let Some(why) = failed {
        println!("FAILED: {why}");
        std::process::exit(1);
    }
}

fn report(totals: &Totals, watch: &Watch, time: Duration) {
    let all: u64 = totals.corruptions.iter().sum();
    println!(
        "{all} corruptions, {} calls ({} succeeded), {} rounds, {} lives, {} s; last seed {}; longest call {} ms of wall-clock time ({}); {} over 1 s",
        totals.calls,
        totals.succeeded,
        totals.rounds,
        totals.lives,
        time.as_secs(),
        watch.seed,
        totals.longest.0 / 1000,
        victim::CALLS[totals.longest.1 as usize],
        watch.slow
    );
    for (kind, count) in Kind::ALL.iter().zip(totals.corruptions) {
        print!("  {kind:?} {count}");
    }
    println!("  files shortened {}", totals.shortened);
}

/// A forked process.
struct Process {
    pid: i32,
    page: &'static StatusPage,
}

fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: see the module.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: no pointers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(if ok { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            pid
        }
    }
}

/// Returns the status of a child that has exited, or `None` while it runs.
fn ended(pid: i32, wait: bool) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a local.
    let got = unsafe { libc::waitpid(pid, &raw mut status, if wait { 0 } else { libc::WNOHANG }) };
    (got == pid).then_some(status)
}

fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("it was killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("it ended with status {}", libc::WEXITSTATUS(status))
    }
}

/// Blocks until a child has exited, which must be with status 0.
fn must_end(pid: i32, what: &str) -> Result<(), String> {
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = ended(pid, false) {
            break status;
        }
        if begin.elapsed() > EXIT_TIMEOUT {
            show(pid);
            kill(pid);
            return Err(format!("{what}: it hangs"));
        }
        std::thread::sleep(Duration::from_micros(200));
    };
    if status == 0 { Ok(()) } else { Err(format!("{what}: {}", describe(status))) }
}

fn kill(pid: i32) {
    // SAFETY: a child that has not been waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    ended(pid, true);
}

/// Prints the stack of a process.
fn show(pid: i32) {
    let gdb = std::process::Command::new("gdb").args(["-batch", "-p", &pid.to_string(), "-ex", "bt"]).output();
    if let Ok(output) = gdb {
        println!(
            "{}",
            String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n")
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.pid != 0 {
            kill(self.pid);
        }
    }
}

fn run_life(directory: &Path, watch: &mut Watch, totals: &mut Totals) -> Result<(), String> {
    let (path, seed) = (directory.join("ns"), watch.seed);
    let _ = std::fs::remove_dir_all(&path);
    let mut rng = Rng::new(seed ^ 0x5eed);
    let kind = if rng.once_in(3) { quintet::Kind::Shared } else { quintet::Kind::Private };
    must_end(fork(|| _ = objects::make(&path, kind)), "creating the namespace")?;
    let untouched = Untouched::new(&path);
    let mut attacker = Attacker::new(&path, seed);
    // Victims install the guard against shortened files.
    let shortens = rng.once_in(4);
    attacker.shortens = shortens;
    let mut victims: Vec<Process> = Vec::new();
    for _ in 0..VICTIMS {
        let page = memory::status_page();
        let pid = fork(|| {
            limit_memory();
            if shortens {
                quintet::guard_against_truncation().expect("the guard");
            }
            victim::run(&path, page);
        });
        victims.push(Process { pid, page });
    }
    let result = rounds(&mut attacker, &mut victims, &mut rng, &untouched, watch, totals);
    totals.shortened += attacker.shortened;
    for (total, count) in totals.corruptions.iter_mut().zip(attacker.counts) {
        *total += count;
    }
    for victim in &victims {
        let page = victim.page;
        totals.calls += page.ended.load(SeqCst);
        totals.succeeded += page.succeeded.load(SeqCst);
        totals.longest = totals.longest.max((page.longest.load(Relaxed), page.longest_call.load(Relaxed)));
        memory::free(page);
    }
    result?;
    drop(victims);
    // A new process opens the corrupted namespace, repairs it and removes it.
    attacker.end_loans(true);
    must_end(
        fork(|| {
            limit_memory();
            if shortens {
                quintet::guard_against_truncation().expect("the guard");
            }
            if let Ok(ns) = quintet::Namespace::open(&path) {
                objects::check_untouched(&ns);
                let _ = ns.sweep();
                let _ = ns.repair_queues();
                objects::check_untouched(&ns);
                let _ = objects::make_objects(&ns, objects::KEYS);
                let _ = ns.destroy(true);
            }
        }),
        "the process that opens the namespace afterwards",
    )
}

/// Corrupted sizes must not exhaust the machine's memory.
fn limit_memory() {
    let limit = |what, bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: a local.
        unsafe { libc::setrlimit(what, &raw const limit) };
    };
    limit(libc::RLIMIT_CORE, 0);
    limit(libc::RLIMIT_FSIZE, 1 << 24);
    // A sanitizer maps terabytes.
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let data: u64 = pages.split_whitespace().nth(5).and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    if data < 1 << 17 {
        limit(libc::RLIMIT_DATA, 1 << 30);
    }
    // SAFETY: a disposition.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
}

fn rounds(
    attacker: &mut Attacker,
    victims: &mut [Process],
    rng: &mut Rng,
    untouched: &Untouched,
    watch: &mut Watch,
    totals: &mut Totals,
) -> Result<(), String> {
    watch.wait_for(victims, 0, |_| false)?;
    let tids: Vec<u32> = victims.iter().map(|victim| victim.page.tid.load(SeqCst)).collect();
    attacker.learn_participants(&tids);
    for round in 1..=ROUNDS {
        if rng.once_in(3) {
            attacker.remap();
            attacker.restore();
        } else {
            attacker.remap();
        }
        let kinds: &[Kind] = match rng.below(16) {
            0 => &[Kind::Limits],
            1 | 2 => &[Kind::Registry],
            3 | 4 => &[Kind::Control, Kind::Data],
            5..8 => &[Kind::Set],
            8..11 => &[Kind::Queue, Kind::Pages],
            11 => &[Kind::Set, Kind::Queue, Kind::Pages],
            12 => &[Kind::Registry, Kind::Set],
            13 => &[Kind::Registry, Kind::Queue, Kind::Pages],
            14 => &[Kind::Registry, Kind::Control],
            _ => &Kind::ALL,
        };
        for _ in 0..rng.choose(&[0, 1, 2, 5, 20, 100]) {
            attacker.corrupt(kinds);
        }
        for victim in victims.iter() {
            let page = victim.page;
            page.seed.store(rng.word(), SeqCst);
            page.last.store(u32::from(round == ROUNDS), SeqCst);
            page.round.store(round, SeqCst);
            memory::wake(&page.round);
        }
        match rng.below(4) {
            // Corrupts only before the calls.
            0 => watch.wait_for(victims, round, |_| {
                attacker.end_loans(false);
                false
            })?,
            // Changes the same word all the time.
            1 => {
                attacker.end_loans(true);
                let toggler = attacker.toggler(kinds);
                watch.wait_for(victims, round, |_| toggler.as_ref().inspect(|toggler| toggler.toggle()).is_some())?;
            }
            // Corrupts one word after another, as fast as calls are made.
            _ => {
                let mut seen = 0;
                watch.wait_for(victims, round, |begun| {
                    attacker.end_loans(false);
                    let due = (begun - seen).min(8).max(u64::from(seen == 0));
                    seen = begun;
                    (0..2 * due).for_each(|_| attacker.corrupt(kinds));
                    due != 0
                })?;
            }
        }
        attacker.end_loans(true);
        totals.rounds += 1;
        untouched.check()?;
    }
    for victim in victims {
        victim.page.last.store(memory::END, SeqCst);
        memory::wake(&victim.page.last);
        must_end(std::mem::take(&mut victim.pid), "the exit of a victim")?;
    }
    Ok(())
}

/// The files that must not change, each from an offset on.
struct Untouched(Vec<(PathBuf, usize, Vec<u8>)>);

impl Untouched {
    fn new(path: &Path) -> Untouched {
        // Leaves out what reading changes: locks, times, attachments.
        let parts = [("shm/1.data", 0), ("sem/1", 1536), ("msg/1", 4096), ("msg/1.data", 4096)];
        let read = |(name, from): (&str, usize)| std::fs::read(path.join(name)).ok().map(|bytes| (path.join(name), from, bytes));
        Untouched(parts.into_iter().filter_map(read).collect())
    }

    fn check(&self) -> Result<(), String> {
        for (path, from, content) in &self.0 {
            let now = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            if now.get(*from..content.len()) != content.get(*from..) {
                let at = (*from..content.len()).find(|at| now.get(*at) != content.get(*at));
                return Err(format!("{} has changed at {at:?}, although it was not attacked", path.display()));
            }
        }
        Ok(())
    }
}
