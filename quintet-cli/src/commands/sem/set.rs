//! `quintet sem set`.

use super::refusal;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::object::{self, Set};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::values::Values;
use serde::Serialize;
use std::io;
use std::str::FromStr;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet sem set 0 1 5                    the second semaphore of set 0 gets the value 5
  quintet sem set 0 all 1,0,5              each its own
  quintet sem set key:0x4d2 all 0          all the same";

/// Set the value of a semaphore, or all values of a set; what was to be taken back from them is forgotten
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(help = object::SET_HELP)]
    set: Set,

    /// The semaphore, from 0, or the word 'all'
    num: Which,

    /// The value, 0 to 32767; of 'all' one for each semaphore, with commas, or one for all
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    values: Values,
}

/// One semaphore or all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    One(u16),
    All,
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Which, String> {
        match text.parse() {
            _ if text == "all" => Ok(Which::All),
            Ok(num) => Ok(Which::One(num)),
            Err(_) => Err(format!("'{text}' is no semaphore: give its number in the set, from 0, or 'all'")),
        }
    }
}

#[derive(Serialize)]
struct Written {
    id: i32,
    num: Option<u16>,
    values: Vec<u16>,
}

impl Report for Written {
    fn text(&self, _: &mut Page) -> io::Result<()> {
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let id = args.set.find(&ns)?;
    let failed = |num| {
        let ns = &ns;
        move |errno| refusal(ns, id, "set the values of", num, errno)
    };
    let (num, values) = match args.num {
        Which::One(num) => {
            if args.values.len() > 1 {
                return Err(Failure::usage("a semaphore has one value, and several are given").remedy("name 'all' to set all"));
            }
            let values = args.values.of(1)?;
            ns.sem_set_value(id.raw(), num.into(), values[0].into()).map_err(failed(Some(num)))?;
            (Some(num), values)
        }
        Which::All => {
            let stat = ns.sem_stat_index(i32::from(id.index()), true).map_err(failed(None))?;
            let values = args.values.of(stat.nsems as usize)?;
            ns.sem_set_values(id.raw(), &values).map_err(failed(None))?;
            (None, values)
        }
    };
    emit(context, &Written { id: id.raw(), num, values })?;
    Ok(Exit::Success)
}
