//! The operations of `semop` on the command line, as [`SemOp`] prints them: `0:-1u 1:+2n 2:0`.

use quintet::{SemFlags, SemOp};
use std::str::FromStr;

/// What `--help` says of OPS.
pub const HELP: &str = "The operations, done all at once or not at all: NUM:OP, where OP is +N, -N or 0 (wait for zero), \
                        followed by n (IPC_NOWAIT: do not wait) or u (SEM_UNDO) if wanted, such as '0:-1 1:+2n 2:0'";

/// One or several operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operations(pub Vec<SemOp>);

impl FromStr for Operations {
    type Err = String;

    fn from_str(text: &str) -> Result<Operations, String> {
        let ops: Vec<SemOp> = text.split_whitespace().map(operation).collect::<Result<_, _>>()?;
        if ops.is_empty() {
            Err("there is no operation in it: write NUM:OP, such as 0:-1".to_owned())
        } else {
            Ok(Operations(ops))
        }
    }
}

fn operation(text: &str) -> Result<SemOp, String> {
    let Some((num, rest)) = text.split_once(':') else {
        return Err(format!("'{text}' is no operation, it has no ':': write NUM:OP, such as 0:-1"));
    };
    let num = num.parse().map_err(|_| format!("'{num}' in '{text}' is no semaphore: give its number in the set, from 0"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '+' && c != '-').unwrap_or(rest.len());
    let (op, letters) = rest.split_at(end);
    let op = op.parse().map_err(|_| {
        let part = if op.is_empty() { rest } else { op };
        format!("'{part}' in '{text}' is no operation: give -32768 to +32767, such as -1, +2, or 0 to wait for zero")
    })?;
    let mut flags = SemFlags::empty();
    for letter in letters.chars() {
        let flag = match letter {
            'n' => SemFlags::NOWAIT,
            'u' => SemFlags::UNDO,
            _ => return Err(format!("'{letter}' in '{text}' is no flag: there are n (IPC_NOWAIT) and u (SEM_UNDO)")),
        };
        if flags.contains(flag) {
            return Err(format!("'{letter}' stands twice in '{text}'"));
        }
        flags |= flag;
    }
    Ok(SemOp::new(num, op).flags(flags))
}

/// The operations as they are written.
pub fn spoken(ops: &[SemOp]) -> String {
    ops.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_an_operation_prints() {
        let both = SemFlags::NOWAIT | SemFlags::UNDO;
        for op in [
            SemOp::new(0, -1),
            SemOp::new(7, 0),
            SemOp::new(65535, 32767).flags(SemFlags::NOWAIT),
            SemOp::new(1, -32768).flags(SemFlags::UNDO),
            SemOp::new(2, 3).flags(both),
        ] {
            assert_eq!(op.to_string().parse(), Ok(Operations(vec![op])));
        }
        assert_eq!("0:1un".parse(), Ok(Operations(vec![SemOp::new(0, 1).flags(both)])));
        let several: Operations = " 0:-1u  1:+2n 2:0 ".parse().unwrap();
        assert_eq!(spoken(&several.0), "0:-1u 1:+2n 2:0");
    }

    #[test]
    fn names_the_part_that_offends() {
        for (text, part) in [
            ("", "no operation in it"),
            ("0-1", "'0-1' is no operation, it has no ':'"),
            ("0:-1 1:x", "'x' in '1:x' is no operation"),
            ("0:", "'' in '0:' is no operation"),
            ("0:+40000", "'+40000' in '0:+40000' is no operation: give -32768 to +32767"),
            ("0:--1", "'--1' in '0:--1'"),
            ("a:-1", "'a' in 'a:-1' is no semaphore"),
            ("65536:0", "'65536' in '65536:0' is no semaphore"),
            ("-1:0", "'-1' in '-1:0' is no semaphore"),
            ("0:-1z", "'z' in '0:-1z' is no flag: there are n (IPC_NOWAIT) and u (SEM_UNDO)"),
            ("0:-1uu", "'u' stands twice in '0:-1uu'"),
        ] {
            let said = text.parse::<Operations>().unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
