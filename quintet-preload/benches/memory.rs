//! What an unmodified program sees of a large segment: the time to create it, to fill it and to use
//! it.
//!
//! `cargo bench -p quintet-preload --bench memory`
//!
//! This program starts itself as a client that knows only the C library's calls. It alternates
//! between the kernel, Quintet (`LD_PRELOAD`) on a namespace in `/dev/shm` and, if it may mount
//! one, Quintet on a tmpfs with huge pages. Each client is a new process. Each round has one of
//! each, and ratios are formed within a round.
//!
//! # Safety
//!
//! Only the client uses the segment's memory, and it stays within it. The other calls get numbers,
//! locals and NUL-terminated strings.
#![allow(unsafe_code)]

mod common;

use common::Place;
use libc::c_int;
use quintet::Kind;
use std::ffi::{CStr, CString};
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 15;
const SIZE: usize = 256 << 20;
const PAGE: usize = 4096;
/// A step of the random walk leads from one cache line to another.
const LINE: usize = 64;
const STEPS: usize = 1 << 21;

/// The measurements of a client, in the order of its report.
const STEP_NAMES: [&str; 8] = [
    "a  shmget, ms",
    "b  shmat, ms",
    "c  first write to each page, ms",
    "d1 writing it all again, ms",
    "d2 reading it all, ms",
    "e  random access, ns",
    "g  shmdt and IPC_RMID, ms",
    "f  a + b + c, ms",
];

/// Returns the milliseconds since `start`, and restarts it.
fn lap(start: &mut Instant) -> f64 {
    let ms = start.elapsed().as_secs_f64() * 1e3;
    *start = Instant::now();
    ms
}

/// Touches and frees twice as much memory as is measured. A virtual machine may have returned free
/// memory to its host. Without this, the first side would also measure getting it back.
fn warm() {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, used within its length and unmapped with its own address.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 2 * SIZE, prot, flags, -1, 0);
        if at != libc::MAP_FAILED {
            libc::madvise(at, 2 * SIZE, libc::MADV_HUGEPAGE);
            (0..2 * SIZE).step_by(PAGE).for_each(|offset| at.cast::<u8>().add(offset).write_volatile(1));
            libc::munmap(at, 2 * SIZE);
        }
    }
}

/// The client: prints a number for each step, and the size of huge pages in KiB.
fn be_client() {
    let failed = |call: &str| -> ! { panic!("{call}: {}", std::io::Error::last_os_error()) };
    warm();
    let mut clock = Instant::now();
    // SAFETY: numbers only.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, SIZE, libc::IPC_CREAT | 0o600) };
    let a = lap(&mut clock);
    if id == -1 {
        failed("shmget");
    }
    // SAFETY: the system chooses the address.
    let at = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    let b = lap(&mut clock);
    if at as isize == -1 {
        remove(id);
        failed("shmat");
    }
    let bytes: *mut u8 = at.cast();
    for offset in (0..SIZE).step_by(PAGE) {
        // SAFETY: within the segment.
        unsafe { bytes.add(offset).write_volatile(1) };
    }
    let c = lap(&mut clock);
    // SAFETY: the whole of the segment.
    unsafe { std::ptr::write_bytes(black_box(bytes), 2, SIZE) };
    let d1 = lap(&mut clock);
    // SAFETY: the whole segment, which no process writes meanwhile; attached memory is
    // page-aligned.
    let words = unsafe { std::slice::from_raw_parts(black_box(bytes).cast::<u64>(), SIZE / 8) };
    black_box(words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word)));
    let d2 = lap(&mut clock);

    // Each line names the next one. The generator's period is the number of lines, so it visits
    // each line once.
    let lines = SIZE / LINE;
    for line in 0..lines {
        let next = (line.wrapping_mul(0x5DEE_CE65) + 0x9E37_79B1) % lines;
        // SAFETY: within the segment, and aligned.
        unsafe { bytes.add(line * LINE).cast::<usize>().write_volatile(next) };
    }
    lap(&mut clock);
    let mut line = 0;
    for _ in 0..STEPS {
        // SAFETY: within the segment, and aligned.
        line = unsafe { bytes.add(line * LINE).cast::<usize>().read_volatile() };
    }
    black_box(line);
    let e = lap(&mut clock) * 1e6 / STEPS as f64;

    let huge = huge_kib(at as usize);
    lap(&mut clock);
    // SAFETY: attached above, and not used afterwards.
    if unsafe { libc::shmdt(at) } != 0 {
        remove(id);
        failed("shmdt");
    }
    remove(id);
    let g = lap(&mut clock);
    println!("{a} {b} {c} {d1} {d2} {e} {g} {} {huge}", a + b + c);
}

fn remove(id: c_int) {
    // SAFETY: IPC_RMID uses no buffer.
    unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
}

/// Returns the size in KiB of the mapping at `at` that huge pages map.
fn huge_kib(at: usize) -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let mapping = text.lines().skip_while(|line| !line.starts_with(&format!("{at:x}-")));
    let line = mapping.skip(1).find(|line| line.starts_with("ShmemPmdMapped:"));
    line.and_then(|line| line.split_ascii_whitespace().nth(1)).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

struct Subject {
    name: &'static str,
    /// The preload library and its namespace; `None` for the kernel.
    preload: Option<(PathBuf, PathBuf)>,
    /// The reports of the clients, one list for each round.
    rounds: Vec<Vec<f64>>,
}

