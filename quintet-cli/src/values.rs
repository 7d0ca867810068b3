//! The values of semaphores on the command line: `1,0,5`.

use crate::commands::view::count;
use crate::failure::Failure;
use quintet::Limits;
use std::str::FromStr;

/// What `--help` says of the values of a new set.
pub const INITIAL_HELP: &str = "Their values, 0 to 32767: one for each semaphore, or one for all [default: 0]";

/// One value for each semaphore, or one for all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Values(Vec<u16>);

impl FromStr for Values {
    type Err = String;

    fn from_str(text: &str) -> Result<Values, String> {
        text.split(',').map(value).collect::<Result<_, _>>().map(Values)
    }
}

fn value(text: &str) -> Result<u16, String> {
    let most = Limits::SEMVMX;
    match text.parse() {
        Ok(value) if value <= most => Ok(value),
        _ => Err(format!("'{text}' is no value of a semaphore: give a number from 0 to {most}, or several, with commas")),
    }
}

impl Values {
    /// How many are given.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The values of a set of `nsems` semaphores.
    pub fn of(&self, nsems: usize) -> Result<Vec<u16>, Failure> {
        match self.0[..] {
            [value] => Ok(vec![value; nsems]),
            ref values if values.len() == nsems => Ok(values.to_owned()),
            ref values => {
                let given = values.len();
                Err(Failure::usage(format!("{given} values are given, and the set has {}", count(nsems as u64, "semaphore")))
                    .remedy("give one value for each, or one for all"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_each_or_one_for_all() {
        let values: Values = "1,0,32767".parse().unwrap();
        assert_eq!((values.len(), values.of(3).unwrap()), (3, vec![1, 0, 32767]));
        assert!(values.of(4).unwrap_err().to_string().contains("3 values are given, and the set has 4 semaphores"));
        assert_eq!("7".parse::<Values>().unwrap().of(3).unwrap(), [7, 7, 7]);
    }

    #[test]
    fn refuses_what_is_no_value() {
        for text in ["", "1,", "x", "-1", "32768", "1 2", "1.5"] {
            assert!(text.parse::<Values>().is_err(), "{text}");
        }
    }
}
