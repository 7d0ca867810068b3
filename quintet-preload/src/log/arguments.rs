//! The arguments of a traced call as text, in the notation of strace(1).
//!
//! # Safety
//!
//! The program's memory is read as [`user`] reads it.
#![allow(unsafe_code)]

use crate::base::user;
use crate::log::line::{Bytes, Line};
use libc::{c_char, c_int, c_long, c_short, key_t, sembuf, timespec};
use std::fmt::{self, Display, Formatter, Write};
use std::mem::MaybeUninit;

/// A key.
pub struct Key(pub key_t);

impl Display for Key {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 == libc::IPC_PRIVATE { f.write_str("IPC_PRIVATE") } else { write!(f, "{:#x}", self.0) }
    }
}

/// An address.
pub struct Address<T>(pub *const T);

impl<T> Display for Address<T> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0.is_null() { f.write_str("NULL") } else { write!(f, "{:#x}", self.0 as usize) }
    }
}

type Names = &'static [(c_int, &'static str)];

/// Named bits, followed by the remaining ones: a mode if the field is `true`, otherwise a number.
pub struct Flags(c_int, Names, bool);

const SHM_HUGETLB: c_int = 0o4000;
const SHM_NORESERVE: c_int = 0o10000;
const MSG_NOERROR: c_int = 0o10000;
const MSG_EXCEPT: c_int = 0o20000;
const MSG_COPY: c_int = 0o40000;
const SEM_UNDO: c_int = 0x1000;

impl Flags {
    /// The flags of `shmget`.
    pub fn shmget(flags: c_int) -> Flags {
        let names = &[
            (libc::IPC_CREAT, "IPC_CREAT"),
            (libc::IPC_EXCL, "IPC_EXCL"),
            (SHM_HUGETLB, "SHM_HUGETLB"),
            (SHM_NORESERVE, "SHM_NORESERVE"),
        ];
        Flags(flags, names, true)
    }

    /// The flags of `semget` and `msgget`.
    pub fn get(flags: c_int) -> Flags {
        Flags(flags, &[(libc::IPC_CREAT, "IPC_CREAT"), (libc::IPC_EXCL, "IPC_EXCL")], true)
    }

    pub fn shmat(flags: c_int) -> Flags {
        let names = &[
            (libc::SHM_RDONLY, "SHM_RDONLY"),
            (libc::SHM_RND, "SHM_RND"),
            (libc::SHM_REMAP, "SHM_REMAP"),
            (libc::SHM_EXEC, "SHM_EXEC"),
        ];
        Flags(flags, names, false)
    }

    fn operation(flags: c_short) -> Flags {
        Flags(c_int::from(flags), &[(libc::IPC_NOWAIT, "IPC_NOWAIT"), (SEM_UNDO, "SEM_UNDO")], false)
    }

    pub fn message(flags: c_int) -> Flags {
        let names =
            &[(libc::IPC_NOWAIT, "IPC_NOWAIT"), (MSG_NOERROR, "MSG_NOERROR"), (MSG_EXCEPT, "MSG_EXCEPT"), (MSG_COPY, "MSG_COPY")];
        Flags(flags, names, false)
    }
}

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Flags(flags, names, has_mode) = *self;
        let mut rest = flags;
        for (bit, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
            write!(f, "{}{name}", if rest == flags { "" } else { "|" })?;
            rest &= !bit;
        }
        let separator = if rest == flags { "" } else { "|" };
        let mode = if has_mode { rest & 0o777 } else { 0 };
        match (rest & !mode, has_mode) {
            (0, true) => write!(f, "{separator}0{mode:03o}"),
            (0, false) if flags == 0 => f.write_str("0"),
            (0, false) => Ok(()),
            (other, true) => write!(f, "{separator}{other:#x}|0{mode:03o}"),
            (other, false) => write!(f, "{separator}{other:#x}"),
        }
    }
}

/// The command of a control call.
pub struct Command(c_int, Names);

impl Command {
    pub fn shm(command: c_int) -> Command {
        let names = &[(11, "SHM_LOCK"), (12, "SHM_UNLOCK"), (13, "SHM_STAT"), (14, "SHM_INFO"), (15, "SHM_STAT_ANY")];
        Command(command, names)
    }

    pub fn sem(command: c_int) -> Command {
        let names = &[
            (11, "GETPID"),
            (12, "GETVAL"),
            (13, "GETALL"),
            (14, "GETNCNT"),
            (15, "GETZCNT"),
            (16, "SETVAL"),
            (17, "SETALL"),
            (18, "SEM_STAT"),
            (19, "SEM_INFO"),
            (20, "SEM_STAT_ANY"),
        ];
        Command(command, names)
    }

