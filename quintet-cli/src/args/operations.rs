//! Operations of `semop`, as [`SemOp`] prints them: `0:-1u 1:+2n 2:0`.

use quintet::{SemFlags, SemOp};
use std::str::FromStr;

/// What `--help` says about OPS.
pub const HELP: &str = "Operations, performed atomically: NUM:OP, where OP is +N, -N or 0 (wait for zero), with an optional \
                        n (IPC_NOWAIT: do not block) and u (SEM_UNDO: undo at exit), such as '0:-1 1:+2n 2:0'";

/// One or more operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operations(pub Vec<SemOp>);

impl FromStr for Operations {
    type Err = String;

    fn from_str(text: &str) -> Result<Operations, String> {
        let ops: Vec<SemOp> = text.split_whitespace().map(parse_operation).collect::<Result<_, _>>()?;
        if ops.is_empty() {
            return Err("it contains no operation: give NUM:OP, such as 0:-1".to_owned());
        }
        Ok(Operations(ops))
    }
}

fn parse_operation(text: &str) -> Result<SemOp, String> {
    let Some((num, rest)) = text.split_once(':') else {
        return Err(format!("'{text}' is not an operation, it has no ':': give NUM:OP, such as 0:-1"));
    };
    let num = num.parse().map_err(|_| format!("'{num}' in '{text}' is not a semaphore: give its number in the set, from 0"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '+' && c != '-').unwrap_or(rest.len());
    let (op, letters) = rest.split_at(end);
    let op = op.parse().map_err(|_| {
        let part = if op.is_empty() { rest } else { op };
        format!("'{part}' in '{text}' is not an operation: give -32768 to +32767, such as -1, +2, or 0 to wait for zero")
    })?;
    Ok(SemOp::new(num, op).flags(parse_flags(letters, text)?))
}

fn parse_flags(letters: &str, text: &str) -> Result<SemFlags, String> {
    let mut flags = SemFlags::empty();
    for letter in letters.chars() {
        let flag = match letter {
            'n' => SemFlags::NOWAIT,
            'u' => SemFlags::UNDO,
            _ => return Err(format!("'{letter}' in '{text}' is not a flag: give n (IPC_NOWAIT) or u (SEM_UNDO)")),
        };
        if flags.contains(flag) {
            return Err(format!("'{letter}' occurs twice in '{text}': give each flag once"));
        }
        flags |= flag;
    }
    Ok(flags)
}

/// Returns the operations as the command line accepts them.
pub fn print(ops: &[SemOp]) -> String {
    ops.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_an_operation_prints() {
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
        assert_eq!(print(&several.0), "0:-1u 1:+2n 2:0");
    }

    #[test]
    fn names_the_invalid_part() {
        for (text, part) in [
            ("", "it contains no operation"),
            ("0-1", "'0-1' is not an operation, it has no ':'"),
            ("0:-1 1:x", "'x' in '1:x' is not an operation"),
            ("0:", "'' in '0:' is not an operation"),
            ("0:+40000", "'+40000' in '0:+40000' is not an operation: give -32768 to +32767"),
            ("0:--1", "'--1' in '0:--1'"),
            ("a:-1", "'a' in 'a:-1' is not a semaphore"),
            ("65536:0", "'65536' in '65536:0' is not a semaphore"),
            ("-1:0", "'-1' in '-1:0' is not a semaphore"),
            ("0:-1z", "'z' in '0:-1z' is not a flag: give n (IPC_NOWAIT) or u (SEM_UNDO)"),
            ("0:-1uu", "'u' occurs twice in '0:-1uu'"),
        ] {
            let error = text.parse::<Operations>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
