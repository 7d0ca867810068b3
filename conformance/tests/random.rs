//! Random programs, every result compared with the kernel's. `QUINTET_PROGRAMS=N` runs N of them.

use conformance::Subject;
use conformance::random::{About, Duel, Program, keep_to_one_processor};
use std::sync::atomic::{AtomicUsize, Ordering};

const SEED: u64 = 1;
const PROGRAMS: u64 = 300;

fn fight(about: About, subject: Subject) {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    keep_to_one_processor(TESTS.fetch_add(1, Ordering::Relaxed));
    let programs = std::env::var("QUINTET_PROGRAMS").map_or(PROGRAMS, |n| n.parse().expect("a number of programs"));
    let users = rustix::process::geteuid().is_root();
    let duel = match Duel::new(subject) {
        Err(why) if std::env::var_os("CI").is_none() && why.contains("Kernel") => return eprintln!("skipped: {why}"),
        duel => duel.unwrap(),
    };
    eprintln!("seeds {SEED}..{}", SEED + programs);
    for seed in SEED..SEED + programs {
        if let Err(difference) = duel.fight(&Program::generate(about, seed, Program::length(seed), users)) {
            panic!("seed {seed}: a difference; shrunk:\n{}", difference.shrink());
        }
    }
}

/// The kernel against itself: what is told of a program does not depend on chance.
mod kernel {
    use super::*;

    #[test]
    fn segments() {
        fight(About::Segments, Subject::Kernel);
    }

    #[test]
    fn sets() {
        fight(About::Sets, Subject::Kernel);
    }

    #[test]
    fn queues() {
        fight(About::Queues, Subject::Kernel);
    }

    #[test]
    fn all() {
        fight(About::All, Subject::Kernel);
    }
}

mod library {
    use super::*;

    #[test]
    fn segments() {
        fight(About::Segments, Subject::Library);
    }

    #[test]
    fn sets() {
        fight(About::Sets, Subject::Library);
    }

    #[test]
    fn queues() {
        fight(About::Queues, Subject::Library);
    }

    #[test]
    fn all() {
        fight(About::All, Subject::Library);
    }
}

mod drop_in {
    use super::*;

    #[test]
    fn segments() {
        fight(About::Segments, Subject::DropIn);
    }

    #[test]
    fn sets() {
        fight(About::Sets, Subject::DropIn);
    }

    #[test]
    fn queues() {
        fight(About::Queues, Subject::DropIn);
    }

    #[test]
    fn all() {
        fight(About::All, Subject::DropIn);
    }
}
