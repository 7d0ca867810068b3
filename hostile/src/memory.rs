//! Memory that processes share, and buffers between inaccessible pages.
//!
//! # Safety
//!
//! The kernel chooses the addresses of all mappings, which live as long as the value that returns
//! references to them. Memory that another process may change is accessed through atomics or
//! copied.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// The state that a victim and the watcher share.
#[repr(C)]
pub struct StatusPage {
    /// The number of the round to run; the victim waits on it.
    pub round: AtomicU32,
    /// The number of the last finished round; the watcher waits on it.
    pub done: AtomicU32,
    /// Number of calls begun and ended.
    pub begun: AtomicU64,
    pub ended: AtomicU64,
    /// The current call, an index into [`crate::victim::CALLS`].
    pub call: AtomicU32,
    /// The thread that makes the calls.
    pub tid: AtomicU32,
    /// The child that the victim waits for; 0 if none.
    pub child: AtomicU32,
    /// The seed of the round.
    pub seed: AtomicU64,
    /// Number of successful calls.
    pub succeeded: AtomicU64,
    /// The longest call in microseconds, and which.
    pub longest: AtomicU64,
    pub longest_call: AtomicU32,
    /// Not 0 if registry or limits are attacked, so that creation may fail.
    pub hindered: AtomicU32,
    /// Not 0 in the last round. The victim exits when it is [`END`].
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

/// Maps a status page that children share.
pub fn status_page() -> &'static StatusPage {
    // SAFETY: never unmapped; zeroes are atomics.
    unsafe { &*map(size_of::<StatusPage>(), None).cast() }
}

/// Blocks while the word has this value, for `most` at most.
pub fn wait_while(word: &AtomicU32, value: u32, most: Duration) {
    let time = libc::timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
    // SAFETY: a word that lives, and a local.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const time) };
}

/// Wakes all waiters of a word.
pub fn wake(word: &AtomicU32) {
    // SAFETY: a word that lives.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// A file under attack, mapped writable.
pub struct Target {
    at: *mut u8,
    pub len: usize,
    file: File,
    pub inode: u64,
}

/// Only this part of a file is attacked.
const MAX_LEN: u64 = 1 << 20;

impl Target {
    pub fn open(path: &Path) -> Option<Target> {
        use std::os::unix::fs::MetadataExt;
        let file = File::options().read(true).write(true).open(path).ok()?;
        let stat = file.metadata().ok()?;
        let len = stat.len().min(MAX_LEN) as usize & !7;
        (len != 0).then(|| Target { at: map(len, Some(&file)), len, file, inode: stat.ino() })
    }

    /// Shortens the file. The end of the mapping must not be accessed afterwards.
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

    /// Reads the content from the file, which may have been shortened.
    pub fn copy(&self) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; self.len];
        let mut at = 0;
        while let Ok(n @ 1..) = self.file.read_at(&mut bytes[at..], at as u64) {
            at += n;
        }
        bytes
    }

    /// Restores the content, and zeroes what follows.
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

/// A buffer that ends at an inaccessible page, with a pattern before it.
pub struct GuardedBuffer {
    at: *mut u8,
    room: usize,
}

const PAGE: usize = 4096;
const PATTERN: u8 = 0xc5;

impl GuardedBuffer {
    pub fn new(room: usize) -> GuardedBuffer {
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
            GuardedBuffer { at, room }
        }
    }

    /// Passes the last `len` bytes to `to`. Checks the pattern before them.
    pub fn with_last_bytes<T>(&mut self, len: usize, to: impl FnOnce(&mut [u8]) -> T) -> T {
        assert!(len <= self.room);
        // SAFETY: mapped, and this process's own; borrowed by `self`.
        let all = unsafe { std::slice::from_raw_parts_mut(self.at, self.room) };
        let (before, lent) = all.split_at_mut(self.room - len);
        let result = to(lent);
        assert!(before.iter().all(|byte| *byte == PATTERN), "a call wrote before its buffer");
        lent.fill(PATTERN);
        result
    }
}

/// Unmaps a status page that is not used any more.
pub fn free(page: &'static StatusPage) {
    // SAFETY: mapped by `status_page`; the caller does not use it again.
    unsafe { libc::munmap(std::ptr::from_ref(page).cast_mut().cast(), size_of::<StatusPage>()) };
}
