//! Which message is meant.

use super::parse_type;
use quintet::MsgFlags;

/// Which message a receiver takes; without an option the first.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct Selection {
    /// The first of this type
    #[arg(long = "type", value_name = "N", allow_negative_numbers = true, value_parser = parse_type)]
    exact: Option<i64>,

    /// The first of the lowest type that is there, if that is N or lower
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_type)]
    up_to: Option<i64>,

    /// The first that is not of this type
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_type)]
    not: Option<i64>,
}

impl Selection {
    /// As `msgrcv` takes it.
    pub fn for_call(&self) -> (i64, MsgFlags) {
        match (self.exact, self.up_to, self.not) {
            (Some(mtype), ..) => (mtype, MsgFlags::empty()),
            (_, Some(mtype), _) => (-mtype, MsgFlags::empty()),
            (.., Some(mtype)) => (mtype, MsgFlags::EXCEPT),
            _ => (0, MsgFlags::empty()),
        }
    }

    /// "message", "message of type 3", "message of type 3 or lower", "message that is not of type 3".
    pub fn sentence(&self) -> String {
        match (self.exact, self.up_to, self.not) {
            (Some(mtype), ..) => format!("message of type {mtype}"),
            (_, Some(mtype), _) => format!("message of type {mtype} or lower"),
            (.., Some(mtype)) => format!("message that is not of type {mtype}"),
            _ => "message".to_owned(),
        }
    }
}
