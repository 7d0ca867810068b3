//! Values of semaphores: `1,0,5`.

use crate::failure::Failure;
use crate::words::count;
use quintet::Limits;
use std::str::FromStr;

/// What `--help` says about the values of a new set.
pub const INITIAL_HELP: &str = "Initial values, 0 to 32767: one for each semaphore, or one for all [default: 0]";

/// One value for each semaphore of a set, or one for all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Values(Vec<u16>);

impl FromStr for Values {
    type Err = String;

    fn from_str(text: &str) -> Result<Values, String> {
        text.split(',').map(parse_value).collect::<Result<_, _>>().map(Values)
    }
}

fn parse_value(text: &str) -> Result<u16, String> {
    let most = Limits::SEMVMX;
    match text.parse() {
        Ok(value) if value <= most => Ok(value),
        _ => Err(format!("'{text}' is not a semaphore value: give numbers from 0 to {most}, separated by commas")),
    }
}

impl Values {
    /// Returns how many values the command line gives.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns one value for each semaphore of a set of `nsems` semaphores.
    pub fn for_set(&self, nsems: usize) -> Result<Vec<u16>, Failure> {
        match self.0[..] {
            [value] => Ok(vec![value; nsems]),
            ref values if values.len() == nsems => Ok(values.to_owned()),
            ref values => {
                let (given, semaphores) = (values.len(), count(nsems as u64, "semaphore"));
                Err(Failure::usage(format!("cannot use {given} values: the set has {semaphores}"))
                    .remedy("give one value for each semaphore, or one for all"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_for_each_or_one_for_all() {
        let values: Values = "1,0,32767".parse().unwrap();
        assert_eq!((values.len(), values.for_set(3).unwrap()), (3, vec![1, 0, 32767]));
        assert!(values.for_set(4).unwrap_err().to_string().contains("cannot use 3 values: the set has 4 semaphores"));
        assert_eq!("7".parse::<Values>().unwrap().for_set(3).unwrap(), [7, 7, 7]);
    }

    #[test]
    fn refuses_invalid_values() {
        for text in ["", "1,", "x", "-1", "32768", "1 2", "1.5"] {
            assert!(text.parse::<Values>().is_err(), "{text}");
        }
    }
}
