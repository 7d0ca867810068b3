//! Soak test: sixteen processes make random calls on shared objects, while a supervisor kills,
//! stops, interrupts and restarts them. After each round the supervisor checks the namespace:
//! - each sent message was received once;
//! - semaphores balance;
//! - segments are intact;
//! - the namespace has not grown.
//!
//! soak --minutes 10

mod block;
mod files;
mod ledger;
mod objects;
mod params;
mod payload;
mod supervisor;
mod worker;

use clap::{Parser, Subcommand};
use params::WORKERS;
use quintet::Kind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Run sixteen processes on one namespace, and kill, stop and restart them at random
#[derive(Parser)]
struct Args {
    /// Duration in minutes
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,
    /// Length of a round in seconds; each round ends with a full check
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    round: u64,
    /// Use a shared namespace; as root, half of the processes run as another user
    #[arg(long)]
    shared: bool,
    /// Seed of the random numbers [default: a new one each time]
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
        .ok_or_else(|| format!("'{text}' is not a number of minutes from 0 to 100000"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Role::Worker { number, directory, seed }) = args.role {
        return worker::run(number, &directory, seed);
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let kind = if args.shared { Kind::Shared } else { Kind::Private };
    println!("soak: {WORKERS} processes for {} minutes, {kind:?} namespace, seed {seed}", args.minutes);
    let supervisor = supervisor::Supervisor::new(seed, Duration::from_secs(args.round), kind);
    match supervisor.and_then(|mut supervisor| supervisor.run(Duration::from_secs_f64(args.minutes * 60.0))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("soak: VIOLATION: {why}");
            ExitCode::FAILURE
        }
    }
}
