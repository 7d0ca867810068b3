//! All memory that a traced process shares, compared after each instruction.
//!
//! A killed process leaves what other processes can see: shared memory and kernel state. Its
//! registers and private memory are gone. Two instructions leave the same state if no system call
//! is between them and none of these differ:
//! - each byte of each shared mapping (only system calls change mappings);
//! - the number of blocks of the mapped files (a load from a hole may fill it);
//! - the head of the robust list, from which the kernel frees locks at exit.
//!
//! # Safety
//!
//! As `trace.rs`: the raw calls get the process id of a stopped child, and pointers to locals.

use super::*;
use std::os::unix::fs::{FileExt, MetadataExt};

pub struct SharedMemory {
    pid: i32,
    parts: Vec<Part>,
    /// The address of the robust list, and its head.
    robust: (u64, [u64; 3]),
}

struct Part {
    /// The address in the traced process.
    address: u64,
    len: usize,
    /// The mapped file and the offset, unless the file is unlinked.
    file: Option<(std::fs::File, u64)>,
    /// The same pages mapped in this process, to compare without a copy.
    view: Option<View>,
    blocks: u64,
    /// The parts that are not holes, in order: start and end in the mapping.
    ranges: Vec<(usize, usize)>,
    seen: Vec<u8>,
    now: Vec<u8>,
}

impl SharedMemory {
    /// Reads the shared mappings of a stopped process.
    pub fn of(pid: i32) -> SharedMemory {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut parts: Vec<Part> = maps.lines().filter_map(Part::parse).collect();
        parts.iter_mut().for_each(|part| part.look(pid));
        let mut shared = SharedMemory { pid, parts, robust: (0, [0; 3]) };
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

    /// Returns `true` if other processes can see a change since the last call.
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
    /// Parses a line of `/proc/PID/maps`. Returns `None` if the mapping is private.
    fn parse(line: &str) -> Option<Part> {
        let mut fields = line.splitn(6, ' ');
        let (range, permissions, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, inode, name) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default().trim_start());
        if !permissions.ends_with('s') {
            return None;
        }
        let (from, to) = range.split_once('-')?;
        let hex = |digits| u64::from_str_radix(digits, 16).unwrap();
        let file = std::fs::File::open(name).ok();
        let file = file.filter(|file| file.metadata().is_ok_and(|stat| stat.ino().to_string() == inode));
        let (address, len) = (hex(from), (hex(to) - hex(from)) as usize);
        let file = file.map(|file| (file, hex(offset)));
        let view = file.as_ref().and_then(|(file, offset)| View::open(file, *offset, len));
        Some(Part { address, len, file, view, blocks: 0, ranges: Vec::new(), seen: Vec::new(), now: Vec::new() })
    }

    fn changed(&mut self, pid: i32) -> bool {
        let grown = self.file.as_ref().is_some_and(|(file, _)| file.metadata().unwrap().blocks() != self.blocks);
        if !grown && self.is_as_seen(pid) {
            return false;
        }
        self.look(pid);
        true
    }

    fn is_as_seen(&mut self, pid: i32) -> bool {
        if let Some(view) = &self.view {
            let mut seen = &self.seen[..];
            return self.ranges.iter().all(|(from, to)| {
                let (bytes, rest) = seen.split_at(to - from);
                seen = rest;
                view.equals(*from, bytes)
            });
        }
        let mut now = std::mem::take(&mut self.now);
        self.copy(pid, &mut now);
        self.now = now;
        self.now == self.seen
    }

    /// Reads the current content.
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
                // If the process may not read the memory, it does not change it either.
                None => read(pid, self.address + *from as u64, bytes),
            };
            bytes[n..].fill(0);
        }
    }
}

/// A read-only mapping of a part of a file.
struct View {
    at: *mut libc::c_void,
    len: usize,
}

impl View {
    /// Returns `None` if the file is too short or cannot be mapped.
    fn open(file: &std::fs::File, offset: u64, len: usize) -> Option<View> {
        if file.metadata().ok()?.len() < offset + len as u64 {
            return None;
        }
        // SAFETY: overlaps nothing.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), offset as i64) };
        (at != libc::MAP_FAILED).then_some(View { at, len })
    }

    fn equals(&self, from: usize, bytes: &[u8]) -> bool {
        assert!(from + bytes.len() <= self.len);
        // SAFETY: in bounds of the mapping; only compared, while the process that writes there is
        // stopped.
        unsafe { libc::memcmp(self.at.byte_add(from), bytes.as_ptr().cast(), bytes.len()) == 0 }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

/// Returns the parts of a file that are not holes. A file system without that knowledge returns the
/// whole file.
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

/// Reads the memory of a stopped child. Returns the number of bytes.
fn read(pid: i32, address: u64, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
    // SAFETY: see the module.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    n.max(0) as usize
}