impl Subject {
    fn run(&mut self) {
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command.arg("--client").env_remove("LD_PRELOAD");
        if let Some((library, namespace)) = &self.preload {
            command.env("LD_PRELOAD", library).env("QUINTET_NAMESPACE", namespace);
        }
        let output = command.output().expect("this program runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let whole = numbers.len() == STEP_NAMES.len() + 1;
        assert!(whole, "{}: the client failed: {}", self.name, String::from_utf8_lossy(&output.stderr));
        self.rounds.push(numbers);
    }

    fn column(&self, step: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[step]).collect()
    }
}

/// A tmpfs with huge pages, in a mount namespace of this process; unmounted when dropped.
struct HugeMount(PathBuf);

impl HugeMount {
    fn new() -> Result<HugeMount, String> {
        let why = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
        // SAFETY: a flag only.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(why("no mount namespace of its own"));
        }
        if !mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE, c"") {
            return Err(why("the mounts cannot be made private"));
        }
        let path = std::env::temp_dir().join(format!("quintet-bench-{}-huge", std::process::id()));
        std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let guard = HugeMount(path);
        let target = CString::new(guard.0.as_os_str().as_bytes()).expect("a path");
        if mount(Some(c"tmpfs"), &target, 0, c"huge=always,size=2g,mode=0700") {
            Ok(guard)
        } else {
            Err(why("no tmpfs with huge=always"))
        }
    }
}

impl Drop for HugeMount {
    fn drop(&mut self) {
        let target = CString::new(self.0.as_os_str().as_bytes()).expect("a path");
        // SAFETY: a NUL-terminated path. Without a mount there the call has no effect.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn mount(kind: Option<&CStr>, target: &CStr, flags: libc::c_ulong, data: &CStr) -> bool {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: NUL-terminated strings, or null where the kernel wants none.
    unsafe { libc::mount(kind, target.as_ptr(), kind, flags, data.as_ptr().cast()) == 0 }
}

/// Formats a ratio with the significant decimals.
fn short(ratio: f64) -> String {
    let places = if ratio < 10.0 { 2 } else { 0 };
    format!("{ratio:.places$}")
}

/// Returns the setting in brackets.
fn setting(name: &str) -> String {
    let text = std::fs::read_to_string(format!("/sys/kernel/mm/transparent_hugepage/{name}")).unwrap_or_default();
    text.split(['[', ']']).nth(1).unwrap_or("not known").into()
}

fn main() {
    if std::env::args().any(|arg| arg == "--client") {
        return be_client();
    }
    if !common::is_bench() {
        return;
    }
    let library = common::library();
    common::own_ipc();
    common::pin();
    let place = Place::new(Path::new("/dev/shm"), Kind::Private);
    // Dropped in the opposite order: the namespace, then the mount.
    let mount = HugeMount::new();
    let huge_place = mount.as_ref().map(|mount| Place::new(&mount.0, Kind::Private));

    let subject = |name, preload| Subject { name, preload, rounds: Vec::new() };
    let mut subjects = vec![subject("kernel", None), subject("quintet", Some((library.clone(), place.path().to_path_buf())))];
    match &huge_place {
        Ok(place) => subjects.push(subject("quintet, huge", Some((library, place.path().to_path_buf())))),
        Err(why) => println!("without huge pages: {why}"),
    }
    // The first round warms up, and does not count.
    for round in 0..=ROUNDS {
        for subject in &mut subjects {
            subject.run();
        }
        if round == 0 {
            subjects.iter_mut().for_each(|subject| subject.rounds.clear());
        }
        subjects.rotate_left(1);
    }
    subjects.sort_by_key(|subject| subject.name);
    report(&subjects);
}

fn report(subjects: &[Subject]) {
    let (kernel, others) = subjects.split_first().expect("the kernel is always asked");
    print!("| {:<32} | {:>8} |", format!("{} MiB", SIZE >> 20), kernel.name);
    others.iter().for_each(|other| print!(" {:>13} | {:>20} |", other.name, "ratio min/median/max"));
    print!("\n|{:-<34}|{:->9}:|", "", "");
    others.iter().for_each(|_| print!("{:->14}:|{:->21}:|", "", ""));
    println!();
    for (step, name) in STEP_NAMES.iter().enumerate() {
        let base = kernel.column(step);
        print!("| {name:<32} | {:>8.3} |", common::median(&base));
        for other in others {
            let column = other.column(step);
            let ratios: Vec<f64> = column.iter().zip(&base).map(|(q, k)| q / k).collect();
            let ratios = [0.0, 0.5, 1.0].map(|part| short(common::quantile(&ratios, part))).join(" / ");
            print!(" {:>13.3} | {ratios:>20} |", common::median(&column));
        }
        println!();
    }
    println!("(medians of {ROUNDS} rounds; ratio: to the kernel's within a round)");
    for subject in subjects {
        let mib = common::median(&subject.column(STEP_NAMES.len())) / 1024.0;
        println!("{}: {mib:.0} of {} MiB mapped by huge pages", subject.name, SIZE >> 20);
    }
    println!("transparent_hugepage: enabled {}, shmem_enabled {}", setting("enabled"), setting("shmem_enabled"));
}
