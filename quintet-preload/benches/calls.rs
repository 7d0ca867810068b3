//! The cost of shared memory calls: the kernel's and Quintet's, side by side in one process.
//!
//! `cargo bench -p quintet-preload --bench calls [-- PART-OF-A-CASE'S-NAME...]`
//!
//! The kernel is called with its system calls, Quintet through the preload library, opened here, on
//! a private namespace in `/dev/shm`. Other attached processes are further processes of this
//! program.
//!
//! The harness is its own, because criterion measures one thing after the other. A machine (a
//! virtual one above all) drifts more in between than the two sides differ. Here the sides
//! alternate (`common/turns.rs`), and the ratio is the median of the ratios of the rounds.
//!
//! # Safety
//!
//! The functions have the C library's signatures. Their arguments are numbers, locals of the right
//! type, and addresses that they returned. One process at a time writes a segment's memory.
#![allow(unsafe_code)]

mod common;

use common::companion::{Companion, answer_lines};
use common::loaded::Loaded;
use common::turns::{Batch, ROUNDS, measure, timed};
use common::{Place, fork_and_wait};
use libc::{c_int, c_void, key_t, shmid_ds, size_t};
use quintet::Kind;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KIB: usize = 1024;
const PAGE: usize = 4096;

/// One side of the comparison.
struct Side {
    functions: Functions,
    /// The preload library and its namespace; `None` for the kernel.
    preload: Option<(PathBuf, PathBuf)>,
}

/// The C functions.
struct Functions {
    shmget: unsafe extern "C" fn(key_t, size_t, c_int) -> c_int,
    shmat: unsafe extern "C" fn(c_int, *const c_void, c_int) -> *mut c_void,
    shmdt: unsafe extern "C" fn(*const c_void) -> c_int,
    shmctl: unsafe extern "C" fn(c_int, c_int, *mut shmid_ds) -> c_int,
}

unsafe extern "C" fn kernel_shmget(key: key_t, size: size_t, flags: c_int) -> c_int {
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_shmget, key, size, flags) as c_int }
}

unsafe extern "C" fn kernel_shmat(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void {
    // SAFETY: the caller's contract is the same.
    unsafe { libc::syscall(libc::SYS_shmat, id, address, flags) as *mut c_void }
}

unsafe extern "C" fn kernel_shmdt(address: *const c_void) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { libc::syscall(libc::SYS_shmdt, address) as c_int }
}

unsafe extern "C" fn kernel_shmctl(id: c_int, command: c_int, buffer: *mut shmid_ds) -> c_int {
    // SAFETY: the caller's contract is the same.
    unsafe { libc::syscall(libc::SYS_shmctl, id, command, buffer) as c_int }
}

impl Side {
    fn kernel() -> Side {
        let functions = Functions { shmget: kernel_shmget, shmat: kernel_shmat, shmdt: kernel_shmdt, shmctl: kernel_shmctl };
        Side { functions, preload: None }
    }

    /// The preload library on a namespace, which it keeps. Another namespace needs another copy of
    /// the library.
    fn preload(library: &Path, namespace: &Path) -> Side {
        let loaded = Loaded::open(library, namespace);
        // SAFETY: the library's functions of these names have the C library's signatures, which are
        // those of the fields.
        let functions = unsafe {
            Functions {
                shmget: loaded.function(c"shmget"),
                shmat: loaded.function(c"shmat"),
                shmdt: loaded.function(c"shmdt"),
                shmctl: loaded.function(c"shmctl"),
            }
        };
        let side = Side { functions, preload: Some((library.into(), namespace.into())) };
        // The first call opens the namespace.
        side.get(libc::IPC_PRIVATE, PAGE, libc::IPC_CREAT | 0o600).remove();
        side
    }

