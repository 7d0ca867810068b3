//! The files in `/proc/sysvipc` and the System V IPC limits in `/proc/sys/kernel`.
//!
//! Reading and writing them matches the kernel exactly: the columns, the syntax of numbers, the
//! errors.

use crate::backend::directory::Directory;
use crate::process::fork::Inside;
use crate::sys::credentials::capable;
use crate::types::error::Errno;
use crate::types::id::Id;
use crate::types::limits::Limits;
use crate::types::mechanism::Mechanism;
use crate::types::msg::QueueStat;
use crate::types::sem::SetStat;
use crate::types::shm::{ModeFlags, SegmentStat};
use rustix::thread::CapabilitySet;
use std::fmt::Write;

type Result<T> = std::result::Result<T, Errno>;

/// A file below `/proc`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcFile {
    /// `/proc/sysvipc/shm`, `sem` and `msg`.
    List(Mechanism),
    /// `/proc/sys/kernel/shmmax`, and so on.
    ShmMax,
    /// `shmall`
    ShmAll,
    /// `shmmni`
    ShmMni,
    /// `shm_rmid_forced`
    ShmRmidForced,
    /// `sem`: four numbers.
    Sem,
    /// `msgmax`
    MsgMax,
    /// `msgmnb`
    MsgMnb,
    /// `msgmni`
    MsgMni,
    /// `shm_next_id`, `sem_next_id` and `msg_next_id`.
    NextId(Mechanism),
}

impl ProcFile {
    /// All files.
    pub const ALL: [ProcFile; 14] = {
        use ProcFile::*;
        [
            List(Mechanism::Shm),
            List(Mechanism::Sem),
            List(Mechanism::Msg),
            ShmMax,
            ShmAll,
            ShmMni,
            ShmRmidForced,
            NextId(Mechanism::Shm),
            Sem,
            NextId(Mechanism::Sem),
            MsgMax,
            MsgMnb,
            MsgMni,
            NextId(Mechanism::Msg),
        ]
    };

    /// Returns the path below `/proc`.
    pub const fn path(self) -> &'static str {
        match self {
            ProcFile::List(Mechanism::Shm) => "sysvipc/shm",
            ProcFile::List(Mechanism::Sem) => "sysvipc/sem",
            ProcFile::List(Mechanism::Msg) => "sysvipc/msg",
            ProcFile::ShmMax => "sys/kernel/shmmax",
            ProcFile::ShmAll => "sys/kernel/shmall",
            ProcFile::ShmMni => "sys/kernel/shmmni",
            ProcFile::ShmRmidForced => "sys/kernel/shm_rmid_forced",
            ProcFile::NextId(Mechanism::Shm) => "sys/kernel/shm_next_id",
            ProcFile::Sem => "sys/kernel/sem",
            ProcFile::NextId(Mechanism::Sem) => "sys/kernel/sem_next_id",
            ProcFile::MsgMax => "sys/kernel/msgmax",
            ProcFile::MsgMnb => "sys/kernel/msgmnb",
            ProcFile::MsgMni => "sys/kernel/msgmni",
            ProcFile::NextId(Mechanism::Msg) => "sys/kernel/msg_next_id",
        }
    }

    /// Returns the mode that the kernel gives the file.
    pub const fn mode(self) -> u32 {
        match self {
            ProcFile::List(_) | ProcFile::NextId(_) => 0o444,
            _ => 0o644,
        }
    }
}

