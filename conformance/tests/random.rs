//! Random programs, every result compared with the kernel's. `QUINTET_PROGRAMS=N` runs N of them.

use conformance::Subject;
use conformance::random::{Duel, Mechanism, Program};

const SEED: u64 = 1;
const PROGRAMS: u64 = 300;
const CALLS: usize = 50;

fn fight(about: Mechanism, subject: Subject) {
    let programs = std::env::var("QUINTET_PROGRAMS").map_or(PROGRAMS, |n| n.parse().expect("a number of programs"));
    let users = rustix::process::geteuid().is_root();
    let duel = match Duel::new(subject) {
        Err(why) if std::env::var_os("CI").is_none() && why.contains("Kernel") => return eprintln!("skipped: {why}"),
        duel => duel.unwrap(),
    };
    eprintln!("seeds {SEED}..{}", SEED + programs);
    for seed in SEED..SEED + programs {
        if let Err(difference) = duel.fight(&Program::generate(about, seed, CALLS, users)) {
            panic!("seed {seed}: a difference; shrunk:\n{}", difference.shrink());
        }
    }
}

/// The kernel against itself: what is told of a program does not depend on chance.
mod kernel {
    use super::*;

    #[test]
    fn segments() {
        fight(Mechanism::Segments, Subject::Kernel);
    }

    #[test]
    fn sets() {
        fight(Mechanism::Sets, Subject::Kernel);
    }

    #[test]
    fn queues() {
        fight(Mechanism::Queues, Subject::Kernel);
    }
}

mod library {
    use super::*;

    #[test]
    fn segments() {
        fight(Mechanism::Segments, Subject::Library);
    }

    #[test]
    fn sets() {
        fight(Mechanism::Sets, Subject::Library);
    }

    #[test]
    fn queues() {
        fight(Mechanism::Queues, Subject::Library);
    }
}

mod drop_in {
    use super::*;

    #[test]
    fn segments() {
        fight(Mechanism::Segments, Subject::DropIn);
    }

    #[test]
    fn sets() {
        fight(Mechanism::Sets, Subject::DropIn);
    }

    #[test]
    fn queues() {
        fight(Mechanism::Queues, Subject::DropIn);
    }
}