    fn get(&self, key: key_t, size: usize, flags: c_int) -> Segment<'_> {
        // SAFETY: numbers only.
        let id = unsafe { (self.functions.shmget)(key, size, flags) };
        assert!(id != -1, "shmget: {}", std::io::Error::last_os_error());
        Segment { side: self, id }
    }

    /// Creates a segment with a key that was free; it is removed when dropped.
    fn keyed(&self) -> (key_t, Owned<'_>) {
        let mut key = 0x5149_0000;
        loop {
            key += 1;
            // SAFETY: numbers only.
            let id = unsafe { (self.functions.shmget)(key, PAGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
            if id != -1 {
                return (key, Owned(Segment { side: self, id }));
            }
            let error = std::io::Error::last_os_error();
            assert!(error.raw_os_error() == Some(libc::EEXIST), "shmget: {error}");
        }
    }

    fn private(&self, size: usize) -> Owned<'_> {
        Owned(self.get(libc::IPC_PRIVATE, size, libc::IPC_CREAT | 0o600))
    }

    /// Starts this program in the role of this name.
    fn companion(&self, role: &str, id: Option<c_int>) -> Companion {
        Companion::start(&[role, &id.map_or("none".into(), |id| id.to_string())], self.preload.as_ref())
    }
}

#[derive(Clone, Copy)]
struct Segment<'a> {
    side: &'a Side,
    id: c_int,
}

impl Segment<'_> {
    #[inline]
    fn attach(self, flags: c_int) -> *mut u8 {
        // SAFETY: the system chooses the address.
        let at = unsafe { (self.side.functions.shmat)(self.id, std::ptr::null(), flags) };
        assert!(at as isize != -1, "shmat: {}", std::io::Error::last_os_error());
        at.cast()
    }

    #[inline]
    fn detach(self, at: *mut u8) {
        // SAFETY: `attach` returned the address, and nothing uses the memory afterwards.
        let done = unsafe { (self.side.functions.shmdt)(at.cast()) };
        assert!(done == 0, "shmdt: {}", std::io::Error::last_os_error());
    }

    #[inline]
    fn stat(self) -> u64 {
        // SAFETY: zeroes are a valid shmid_ds.
        let mut ds: shmid_ds = unsafe { std::mem::zeroed() };
        // SAFETY: a local of the right type.
        let done = unsafe { (self.side.functions.shmctl)(self.id, libc::IPC_STAT, &raw mut ds) };
        assert!(done == 0, "IPC_STAT: {}", std::io::Error::last_os_error());
        black_box(ds.shm_nattch)
    }

    #[inline]
    fn remove(self) {
        // SAFETY: IPC_RMID uses no buffer.
        let done = unsafe { (self.side.functions.shmctl)(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
        assert!(done == 0, "IPC_RMID: {}", std::io::Error::last_os_error());
    }
}

/// A segment that is removed when dropped.
struct Owned<'a>(Segment<'a>);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// The main loop of a companion: attaches the segment as an unmodified program, then performs its
/// role.
fn be_companion(role: &str, id: &str) {
    if let Ok(id) = id.parse() {
        // SAFETY: the system chooses the address.
        let at = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        assert!(at as isize != -1, "shmat: {}", std::io::Error::last_os_error());
    }
    answer_lines(|line| {
        assert_eq!(role, "--fork");
        let n: u32 = line.parse().expect("a number");
        let start = Instant::now();
        (0..n).for_each(|_| fork_and_wait());
        start.elapsed().as_nanos().to_string()
    });
}

struct Case<'a> {
    name: String,
    /// Quintet's side; the other one is the kernel's.
    side: &'a Side,
    /// Prepares the case on a side; what it needs lives as long as the batch.
    set_up: Box<dyn Fn(&'a Side) -> Batch<'a> + 'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Writes {
    Nothing,
    Byte,
    EachPage,
}

fn touch(at: *mut u8, size: usize, writes: Writes) {
    let until = match writes {
        Writes::Nothing => 0,
        Writes::Byte => 1,
        Writes::EachPage => size,
    };
    for offset in (0..until).step_by(PAGE) {
        // SAFETY: within the segment, attached writable.
        unsafe { at.add(offset).write_volatile(1) };
    }
}

fn live<'a>(segment: Segment<'a>, size: usize, writes: Writes) {
    let at = segment.attach(0);
    touch(at, size, writes);
    segment.detach(at);
    segment.remove();
}

