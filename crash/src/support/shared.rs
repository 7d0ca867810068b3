//! All memory that a traced process shares with others, compared after each of its instructions.
//!
//! What a process leaves behind when it is killed is what others can see: the memory that it shares, and what the kernel holds.
//! Its registers and its own memory go with it. So two instructions leave the same behind if there is no system call between them
//! and no difference in this: each byte of each shared mapping that it has (mappings change by system calls alone), how
//! many blocks their files take (a load from a hole may fill it), and the head of the list of locks that the kernel frees at its end.
//!
//! # Safety
//!
//! As `trace.rs`: the raw calls get the process id of a stopped child, and pointers to locals.

use super::*;
use std::os::unix::fs::{FileExt, MetadataExt};

pub struct Shared {
    pid: i32,
    parts: Vec<Part>,
    /// Where the kernel looks for locks to free, and what is there.
    robust: (u64, [u64; 3]),
}

struct Part {
    /// In the traced process.
    address: u64,
    len: usize,
    /// What is mapped from where, unless it has no name any more.
    file: Option<(std::fs::File, u64)>,
    blocks: u64,
    /// What is not a hole, in order: from and to, in the mapping.
    ranges: Vec<(usize, usize)>,
    seen: Vec<u8>,
    now: Vec<u8>,
}

impl Shared {
    /// What a stopped process has mapped, as it is now.
    pub fn of(pid: i32) -> Shared {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut parts: Vec<Part> = maps.lines().filter_map(Part::parse).collect();
        parts.iter_mut().for_each(|part| part.look(pid));
        let mut shared = Shared { pid, parts, robust: (0, [0; 3]) };
        let mut len = 0usize;
        // SAFETY: the kernel writes two words.
        unsafe { libc::syscall(libc::SYS_get_robust_list, pid, &raw mut shared.robust.0, &raw mut len) };
        shared.robust.1 = shared.robust();
        shared
    }

    fn robust(&self) -> [u64; 3] {
        let mut head = [0; 24];
        if self.robust.0 != 0 {
            assert_eq!(read(self.pid, self.robust.0, &mut head), head.len());
        }
        std::array::from_fn(|n| u64::from_ne_bytes(head[8 * n..8 * n + 8].try_into().unwrap()))
    }

    /// Whether others find something else since the last look.
    pub fn changed(&mut self) -> bool {
        let robust = self.robust();
        let mut changed = std::mem::replace(&mut self.robust.1, robust) != robust;
        for part in &mut self.parts {
            changed |= part.changed(self.pid);
        }
        changed
    }
}

impl Part {
    /// A line of `/proc/PID/maps`, if the mapping is shared.
    fn parse(line: &str) -> Option<Part> {
        let mut fields = line.splitn(6, ' ');
        let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, inode, name) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default().trim_start());
        if !rights.ends_with('s') {
            return None;
        }
        let (from, to) = range.split_once('-')?;
        let hex = |digits| u64::from_str_radix(digits, 16).unwrap();
        let file = std::fs::File::open(name).ok();
        let file = file.filter(|file| file.metadata().is_ok_and(|stat| stat.ino().to_string() == inode));
        let (address, len) = (hex(from), (hex(to) - hex(from)) as usize);
        let file = file.map(|file| (file, hex(offset)));
        Some(Part { address, len, file, blocks: 0, ranges: Vec::new(), seen: Vec::new(), now: Vec::new() })
    }

    fn changed(&mut self, pid: i32) -> bool {
        let grown = self.file.as_ref().is_some_and(|(file, _)| file.metadata().unwrap().blocks() != self.blocks);
        if !grown {
            let mut now = std::mem::take(&mut self.now);
            self.copy(pid, &mut now);
            self.now = now;
            if self.now == self.seen {
                return false;
            }
        }
        self.look(pid);
        true
    }

    /// Sees all as it is.
    fn look(&mut self, pid: i32) {
        self.ranges = match &self.file {
            None => vec![(0, self.len)],
            Some((file, offset)) => {
                self.blocks = file.metadata().unwrap().blocks();
                data(file, *offset, self.len)
            }
        };
        let mut seen = std::mem::take(&mut self.seen);
        self.copy(pid, &mut seen);
        self.seen = seen;
    }

    fn copy(&self, pid: i32, into: &mut Vec<u8>) {
        into.resize(self.ranges.iter().map(|(from, to)| to - from).sum(), 0);
        let mut rest = &mut into[..];
        for (from, to) in &self.ranges {
            let (bytes, others) = rest.split_at_mut(to - from);
            rest = others;
            let n = match &self.file {
                Some((file, offset)) => file.read_at(bytes, offset + *from as u64).unwrap_or(0),
                // What it may not read itself it does not change.
                None => read(pid, self.address + *from as u64, bytes),
            };
            bytes[n..].fill(0);
        }
    }
}

/// What of a part of a file is not a hole. A file system that does not know says all.
fn data(file: &std::fs::File, offset: u64, len: usize) -> Vec<(usize, usize)> {
    let end = (offset + len as u64).min(file.metadata().unwrap().len());
    let seek = |from: u64, what| {
        // SAFETY: plain numbers.
        let found = unsafe { libc::lseek(file.as_raw_fd(), from as i64, what) };
        if found < 0 { end } else { (found as u64).min(end) }
    };
    let mut ranges = Vec::new();
    let mut at = offset;
    while at < end {
        let from = seek(at, libc::SEEK_DATA);
        at = seek(from, libc::SEEK_HOLE);
        if from < at {
            ranges.push(((from - offset) as usize, (at - offset) as usize));
        }
    }
    ranges
}

/// From the memory of a stopped child, as far as there is any.
fn read(pid: i32, address: u64, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
    // SAFETY: see the module.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    n.max(0) as usize
}
