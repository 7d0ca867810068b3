//! `quintet sem set`: sets the values of semaphores.

use super::errors::call_failure;
use crate::args::object::{self, Set};
use crate::args::values::Values;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::text::Page;
use crate::output::{Report, emit};
use serde::Serialize;
use std::io;
use std::str::FromStr;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet sem set 0 1 5                    set the second semaphore of set 0 to 5
  quintet sem set 0 all 1,0,5              set each semaphore to its own value
  quintet sem set key:0x4d2 all 0          set all semaphores to 0";

/// Set the value of a semaphore, or all values of a set; this discards their undo adjustments
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SET_HELP)]
    set: Set,

    /// Number of the semaphore, from 0, or the word 'all'
    num: SemaphoreSelection,

    /// Value, 0 to 32767; with 'all' one for each semaphore, separated by commas, or one for all
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    values: Values,
}

/// One semaphore or all semaphores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SemaphoreSelection {
    One(u16),
    All,
}

impl FromStr for SemaphoreSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<SemaphoreSelection, String> {
        match text.parse() {
            _ if text == "all" => Ok(SemaphoreSelection::All),
            Ok(num) => Ok(SemaphoreSelection::One(num)),
            Err(_) => Err(format!("'{text}' is not a semaphore: give its number in the set, from 0, or 'all'")),
        }
    }
}

#[derive(Serialize)]
struct SetValues {
    id: i32,
    num: Option<u16>,
    values: Vec<u16>,
}

impl Report for SetValues {
    fn text(&self, _: &mut Page) -> io::Result<()> {
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.set.find(&ns)?;
    let failed = |num| {
        let ns = &ns;
        move |errno| call_failure(ns, id, "set the values of", num, errno)
    };
    let (num, values) = match args.num {
        SemaphoreSelection::One(num) => {
            if args.values.len() > 1 {
                let values = args.values.len();
                return Err(Failure::usage(format!("cannot set semaphore {num} to {values} values: it has one value"))
                    .remedy("give one value, or 'all' instead of the number"));
            }
            let values = args.values.for_set(1)?;
            ns.sem_set_value(id.raw(), num.into(), values[0].into()).map_err(failed(Some(num)))?;
            (Some(num), values)
        }
        SemaphoreSelection::All => {
            let stat = ns.sem_stat_index(i32::from(id.index()), true).map_err(failed(None))?;
            let values = args.values.for_set(stat.nsems as usize)?;
            ns.sem_set_values(id.raw(), &values).map_err(failed(None))?;
            (None, values)
        }
    };
    emit(context, &SetValues { id: id.raw(), num, values })?;
    Ok(Exit::Success)
}
