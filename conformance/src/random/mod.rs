//! Random programs of several processes, run on the kernel and on Quintet. All results are
//! compared.
//!
//! A [`Program`] is [generated](Program::generate) from a seed. It uses segments, semaphore sets,
//! message queues, or all three. A [`Runner`] runs it on a subject. It reports each result as text
//! that means the same on every subject: identifiers are numbered in order of appearance, processes
//! are named by their slot, and times are "never" or "set". A [`Comparison`] runs programs on two
//! runners. If they report different results, it looks for the shortest program that still does.
//!
//! The order of events depends on states, never on time. After each step, every blocked process
//! sleeps and is counted, and every call that has returned has been answered.

mod compare;
mod counters;
mod executor;
mod format;
mod generate;
mod process_pool;
mod program;
pub mod queues;
mod runner;
pub mod segments;
pub mod sets;
mod shrink;

pub use compare::{Comparison, Difference, keep_to_one_processor};
pub use counters::Counters;
pub use program::{About, Call, LimitProfile, PROCESSES, Program, Step, User};
pub use runner::Runner;
