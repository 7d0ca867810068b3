//! Random programs. All results are compared with the kernel's. `QUINTET_PROGRAMS=N` runs N
//! programs.

use conformance::Subject;
use conformance::random::{About, Comparison, Program, keep_to_one_processor};
use std::sync::atomic::{AtomicUsize, Ordering};

const SEED: u64 = 1;
const PROGRAMS: u64 = 300;

fn run(about: About, subject: Subject) {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    keep_to_one_processor(TESTS.fetch_add(1, Ordering::Relaxed));
    let programs = std::env::var("QUINTET_PROGRAMS").map_or(PROGRAMS, |n| n.parse().expect("a number of programs"));
    let users = rustix::process::geteuid().is_root();
    let comparison = match Comparison::new(subject) {
        Err(why) if std::env::var_os("CI").is_none() && why.contains("Kernel") => return eprintln!("skipped: {why}"),
        comparison => comparison.unwrap(),
    };
    eprintln!("seeds {SEED}..{}", SEED + programs);
    for seed in SEED..SEED + programs {
        if let Err(difference) = comparison.run(&Program::generate(about, seed, Program::length(seed), users)) {
            panic!("seed {seed}: a difference; shrunk:\n{}", difference.shrink());
        }
    }
}

/// The kernel compared with itself: results do not depend on chance.
mod kernel {
    use super::*;

    #[test]
    fn segments() {
        run(About::Segments, Subject::Kernel);
    }

    #[test]
    fn sets() {
        run(About::Sets, Subject::Kernel);
    }

    #[test]
    fn queues() {
        run(About::Queues, Subject::Kernel);
    }

    #[test]
    fn all() {
        run(About::All, Subject::Kernel);
    }
}

mod library {
    use super::*;

    #[test]
    fn segments() {
        run(About::Segments, Subject::Library);
    }

    #[test]
    fn sets() {
        run(About::Sets, Subject::Library);
    }

    #[test]
    fn queues() {
        run(About::Queues, Subject::Library);
    }

    #[test]
    fn all() {
        run(About::All, Subject::Library);
    }
}

mod drop_in {
    use super::*;

    #[test]
    fn segments() {
        run(About::Segments, Subject::DropIn);
    }

    #[test]
    fn sets() {
        run(About::Sets, Subject::DropIn);
    }

    #[test]
    fn queues() {
        run(About::Queues, Subject::DropIn);
    }

    #[test]
    fn all() {
        run(About::All, Subject::DropIn);
    }
}
