//! Random programs, run on the kernel and on Quintet: `random --programs 10000 --about sets --subject drop-in`.

use conformance::Subject;
use conformance::random::{Duel, Mechanism, Program};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
usage: random [--programs N] [--calls N] [--seed N] [--about segments|sets|queues] [--subject library|drop-in|kernel] [--failures N]";

/// What the command line asks for.
struct Wish {
    programs: u64,
    calls: usize,
    seed: u64,
    about: Mechanism,
    subject: Subject,
    failures: usize,
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
    let about = Mechanism::Segments;
    let mut wish = Wish { programs: 10_000, calls: 50, seed: 1, about, subject: Subject::Library, failures: 1 };
    while let Some(option) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        let number = || value.parse::<u64>().map_err(|_| format!("'{value}' is not a number\n{USAGE}"));
        match option.as_str() {
            "--programs" => wish.programs = number()?,
            "--calls" => wish.calls = number()? as usize,
            "--seed" => wish.seed = number()?,
            "--about" => wish.about = value.parse()?,
            "--subject" => wish.subject = value.parse()?,
            "--failures" => wish.failures = number()? as usize,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(wish)
}

/// Runs the programs, and tells how many differences there were.
fn fight(wish: &Wish) -> Result<usize, String> {
    let (start, users) = (Instant::now(), rustix::process::geteuid().is_root());
    let mut duel = Duel::new(wish.subject)?;
    let mut found = 0;
    for seed in wish.seed..wish.seed + wish.programs {
        if let Err(difference) = duel.fight(&Program::generate(wish.about, seed, wish.calls, users)) {
            println!("seed {seed}: a difference; shrunk:\n{}", difference.shrink());
            duel = Duel::new(wish.subject)?;
            found += 1;
            if found == wish.failures {
                return Ok(found);
            }
        }
    }
    let (programs, about, calls) = (wish.programs, wish.about, wish.calls);
    println!("{programs} programs over {about:?} of {calls} calls, {found} differences, {:.1?}", start.elapsed());
    Ok(found)
}
