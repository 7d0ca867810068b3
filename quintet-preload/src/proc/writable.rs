//! Descriptors through which files can be written, and data that was written to them without an
//! intercepted call.
//!
//! Descriptors are identified by inode, because a program duplicates them and hands them on. The
//! table has a few entries; most programs use none. An entry is claimed and released as a whole
//! with one word, the number of the file.
use crate::base::preload_api::{self, ProcFile};
use crate::proc::descriptor::{borrow, link, target};
use crate::proc::memfd;
use libc::{FILE, c_int};
use quintet::Errno;
use rustix::fs::{self, CWD, FileType, Mode, OFlags, RawDir, SealFlags, Stat};
use rustix::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

struct Entry {
    device: AtomicU64,
    inode: AtomicU64,
    /// The index of the file plus 1. 0: the entry is free. [`TAKEN`]: it is being filled.
    file: AtomicU32,
    /// The stream that was opened for the file, or null.
    stream: AtomicPtr<FILE>,
}

const TAKEN: u32 = u32::MAX;

/// A further file replaces another one; the descriptors of that one are then unknown.
const ENTRIES: usize = 32;

static TABLE: [Entry; ENTRIES] = [const {
    Entry {
        device: AtomicU64::new(0),
        inode: AtomicU64::new(0),
        file: AtomicU32::new(0),
        stream: AtomicPtr::new(std::ptr::null_mut()),
    }
}; ENTRIES];

static ANY: AtomicBool = AtomicBool::new(false);

/// Returns `true` if there may be such descriptors.
#[inline(always)]
pub fn any() -> bool {
    ANY.load(Relaxed)
}

/// Returns the index of the entry of an inode, and its file.
fn entry_of(stat: &Stat) -> Option<(usize, ProcFile)> {
    TABLE.iter().enumerate().find_map(|(at, entry)| {
        let file = *ProcFile::ALL.get(entry.file.load(Acquire).checked_sub(1)? as usize)?;
        let is = (entry.device.load(Relaxed), entry.inode.load(Relaxed)) == (stat.st_dev as u64, stat.st_ino as u64);
        is.then_some((at, file))
    })
}

/// Adds a memfd.
pub fn add(memfd: BorrowedFd<'_>, file: ProcFile) {
    let Ok(stat) = fs::fstat(memfd) else { return };
    let number = ProcFile::ALL.iter().position(|other| *other == file).map_or(0, |at| at as u32 + 1);
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let take = |entry: &&Entry| entry.file.compare_exchange(0, TAKEN, AcqRel, Relaxed).is_ok();
    let entry = TABLE.iter().find(take).unwrap_or_else(|| &TABLE[NEXT.fetch_add(1, Relaxed) as usize % ENTRIES]);
    entry.file.store(TAKEN, Release);
    entry.device.store(stat.st_dev as u64, Relaxed);
    entry.inode.store(stat.st_ino as u64, Relaxed);
    entry.stream.store(std::ptr::null_mut(), Relaxed);
    entry.file.store(number, SeqCst);
    ANY.store(true, SeqCst);
}

/// Returns the file of a descriptor that can write to it.
pub fn file(fd: c_int) -> Option<ProcFile> {
    let fd = borrow(fd)?;
    let (_, file) = entry_of(&fs::fstat(fd).ok()?)?;
    (fs::fcntl_getfl(fd).ok()? & OFlags::ACCMODE != OFlags::RDONLY).then_some(file)
}

/// Records or clears the stream of a descriptor.
pub fn set_stream(fd: c_int, stream: *mut FILE) {
    if let Some((at, _)) = borrow(fd).and_then(|fd| entry_of(&fs::fstat(fd).ok()?)) {
        TABLE[at].stream.store(stream, Release);
    }
}