/// Returns `true` in the initial user namespace. Only its map is the identity over all user ids.
fn is_first_user_namespace() -> bool {
    let map = crate::sys::file::read(c"/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

const SHM_COLUMNS: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      \
                           ctime                   rss                  swap\n";
const SEM_COLUMNS: &str = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";
const MSG_COLUMNS: &str = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      \
                           ctime\n";

/// Appends the columns from the owners to the last time.
fn owners_and_times(to: &mut String, perm: &crate::types::permissions::Permissions, times: &[i64]) {
    let _ = write!(to, " {:5} {:5} {:5} {:5}", perm.uid, perm.gid, perm.cuid, perm.cgid);
    for time in times {
        let _ = write!(to, " {:10}", *time as u64);
    }
}

fn segment(to: &mut String, stat: &SegmentStat, resident: u64) {
    let mode = stat.perm.mode | (stat.flags & ModeFlags::all()).bits();
    let SegmentStat { key, id, size, cpid, lpid, nattch, .. } = stat;
    let _ = write!(to, "{:10} {:10}  {mode:4o} {size:21} {cpid:5} {lpid:5}  {nattch:5}", key.raw(), id.raw());
    owners_and_times(to, &stat.perm, &[stat.atime, stat.dtime, stat.ctime]);
    let _ = writeln!(to, " {resident:21} {:21}", 0);
}

fn set(to: &mut String, stat: &SetStat) {
    let _ = write!(to, "{:10} {:10}  {:4o} {:10}", stat.key.raw(), stat.id.raw(), stat.perm.mode, stat.nsems);
    owners_and_times(to, &stat.perm, &[stat.otime, stat.ctime]);
    to.push('\n');
}

fn queue(to: &mut String, stat: &QueueStat) {
    let QueueStat { bytes, messages, lspid, lrpid, .. } = stat;
    let _ = write!(to, "{:10} {:10}  {:4o}  {bytes:10} {messages:10}", stat.key.raw(), stat.id.raw(), stat.perm.mode);
    let _ = write!(to, " {lspid:5} {lrpid:5}");
    owners_and_times(to, &stat.perm, &[stat.stime, stat.rtime, stat.ctime]);
    to.push('\n');
}

/// The magnitude of a number, and its sign.
#[derive(Clone, Copy)]
struct Number {
    negative: bool,
    magnitude: u64,
}

impl Number {
    /// Converts the number as `proc_dointvec` does.
    fn int(self) -> Result<i32> {
        let magnitude = i64::try_from(self.magnitude).map_err(|_| Errno::INVAL)?;
        i32::try_from(if self.negative { -magnitude } else { magnitude }).map_err(|_| Errno::INVAL)
    }

    /// Converts the number as `proc_dointvec_minmax` does with the minimum 0 and the maximum `max`.
    fn int_up_to(self, max: u32) -> Result<u32> {
        u32::try_from(self.int()?).ok().filter(|n| *n <= max).ok_or(Errno::INVAL)
    }

    /// Converts the number as `proc_doulongvec_minmax` does.
    fn long(self) -> Result<u64> {
        if self.negative { Err(Errno::INVAL) } else { Ok(self.magnitude) }
    }
}

/// Skips white space as the kernel's `isspace` defines it, with the non-breaking space of Latin-1.
fn skip_spaces(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, 9..=13 | b' ' | 0xa0)).count();
    &text[blanks..]
}

/// Parses the number at the beginning of `text`, in C's decimal, octal or hexadecimal syntax.
/// Returns it with its length in bytes.
fn number(text: &[u8]) -> Option<(Number, usize)> {
    /// The size of the kernel's buffer. A number that fills it is too long.
    const BUFFER_LEN: usize = 21;
    let seen = &text[..text.len().min(BUFFER_LEN)];
    let negative = seen.first() == Some(&b'-') && text.len() > 1;
    let digits = &seen[usize::from(negative)..];
    let (prefix, radix) = match digits {
        [b'0', b'x' | b'X', next, ..] if next.is_ascii_hexdigit() => (2, 16),
        [b'0', ..] => (0, 8),
        [b'1'..=b'9', ..] => (0, 10),
        _ => return None,
    };
    let values = digits[prefix..].iter().map_while(|byte| char::from(*byte).to_digit(radix));
    let (mut magnitude, mut len) = (0u64, usize::from(negative) + prefix);
    for value in values {
        magnitude = magnitude.checked_mul(radix.into())?.checked_add(value.into())?;
        len += 1;
    }
    let ends = text.get(len).is_none_or(|next| b" \t\n".contains(next));
    (len < BUFFER_LEN && ends).then_some((Number { negative, magnitude }, len))
}

/// Calls `take` with up to `max` numbers of `text`. Returns the number of bytes consumed.
///
/// The numbers before an error have been taken.
fn numbers(text: &[u8], max: usize, mut take: impl FnMut(Number) -> Result<()>) -> Result<usize> {
    /// The kernel ignores the bytes beyond a page.
    const PAGE: usize = 4096;
    let mut left = &text[..text.len().min(PAGE - 1)];
    let mut taken = 0;
    while taken < max {
        left = skip_spaces(left);
        if left.is_empty() {
            break;
        }
        let (number, len) = number(left).ok_or(Errno::INVAL)?;
        take(number)?;
        left = &left[len..];
        taken += 1;
    }
    if taken == 0 {
        return Err(Errno::INVAL);
    }
    Ok(text.len() - skip_spaces(left).len())
}