/// Returns all cases; `private` and `shared` are Quintet on a namespace of that kind.
fn cases<'a>(private: &'a Side, shared: &'a Side) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    let mut on = |side: &'a Side, name: &str, set_up: Box<dyn Fn(&'a Side) -> Batch<'a> + 'a>| {
        cases.push(Case { name: name.into(), side, set_up });
    };

    // The same on both sides: shows how far the ratio can be trusted.
    on(
        private,
        "(yardstick: getppid)",
        Box::new(|_| {
            timed(|| {
                black_box(std::os::unix::process::parent_id());
            })
        }),
    );

    for (side, of) in [(private, ""), (shared, ", shared namespace")] {
        on(side, &format!("shmget, existing key{of}"), Box::new(|side| find(side, 1)));
    }
    on(private, "shmget, existing key, one of 1000", Box::new(|side| find(side, 1000)));

    on(private, "IPC_STAT, no attachment", Box::new(|side| stat(side, false, 0)));
    on(private, "IPC_STAT, attached by the caller", Box::new(|side| stat(side, true, 0)));
    on(private, "IPC_STAT, attached by 1 other", Box::new(|side| stat(side, false, 1)));
    on(private, "IPC_STAT, attached by 8 others", Box::new(|side| stat(side, false, 8)));

    for (flags, how) in [(0, "read-write"), (libc::SHM_RDONLY, "read-only")] {
        for (others, company) in [(0, "alone"), (1, "with 1 other"), (8, "with 8 others")] {
            on(private, &format!("shmat+shmdt, {how}, {company}"), Box::new(move |side| attach(side, flags, others)));
        }
    }
    on(private, "shmat+shmdt, 128 KiB, the first of a segment", Box::new(first_attach));

    for (side, of) in [(private, ""), (shared, ", shared namespace")] {
        on(side, &format!("life, 4 KiB, private, a byte written{of}"), Box::new(|side| life(side, 4 * KIB, Writes::Byte)));
        on(side, &format!("life, 4 KiB, key, a byte written{of}"), Box::new(|side| keyed_life(side, Writes::Byte)));
    }
    on(private, "life, 4 KiB, private, nothing written", Box::new(|side| life(side, 4 * KIB, Writes::Nothing)));
    on(private, "life, 4 KiB, key, nothing written", Box::new(|side| keyed_life(side, Writes::Nothing)));
    on(private, "life, 4 KiB, one of 8 at a time", Box::new(crowd));
    for (size, name) in [(64 * KIB, "64 KiB"), (KIB * KIB, "1 MiB")] {
        on(private, &format!("life, {name}, a byte written"), Box::new(move |side| life(side, size, Writes::Byte)));
        on(private, &format!("life, {name}, each page written"), Box::new(move |side| life(side, size, Writes::EachPage)));
    }

    on(private, "fork+exit+wait, nothing attached", Box::new(|side| fork(side, false)));
    on(private, "fork+exit+wait, one attachment", Box::new(|side| fork(side, true)));
    cases
}

fn find(side: &Side, among: usize) -> Batch<'_> {
    let all: Vec<_> = (0..among).map(|_| side.keyed()).collect();
    let key = all[among / 2].0;
    timed(move || {
        let _ = &all;
        black_box(side.get(key, 0, 0).id);
    })
}

fn stat(side: &Side, own: bool, others: usize) -> Batch<'_> {
    let attached = Attached::new(side, own, others);
    let expected = others as u64 + u64::from(own);
    timed(move || assert!(attached.segment().stat() == expected))
}

fn attach(side: &Side, flags: c_int, others: usize) -> Batch<'_> {
    let attached = Attached::new(side, false, others);
    timed(move || attached.segment().detach(attached.segment().attach(flags)))
}

/// A segment and the processes that have attached it.
struct Attached<'a> {
    _others: Vec<Companion>,
    own: Option<*mut u8>,
    segment: Owned<'a>,
}

