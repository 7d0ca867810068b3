//! The cost of the library for a program that does not need it. The benchmark measures the
//! start, and the calls of the C library that the library intercepts.
//!
//! `cargo bench -p quintet-preload --bench overhead`
//!
//! This program starts itself with and without the library, and both processes alternate. Neither
//! makes a System V IPC call.
#![allow(unsafe_code)]

mod common;

use common::companion::{Companion, answer_lines};
use common::turns::{Batch, Figures, measure, rounds, timed};
use common::{Place, fork_and_wait, report};
use quintet::Kind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts of a program, on each side.
const STARTS: usize = 301;

const CASES: [(&str, fn()); 7] = [
    ("open and close a file", open_and_close),
    ("open a file that is not there", open_missing),
    ("write a byte to /dev/null", write_byte),
    ("access", access),
    ("getppid by its number", by_number),
    ("dlsym", look_up),
    ("fork, exit, wait", fork_and_wait),
];

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--work") {
        return answer_lines(|line| {
            let (case, times) = line.split_once(' ').expect("a case and how often");
            let (case, times): (usize, u32) = (case.parse().expect("a number"), times.parse().expect("a number"));
            timed(CASES[case].1)(times).as_nanos().to_string()
        });
    }
    if !common::is_bench() {
        return;
    }
    assert!(std::env::var_os("LD_PRELOAD").is_none(), "LD_PRELOAD is set: the plain side would not be plain");
    let library = common::library();
    report::shape(&common::processors());
    common::pin();
    let place = Place::new(Path::new("/dev/shm"), Kind::Private);
    let preload = (library, place.path().to_owned());

    report::head("a program that uses no System V IPC", None);
    report::line("start and end of /bin/true", &start(&preload), None);
    let sides = [None, Some(&preload)].map(|side| std::cell::RefCell::new(Companion::start(&["--work"], side)));
    for (case, (name, _)) in CASES.iter().enumerate() {
        let [mut plain, mut preloaded] = [&sides[0], &sides[1]].map(|side| -> Batch {
            Box::new(move |times| {
                let mut companion = side.borrow_mut();
                companion.send(&format!("{case} {times}"));
                Duration::from_nanos(companion.hear().parse().expect("nanoseconds"))
            })
        });
        report::line(name, &measure(&mut plain, &mut preloaded), None);
    }
}

fn start((library, namespace): &(PathBuf, PathBuf)) -> Figures {
    let took = rounds(STARTS, 2, |side| {
        let mut command = Command::new("/bin/true");
        if side == 1 {
            command.env("LD_PRELOAD", library).env("QUINTET_NAMESPACE", namespace);
        }
        let start = Instant::now();
        assert!(command.stdin(Stdio::null()).status().expect("/bin/true").success());
        start.elapsed().as_nanos() as f64
    });
    Figures::of(&took[0], &took[1])
}

fn open_and_close() {
    // SAFETY: a NUL-terminated path; the descriptor is this function's own.
    unsafe { assert_eq!(libc::close(libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY)), 0) };
}

fn open_missing() {
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::open(c"/dev/shm/missing".as_ptr(), libc::O_RDONLY) }, -1);
}

fn write_byte() {
    thread_local! {
        static NULL: i32 = {
            // SAFETY: a NUL-terminated path.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY) }
        };
    }
    // SAFETY: one byte of a literal.
    assert_eq!(NULL.with(|fd| unsafe { libc::write(*fd, c"x".as_ptr().cast(), 1) }), 1);
}

fn access() {
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::access(c"/dev/null".as_ptr(), libc::R_OK) }, 0);
}

fn by_number() {
    // SAFETY: takes nothing.
    assert!(unsafe { libc::syscall(libc::SYS_getppid) } > 0);
}

fn look_up() {
    // SAFETY: a NUL-terminated name.
    assert!(!unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) }.is_null());
}