impl Directory {
    /// Returns the text of a file.
    pub fn proc_text(&self, file: ProcFile) -> Result<String> {
        let one = |number: u64| Ok(format!("{number}\n"));
        let limits = self.core.limits()?;
        match file {
            ProcFile::List(of) => self.proc_list(of),
            ProcFile::ShmMax => one(limits.shmmax),
            ProcFile::ShmAll => one(limits.shmall),
            ProcFile::ShmMni => one(limits.shmmni.into()),
            ProcFile::ShmRmidForced => one(limits.shm_rmid_forced.into()),
            ProcFile::Sem => {
                let Limits { semmsl, semmns, semopm, semmni, .. } = limits;
                Ok(format!("{semmsl}\t{semmns}\t{semopm}\t{semmni}\n"))
            }
            ProcFile::MsgMax => one(limits.msgmax.into()),
            ProcFile::MsgMnb => one(limits.msgmnb.into()),
            ProcFile::MsgMni => one(limits.msgmni.into()),
            ProcFile::NextId(of) => Ok(format!("{}\n", self.core.next_id(of)?.map_or(-1, Id::raw))),
        }
    }

    fn proc_list(&self, of: Mechanism) -> Result<String> {
        let _inside = Inside::enter();
        let mut text = String::from(match of {
            Mechanism::Shm => SHM_COLUMNS,
            Mechanism::Sem => SEM_COLUMNS,
            Mechanism::Msg => MSG_COLUMNS,
        });
        for index in self.core.used_indexes(of) {
            let at = i32::from(index);
            // Skips an object that was removed meanwhile or is damaged.
            match of {
                Mechanism::Shm => {
                    let stat = self.segments.shm_stat_index(at, true);
                    let _ = stat.map(|stat| segment(&mut text, &stat, self.segments.resident(index)));
                }
                Mechanism::Sem => {
                    let _ = self.sets.sem_stat_index(at, true).map(|stat| set(&mut text, &stat));
                }
                Mechanism::Msg => {
                    let _ = self.queues.msg_stat_index(at, true).map(|stat| queue(&mut text, &stat));
                }
            }
        }
        Ok(text)
    }

    /// Returns `true` if the caller may open a file for writing.
    pub fn proc_may_write(&self, file: ProcFile) -> bool {
        match file {
            // The kernel lets root open the file, and then refuses each write.
            ProcFile::List(_) => capable(CapabilitySet::DAC_OVERRIDE) && is_first_user_namespace(),
            ProcFile::NextId(_) => self.core.is_owner(),
            _ => self.may_set_limits(),
        }
    }

    /// Writes to the beginning of a file. Returns the number of bytes consumed.
    pub fn proc_write(&self, file: ProcFile, text: &[u8]) -> Result<usize> {
        if let ProcFile::List(_) = file {
            return Err(Errno::IO);
        }
        if !self.proc_may_write(file) {
            return Err(Errno::PERM);
        }
        if text.is_empty() {
            return Ok(0);
        }
        let max = Id::new(u16::MAX, u16::MAX).raw() as u32;
        let mut limits = self.core.limits()?;
        let taken = match file {
            ProcFile::Sem => return self.proc_write_sem(text, limits),
            ProcFile::NextId(of) => {
                let mut id = None;
                let taken = numbers(text, 1, |n| n.int_up_to(max).map(|n| id = Id::from_raw(n as i32).ok()))?;
                self.core.set_next_id(of, id)?;
                return Ok(taken);
            }
            ProcFile::List(_) => return Err(Errno::IO),
            ProcFile::ShmMax => numbers(text, 1, |n| n.long().map(|n| limits.shmmax = n)),
            ProcFile::ShmAll => numbers(text, 1, |n| n.long().map(|n| limits.shmall = n)),
            ProcFile::ShmMni => numbers(text, 1, |n| n.int_up_to(crate::types::id::MAX_OBJECTS).map(|n| limits.shmmni = n)),
            ProcFile::ShmRmidForced => numbers(text, 1, |n| n.int_up_to(1).map(|n| limits.shm_rmid_forced = n != 0)),
            ProcFile::MsgMax => numbers(text, 1, |n| n.int_up_to(max).map(|n| limits.msgmax = n)),
            ProcFile::MsgMnb => numbers(text, 1, |n| n.int_up_to(max).map(|n| limits.msgmnb = n)),
            ProcFile::MsgMni => numbers(text, 1, |n| n.int_up_to(crate::types::id::MAX_OBJECTS).map(|n| limits.msgmni = n)),
        }?;
        self.set_limits(&limits)?;
        Ok(taken)
    }

