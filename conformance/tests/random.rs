//! Random programs, every result compared with the kernel's. `QUINTET_PROGRAMS=N` runs N of them.

use conformance::Subject;
use conformance::random::{Duel, Program};

const SEED: u64 = 1;
const PROGRAMS: u64 = 300;
const CALLS: usize = 50;

fn fight(subject: Subject) {
    let programs = std::env::var("QUINTET_PROGRAMS").map_or(PROGRAMS, |n| n.parse().expect("a number of programs"));
    let users = rustix::process::geteuid().is_root();
    let duel = match Duel::new(subject) {
        Err(why) if std::env::var_os("CI").is_none() && why.contains("Kernel") => return eprintln!("skipped: {why}"),
        duel => duel.unwrap(),
    };
    eprintln!("seeds {SEED}..{}", SEED + programs);
    for seed in SEED..SEED + programs {
        if let Err(difference) = duel.fight(&Program::generate(seed, CALLS, users)) {
            panic!("seed {seed}: a difference; shrunk:\n{}", difference.shrink());
        }
    }
}

/// The kernel against itself: what is told of a program does not depend on chance.
#[test]
fn kernel() {
    fight(Subject::Kernel);
}

#[test]
fn library() {
    fight(Subject::Library);
}

#[test]
fn drop_in() {
    fight(Subject::DropIn);
}