    pub fn msg(command: c_int) -> Command {
        Command(command, &[(11, "MSG_STAT"), (12, "MSG_INFO"), (13, "MSG_STAT_ANY")])
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let common = [(libc::IPC_RMID, "IPC_RMID"), (libc::IPC_SET, "IPC_SET"), (libc::IPC_STAT, "IPC_STAT"), (3, "IPC_INFO")];
        match common.iter().chain(self.1).find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The operations of `semop`.
pub struct Operations(pub *const sembuf, pub usize);

impl Display for Operations {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const MOST: usize = 16;
        let mut ops = [sembuf { sem_num: 0, sem_op: 0, sem_flg: 0 }; MOST];
        let ops = &mut ops[..self.1.min(MOST)];
        // SAFETY: the bytes of the operations, for which every content is valid.
        let bytes = unsafe { std::slice::from_raw_parts_mut(ops.as_mut_ptr().cast::<MaybeUninit<u8>>(), size_of_val(ops)) };
        if ops.is_empty() || user::read_bytes(self.0.cast(), bytes).is_err() {
            return Address(self.0).fmt(f);
        }
        for (index, op) in ops.iter().enumerate() {
            let before = if index == 0 { "[" } else { ", " };
            write!(f, "{before}{{{}, {}, {}}}", op.sem_num, op.sem_op, Flags::operation(op.sem_flg))?;
        }
        f.write_str(if self.1 > MOST { ", ...]" } else { "]" })
    }
}

/// Writes a structure that a call fills in: its contents after success, otherwise its address.
pub fn result<T: Copy>(line: &mut Line, done: bool, at: *const T, as_text: fn(&T, &mut Formatter) -> fmt::Result) -> fmt::Result {
    if done { write!(line, "{}", Pointed(at, as_text)) } else { write!(line, "{}", Address(at)) }
}

/// A structure of the program, formatted by the function, or its address if it cannot be read.
pub struct Pointed<T>(pub *const T, pub fn(&T, &mut Formatter) -> fmt::Result);

impl<T: Copy> Display for Pointed<T> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match user::read(self.0) {
            Ok(value) if !self.0.is_null() => self.1(&value, f),
            _ => Address(self.0).fmt(f),
        }
    }
}

/// Formats the timeout of `semtimedop`.
pub fn time(time: &timespec, f: &mut Formatter) -> fmt::Result {
    write!(f, "{{{}, {}}}", time.tv_sec, time.tv_nsec)
}

/// Formats the type of a message.
pub fn message(mtype: &c_long, f: &mut Formatter) -> fmt::Result {
    write!(f, "{{type {mtype}}}")
}

fn permissions(perm: &libc::ipc_perm, f: &mut Formatter) -> fmt::Result {
    let mode = u32::from(perm.mode);
    write!(f, "{{key={}, uid={}, gid={}, ", Key(quintet::abi::key(perm)), perm.uid, perm.gid)?;
    write!(f, "cuid={}, cgid={}, mode=0{mode:03o}, seq={}", perm.cuid, perm.cgid, perm.__seq)
}

pub fn shmid_ds(ds: &libc::shmid_ds, f: &mut Formatter) -> fmt::Result {
    permissions(&ds.shm_perm, f)?;
    write!(f, ", segsz={}, nattch={}, cpid={}, lpid={}", ds.shm_segsz, ds.shm_nattch, ds.shm_cpid, ds.shm_lpid)?;
    write!(f, ", atime={}, dtime={}, ctime={}}}", ds.shm_atime, ds.shm_dtime, ds.shm_ctime)
}

pub fn semid_ds(ds: &quintet::abi::semid_ds, f: &mut Formatter) -> fmt::Result {
    permissions(&ds.sem_perm, f)?;
    write!(f, ", nsems={}, otime={}, ctime={}}}", ds.sem_nsems, ds.sem_otime, ds.sem_ctime)
}

pub fn msqid_ds(ds: &libc::msqid_ds, f: &mut Formatter) -> fmt::Result {
    permissions(&ds.msg_perm, f)?;
    write!(f, ", qnum={}, cbytes={}, qbytes={}", ds.msg_qnum, ds.__msg_cbytes, ds.msg_qbytes)?;
    write!(f, ", lspid={}, lrpid={}", ds.msg_lspid, ds.msg_lrpid)?;
    write!(f, ", stime={}, rtime={}, ctime={}}}", ds.msg_stime, ds.msg_rtime, ds.msg_ctime)
}

/// Formats what `IPC_SET` uses of a structure.
pub fn to_set(perm: &libc::ipc_perm, f: &mut Formatter) -> fmt::Result {
    write!(f, "{{uid={}, gid={}, mode=0{:03o}", perm.uid, perm.gid, u32::from(perm.mode))
}

pub fn shmid_to_set(ds: &libc::shmid_ds, f: &mut Formatter) -> fmt::Result {
    to_set(&ds.shm_perm, f)?;
    f.write_str("}")
}

pub fn semid_to_set(ds: &quintet::abi::semid_ds, f: &mut Formatter) -> fmt::Result {
    to_set(&ds.sem_perm, f)?;
    f.write_str("}")
}

pub fn msqid_to_set(ds: &libc::msqid_ds, f: &mut Formatter) -> fmt::Result {
    to_set(&ds.msg_perm, f)?;
    write!(f, ", qbytes={}}}", ds.msg_qbytes)
}

/// A path of the program, cut after its first bytes.
pub struct PathName(pub *const c_char);

impl Display for PathName {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        const MOST: usize = 128;
        let (mut bytes, mut len) = ([0u8; MOST], 0);
        while len < MOST {
            match user::read(self.0.wrapping_add(len).cast::<u8>()) {
                Ok(0) => break,
                Ok(byte) => bytes[len] = byte,
                Err(_) => return Address(self.0).fmt(f),
            }
            len += 1;
        }
        write!(f, "\"{}\"{}", Bytes(&bytes[..len]), if len == MOST { "..." } else { "" })
    }
}
