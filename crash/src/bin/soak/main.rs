//! A storm: sixteen processes do everything at random on shared objects, while one kills, stops and interrupts them at random and starts
//! new ones. At the end of each round all is counted: each message that was sent was received once, semaphores balance, what segments
//! say is whole, and the namespace is as it was at the beginning.
//!
//!     soak --minutes 10

mod judge;
mod ledger;
mod letter;
mod objects;
mod stripe;
mod worker;

use clap::{Parser, Subcommand};
use quintet::Kind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How many do everything at random.
const WORKERS: usize = 16;

/// Sixteen processes on one namespace, killed, stopped and restarted at random
#[derive(Parser)]
struct Args {
    /// How long, in minutes
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,
    /// The length of a round, in seconds; at its end all is counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    round: u64,
    /// A shared namespace: if this is the superuser, half of them are another user
    #[arg(long)]
    shared: bool,
    /// What the dice begin with [default: other ones each time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Worker { number: usize, directory: PathBuf, seed: u64 },
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|minutes| (0.0..=100_000.0).contains(minutes))
        .ok_or_else(|| format!("'{text}' is no number of minutes"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Role::Worker { number, directory, seed }) = args.role {
        return worker::run(number, &directory, seed);
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let kind = if args.shared { Kind::Shared } else { Kind::Private };
    println!("soak: {WORKERS} processes for {} minutes, {kind:?} namespace, seed {seed}", args.minutes);
    let storm = judge::Storm::new(seed, Duration::from_secs(args.round), kind);
    match storm.and_then(|mut storm| storm.rage(Duration::from_secs_f64(args.minutes * 60.0))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("soak: VIOLATION: {why}");
            ExitCode::FAILURE
        }
    }
}
