//! Results of calls on segments, as agents report them.

use std::str::FromStr;

/// All fields of `shmid_ds`, and the identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Stat {
    /// The requested identifier, or the one that a call by index returned.
    pub id: i32,
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Includes `SHM_DEST` (0o1000) and `SHM_LOCKED` (0o2000).
    pub mode: u32,
    pub seq: u32,
    pub size: u64,
    pub atime: i64,
    pub dtime: i64,
    pub ctime: i64,
    pub cpid: i32,
    pub lpid: i32,
    pub nattch: u64,
}

/// `struct shminfo`, and the highest index in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Info {
    pub max_index: i32,
    pub shmmax: u64,
    pub shmmin: u64,
    pub shmmni: u64,
    pub shmseg: u64,
    pub shmall: u64,
}

/// `struct shm_info`, and the highest index in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Usage {
    pub max_index: i32,
    pub used_ids: u64,
    pub tot: u64,
    pub rss: u64,
    pub swp: u64,
    pub swap_attempts: u64,
    pub swap_successes: u64,
}

/// Parses the words of an answer in order.
pub(crate) struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    pub(crate) fn of(answer: &'a str) -> Words<'a> {
        Words(answer.split_ascii_whitespace())
    }

    pub(crate) fn next<T: FromStr>(&mut self) -> T {
        let word = self.0.next().expect("another word in the answer");
        word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
    }
}

impl Stat {
    pub(crate) fn parse(answer: &str) -> Stat {
        let mut w = Words::of(answer);
        Stat {
            id: w.next(),
            key: w.next(),
            uid: w.next(),
            gid: w.next(),
            cuid: w.next(),
            cgid: w.next(),
            mode: w.next(),
            seq: w.next(),
            size: w.next(),
            atime: w.next(),
            dtime: w.next(),
            ctime: w.next(),
            cpid: w.next(),
            lpid: w.next(),
            nattch: w.next(),
        }
    }
}

impl Info {
    pub(crate) fn parse(answer: &str) -> Info {
        let mut w = Words::of(answer);
        Info { max_index: w.next(), shmmax: w.next(), shmmin: w.next(), shmmni: w.next(), shmseg: w.next(), shmall: w.next() }
    }
}

impl Usage {
    pub(crate) fn parse(answer: &str) -> Usage {
        let mut w = Words::of(answer);
        Usage {
            max_index: w.next(),
            used_ids: w.next(),
            tot: w.next(),
            rss: w.next(),
            swp: w.next(),
            swap_attempts: w.next(),
            swap_successes: w.next(),
        }
    }
}