/// Returns the streams that were opened for such files.
pub fn streams() -> impl Iterator<Item = *mut FILE> {
    let known = TABLE.iter().filter(|entry| entry.file.load(Acquire) != 0);
    known.map(|entry| entry.stream.load(Acquire)).filter(|stream| !stream.is_null())
}

/// Applies pending writes of a descriptor.
pub fn apply(fd: c_int) -> Result<()> {
    let Some((fd, file)) = borrow(fd).zip(file(fd)) else { return Ok(()) };
    let stat = fs::fstat(fd)?;
    if (stat.st_mtime, stat.st_mtime_nsec) == (0, 0) {
        return Ok(());
    }
    let position = fs::tell(fd)?;
    // The kernel does not look at more.
    let mut bytes = [0; 4096];
    let most = position.min(bytes.len() as u64) as usize;
    let len = read_back(fd, &mut bytes[..most])?;
    // Only a write at the beginning has a meaning. Without one, the file begins with a hole.
    let written = match bytes[..len].first() {
        None | Some(0) => Ok(0),
        Some(_) => preload_api::proc_write(file, &bytes[..len]),
    };
    memfd::refresh(fd, file)?;
    written.map(drop)
}

/// Reads from the beginning, even through a write-only descriptor.
fn read_back(fd: BorrowedFd<'_>, to: &mut [u8]) -> Result<usize> {
    match io::pread(fd, &mut *to, 0) {
        Err(io::Errno::BADF) => {
            let again = fs::openat(CWD, link(fd.as_raw_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(io::pread(&again, to, 0)?)
        }
        read => Ok(read?),
    }
}

/// Calls `each` with each open descriptor. Returns `None` if there is no list of them.
fn each_descriptor(mut each: impl FnMut(c_int)) -> Option<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty()).ok()?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&list, &mut buffer);
    while let Some(entry) = entries.next() {
        let fd = entry.ok()?.file_name().to_str().ok()?.parse().ok();
        fd.filter(|fd| *fd != list.as_raw_fd()).map(&mut each);
    }
    Some(())
}

/// Applies the pending writes of all descriptors.
pub fn apply_all() {
    let _ = each_descriptor(|fd| {
        let _ = apply(fd);
    });
}

/// Removes files without an open descriptor. Entries without one would make every call look at its
/// descriptor for nothing.
pub fn tidy() {
    let known: [u32; ENTRIES] = std::array::from_fn(|at| TABLE[at].file.load(SeqCst));
    let mut open = [false; ENTRIES];
    let listed = each_descriptor(|fd| {
        if let Some((at, _)) = borrow(fd).and_then(|fd| entry_of(&fs::fstat(fd).ok()?)) {
            open[at] = true;
        }
    });
    if listed.is_none() {
        return;
    }
    for at in (0..ENTRIES).filter(|at| !open[*at] && known[*at] != TAKEN) {
        let _ = TABLE[at].file.compare_exchange(known[at], 0, SeqCst, Relaxed);
    }
    let rest = || TABLE.iter().any(|entry| entry.file.load(SeqCst) != 0);
    if !rest() {
        ANY.store(false, SeqCst);
        // Another thread may have added a file meanwhile.
        if rest() {
            ANY.store(true, SeqCst);
        }
    }
}

/// Adopts descriptors 0 to 9, which are those that a shell passes redirections on.
pub fn at_load() {
    for fd in 0..=9 {
        if let Some((fd, file)) = borrow(fd).and_then(|fd| Some((fd, inherited(fd)?))) {
            add(fd, file);
        }
    }
}

/// Returns the file of an inherited descriptor. Its owner must be the effective user: this process
/// does not set limits on behalf of another user.
fn inherited(fd: BorrowedFd<'_>) -> Option<ProcFile> {
    let stat = fs::fstat(fd).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_nlink != 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return None;
    }
    let seals = fs::fcntl_get_seals(fd).ok()?;
    if seals.contains(SealFlags::WRITE) {
        return None;
    }
    memfd::of_target(&target(fd.as_raw_fd())?)
}
