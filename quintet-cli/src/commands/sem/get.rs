//! `quintet sem get`: prints the values of semaphores.

use super::errors::call_failure;
use crate::args::object::{self, Set};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::text::Page;
use crate::output::{Report, emit};
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet sem get 0                        all values of set 0, such as 1 0 5
  quintet sem get key:0x4d2 1              the value of the second semaphore";

/// Print the value of a semaphore, or all values of a set
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SET_HELP)]
    set: Set,

    /// Number of the semaphore, from 0 [default: all]
    num: Option<u16>,
}

#[derive(Serialize)]
struct SemaphoreValues {
    id: i32,
    num: Option<u16>,
    values: Vec<u16>,
}

impl Report for SemaphoreValues {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let values: Vec<String> = self.values.iter().map(ToString::to_string).collect();
        page.line(format_args!("{}", values.join(" ")))
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.set.find(&ns)?;
    let values = match args.num {
        Some(num) => ns.sem_value(id.raw(), num.into()).map(|value| vec![value]),
        None => ns.sem_values(id.raw()),
    };
    let values = values.map_err(|errno| call_failure(&ns, id, "read", args.num, errno))?;
    emit(context, &SemaphoreValues { id: id.raw(), num: args.num, values })?;
    Ok(Exit::Success)
}