    /// Writes the four numbers of `sem`. The numbers before a refused one take effect.
    ///
    /// A fourth number out of range fails with `ERANGE`, any other with `EINVAL`.
    fn proc_write_sem(&self, text: &[u8], mut limits: Limits) -> Result<usize> {
        let maxima = [Limits::MAX_SEMMSL, i32::MAX as u32, Limits::MAX_SEMOPM, crate::types::id::MAX_OBJECTS];
        let mut of = [&mut limits.semmsl, &mut limits.semmns, &mut limits.semopm, &mut limits.semmni].into_iter().zip(maxima);
        let taken = numbers(text, 4, |number| {
            let Some((limit, max)) = of.next() else { return Ok(()) };
            let n = number.int()?;
            let refused = if of.len() == 0 { Errno::RANGE } else { Errno::INVAL };
            *limit = u32::try_from(n).ok().filter(|n| *n <= max).ok_or(refused)?;
            Ok(())
        });
        drop(of);
        self.set_limits(&limits)?;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers read, and the number of bytes consumed.
    fn read(text: &[u8], max: usize) -> (Vec<i128>, Result<usize>) {
        let mut found = Vec::new();
        let taken = numbers(text, max, |n| {
            found.push(if n.negative { -i128::from(n.magnitude) } else { n.magnitude.into() });
            Ok(())
        });
        (found, taken)
    }

    #[test]
    fn parses_numbers_as_the_kernel_does() {
        let one: [(&[u8], i128, usize); 13] = [
            (b"5", 5, 1),
            (b"5\n", 5, 2),
            (b"\n\t\x0b 5 \n\n", 5, 8),
            (b"5 6\n", 5, 2),
            (b"0x10", 16, 4),
            (b"010", 8, 3),
            (b"-1", -1, 2),
            (b"-0", 0, 2),
            (b"\xa05", 5, 2),
            (b"18446744073709551615", u64::MAX.into(), 20),
            (b"0xffffffffffffffff", u64::MAX.into(), 18),
            (b"00000000000000000005", 5, 20),
            (b"7 x", 7, 2),
        ];
        for (text, value, taken) in one {
            assert_eq!(read(text, 1), (vec![value], Ok(taken)), "{}", text.escape_ascii());
        }
        let none: [&[u8]; 15] = [
            b"\n",
            b"5,6",
            b"5\0",
            b"+5",
            b"0x",
            b"09",
            b"-",
            b"- 5",
            b"x",
            b"5\r\n",
            b"5\x0b",
            b"18446744073709551616",
            b"0xfffffffffffffffff",
            b"000000000000000000005",
            b"99999999999999999999999",
        ];
        for text in none {
            assert_eq!(read(text, 1), (vec![], Err(Errno::INVAL)), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn ignores_bytes_beyond_a_page() {
        let blanks = |n: usize, end: &[u8]| [b"5", &vec![b' '; n][..], end].concat();
        assert_eq!(read(&blanks(5000, b""), 1), (vec![5], Ok(5001)));
        assert_eq!(read(&blanks(4094, b"6"), 1), (vec![5], Ok(4096)));
        assert_eq!(read(&blanks(4093, b"6"), 1), (vec![5], Ok(4094)));
    }

    #[test]
    fn parses_several_numbers() {
        assert_eq!(read(b"1\t2 3\n4\n\n", 4), (vec![1, 2, 3, 4], Ok(9)));
        assert_eq!(read(b"1 2 3 4 5", 4), (vec![1, 2, 3, 4], Ok(8)));
        assert_eq!(read(b"1 2", 4), (vec![1, 2], Ok(3)));
        assert_eq!(read(b"1 x", 4), (vec![1], Err(Errno::INVAL)));
        assert_eq!(read(b"1,2,3,4", 4), (vec![], Err(Errno::INVAL)));
    }

    #[test]
    fn refuses_numbers_out_of_range() {
        let number = |text: &[u8]| number(text).unwrap().0;
        assert_eq!(number(b"32768").int_up_to(32768), Ok(32768));
        assert_eq!(number(b"32769").int_up_to(32768), Err(Errno::INVAL));
        assert_eq!(number(b"-1").int_up_to(1), Err(Errno::INVAL));
        assert_eq!(number(b"-2147483648").int(), Ok(i32::MIN));
        assert_eq!(number(b"2147483648").int(), Err(Errno::INVAL));
        assert_eq!(number(b"-0").long(), Err(Errno::INVAL));
        assert_eq!(number(b"0xffffffffffffffff").long(), Ok(u64::MAX));
    }
}