impl<'a> Attached<'a> {
    fn new(side: &'a Side, own: bool, others: usize) -> Attached<'a> {
        let segment = side.private(PAGE);
        let _others = (0..others).map(|_| side.companion("--hold", Some(segment.0.id))).collect();
        Attached { _others, own: own.then(|| segment.0.attach(0)), segment }
    }

    fn segment(&self) -> Segment<'a> {
        self.segment.0
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.own {
            self.segment.0.detach(at);
        }
    }
}

/// Segments of a size for which the library prepares nothing at their creation.
fn first_attach(side: &Side) -> Batch<'_> {
    Box::new(move |n| {
        let segments: Vec<_> = (0..n.min(256)).map(|_| side.private(128 * KIB)).collect();
        let start = Instant::now();
        segments.iter().for_each(|segment| segment.0.detach(segment.0.attach(0)));
        start.elapsed() * n / segments.len() as u32
    })
}

fn life(side: &Side, size: usize, writes: Writes) -> Batch<'_> {
    timed(move || live(side.get(libc::IPC_PRIVATE, size, libc::IPC_CREAT | 0o600), size, writes))
}

fn keyed_life(side: &Side, writes: Writes) -> Batch<'_> {
    // A key that is free.
    let key = side.keyed().0;
    timed(move || live(side.get(key, PAGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600), PAGE, writes))
}

/// Eight segments at a time, each of which counts as one.
fn crowd(side: &Side) -> Batch<'_> {
    Box::new(move |n| {
        let start = Instant::now();
        for _ in 0..n.div_ceil(8) {
            let segments = [(); 8].map(|()| side.get(libc::IPC_PRIVATE, PAGE, libc::IPC_CREAT | 0o600));
            let attached = segments.map(|segment| segment.attach(0));
            attached.iter().for_each(|at| touch(*at, PAGE, Writes::Byte));
            segments.iter().zip(attached).for_each(|(segment, at)| segment.detach(at));
            segments.iter().for_each(|segment| segment.remove());
        }
        start.elapsed() * n / (n.div_ceil(8) * 8)
    })
}

fn fork(side: &Side, attached: bool) -> Batch<'_> {
    let segment = side.private(PAGE);
    let mut parent = side.companion("--fork", attached.then_some(segment.0.id));
    Box::new(move |n| {
        let _ = &segment;
        parent.send(&n.to_string());
        Duration::from_nanos(parent.hear().parse().expect("a number"))
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, id] = &args[..]
        && ["--hold", "--fork"].contains(&&role[..])
    {
        return be_companion(role, id);
    }
    if !common::is_bench() {
        return;
    }
    let wanted: Vec<_> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let library = common::library();
    common::own_ipc();
    common::pin();

    let memory = Path::new("/dev/shm");
    let places = [Kind::Private, Kind::Shared].map(|kind| Place::new(memory, kind));
    let copy = std::env::temp_dir().join(format!("libquintet_preload-{}.so", std::process::id()));
    std::fs::copy(&library, &copy).expect("room for a copy of the library");
    let kernel = Side::kernel();
    let private = Side::preload(&library, places[0].path());
    let shared = Side::preload(&copy, places[1].path());
    std::fs::remove_file(&copy).expect("it was just made");

    let cases = cases(&private, &shared);
    let chosen = |case: &&Case<'_>| wanted.is_empty() || wanted.iter().any(|part| case.name.contains(&part[..]));
    let row = |name: &str, figures: [&str; 4]| {
        println!("| {name:<54} | {:>9} | {:>10} | {:>5} | {:>14} |", figures[0], figures[1], figures[2], figures[3]);
    };
    row("case", ["kernel ns", "quintet ns", "ratio", "5% .. 95%"]);
    println!("|{:-<56}|{:->10}:|{:->11}:|{:->6}:|{:->15}:|", "", "", "", "", "");
    for case in cases.iter().filter(chosen) {
        let figures = measure(&mut (case.set_up)(&kernel), &mut (case.set_up)(case.side));
        let (kernel, quintet) = (format!("{:.0}", figures.kernel), format!("{:.0}", figures.quintet));
        row(&case.name, [&kernel, &quintet, &format!("{:.2}", figures.ratio), &figures.range()]);
    }
    println!("(medians of {ROUNDS} rounds; ratio: quintet / kernel within a round)");
}
