//! The options that select the message to receive.

use crate::args::message_type;
use quintet::MsgFlags;

/// Selects a message. Without an option it is the first one.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct Selection {
    /// Receive the first message of type N
    #[arg(long = "type", value_name = "N", allow_negative_numbers = true, value_parser = message_type::parse)]
    exact: Option<i64>,

    /// Receive the first message of the lowest type up to N
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = message_type::parse)]
    up_to: Option<i64>,

    /// Receive the first message that is not of type N
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = message_type::parse)]
    not: Option<i64>,
}

impl Selection {
    /// Returns the arguments of `msgrcv`.
    pub fn arguments(&self) -> (i64, MsgFlags) {
        match (self.exact, self.up_to, self.not) {
            (Some(mtype), ..) => (mtype, MsgFlags::empty()),
            (_, Some(mtype), _) => (-mtype, MsgFlags::empty()),
            (.., Some(mtype)) => (mtype, MsgFlags::EXCEPT),
            _ => (0, MsgFlags::empty()),
        }
    }

    /// Returns "message", "message of type 3", "message of type 3 or lower" or "message that is not
    /// of type 3".
    pub fn phrase(&self) -> String {
        match (self.exact, self.up_to, self.not) {
            (Some(mtype), ..) => format!("message of type {mtype}"),
            (_, Some(mtype), _) => format!("message of type {mtype} or lower"),
            (.., Some(mtype)) => format!("message that is not of type {mtype}"),
            _ => "message".to_owned(),
        }
    }
}
