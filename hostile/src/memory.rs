//! Memory that processes share, and memory between pages that nobody may touch.
//!
//! # Safety
//!
//! Mappings made here are at addresses of the kernel's choice, and stay as long as the value that hands out references to them.
//! What another process may change is reached by atomics, or copied.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// What a process tells the one that watches it, and is told.
#[repr(C)]
pub struct Board {
    /// The number of the round that is to be run; the process's futex.
    pub round: AtomicU32,
    /// The number of the last round that it has ended; the watcher's futex.
    pub done: AtomicU32,
    /// How many calls it has begun, and how many have ended.
    pub begun: AtomicU64,
    pub ended: AtomicU64,
    /// Which one it is in: an index into [`crate::victim::CALLS`].
    pub call: AtomicU32,
    /// The thread that makes the calls.
    pub tid: AtomicU32,
    /// A child that it waits for, 0 for none.
    pub child: AtomicU32,
    /// The seed of the round.
    pub seed: AtomicU64,
    /// How many calls succeeded.
    pub succeeded: AtomicU64,
    /// The longest one, in microseconds, and which.
    pub longest: AtomicU64,
    pub longest_call: AtomicU32,
    /// Registry or limits are attacked: creation may fail.
    pub hindered: AtomicU32,
    /// Not 0: the process ends after this round, when this is [`END`].
    pub last: AtomicU32,
}

pub const END: u32 = 2;

fn map(len: usize, file: Option<&File>) -> *mut u8 {
    let (protection, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let (flags, fd) = file.map_or((shared | libc::MAP_ANONYMOUS, -1), |file| (shared, file.as_raw_fd()));
    // SAFETY: overlaps nothing.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    at.cast()
}

/// A board that the caller's children share.
pub fn board() -> &'static Board {
    // SAFETY: never unmapped; zeroes are atomics.
    unsafe { &*map(size_of::<Board>(), None).cast() }
}

/// Waits until the word is not `value` any more, for some time at the most.
pub fn wait_while(word: &AtomicU32, value: u32, most: Duration) {
    let time = libc::timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
    // SAFETY: a word that lives, and a local.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const time) };
}

/// Wakes whoever waits for a change of the word.
pub fn wake(word: &AtomicU32) {
    // SAFETY: a word that lives.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// A file that is attacked, mapped writable.
pub struct Target {
    at: *mut u8,
    pub len: usize,
    file: File,
    pub inode: u64,
}

/// More of a file is not attacked.
const MOST: u64 = 1 << 20;

impl Target {
    pub fn open(path: &Path) -> Option<Target> {
        use std::os::unix::fs::MetadataExt;
        let file = File::options().read(true).write(true).open(path).ok()?;
        let stat = file.metadata().ok()?;
        let len = stat.len().min(MOST) as usize & !7;
        (len != 0).then(|| Target { at: map(len, Some(&file)), len, file, inode: stat.ino() })
    }

    /// Shortens the file; from then on the end of the mapping must not be touched.
    pub fn shorten(&self, len: u64) {
        let _ = self.file.set_len(len);
    }

    pub fn long(&self, at: usize) -> &AtomicU64 {
        let at = (at % self.len) & !7;
        // SAFETY: in bounds, aligned, mapped while `self` lives; atomics may change at any time.
        unsafe { &*self.at.add(at).cast() }
    }

    pub fn word(&self, at: usize) -> &AtomicU32 {
        let at = (at % self.len) & !3;
        // SAFETY: as above.
        unsafe { &*self.at.add(at).cast() }
    }

    /// The content, by the file: also of a file that has been shortened.
    pub fn copy(&self) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; self.len];
        let mut at = 0;
        while let Ok(n @ 1..) = self.file.read_at(&mut bytes[at..], at as u64) {
            at += n;
        }
        bytes
    }

    /// Puts the content back, and zeroes behind it.
    pub fn restore(&self, from: &[u8]) {
        use std::os::unix::fs::FileExt;
        let same = self.copy();
        for (nth, page) in from.chunks(4096).enumerate() {
            if same.get(4096 * nth..4096 * nth + page.len()) != Some(page) {
                let _ = self.file.write_all_at(page, 4096 * nth as u64);
            }
        }
        if same.len() > from.len() && same[from.len()..].iter().any(|byte| *byte != 0) {
            let _ = self.file.write_all_at(&vec![0; same.len() - from.len()], from.len() as u64);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`, and references to it have ended.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

/// A buffer whose end is the end of the memory that may be touched, with a pattern before it.
pub struct Fenced {
    at: *mut u8,
    room: usize,
}

const PAGE: usize = 4096;
const PATTERN: u8 = 0xc5;

impl Fenced {
    pub fn new(room: usize) -> Fenced {
        let room = room.next_multiple_of(PAGE);
        let len = room + 2 * PAGE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: overlaps nothing.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: within what was just mapped.
        unsafe {
            let at = at.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(at.cast(), room, libc::PROT_READ | libc::PROT_WRITE), 0);
            at.write_bytes(PATTERN, room);
            Fenced { at, room }
        }
    }

    /// Lends the last `len` bytes.
    pub fn lend<T>(&mut self, len: usize, to: impl FnOnce(&mut [u8]) -> T) -> T {
        assert!(len <= self.room);
        // SAFETY: mapped, and this process's own; borrowed by `self`.
        let all = unsafe { std::slice::from_raw_parts_mut(self.at, self.room) };
        let (before, lent) = all.split_at_mut(self.room - len);
        let result = to(lent);
        assert!(before.iter().all(|byte| *byte == PATTERN), "a call has written before its buffer");
        lent.fill(PATTERN);
        result
    }
}

/// Gives a board's memory back, which nobody may use any more.
pub fn free(board: &'static Board) {
    // SAFETY: mapped by `board`; the caller has done with it.
    unsafe { libc::munmap(std::ptr::from_ref(board).cast_mut().cast(), size_of::<Board>()) };
}
