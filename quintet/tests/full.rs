//! On a full file system, `shmget` fails. A write to a segment that was created never raises
//! SIGBUS.
//!
//! Each test mounts a tmpfs in its own mount namespace, which needs root. It runs in a child
//! process, so that a signal that kills the test is noticed.
#![allow(unsafe_code)]

use quintet::{Errno, Key, Kind, Namespace, Segment};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

/// The variable that names the child's directory.
const INSIDE: &str = "QUINTET_TEST_FULL";
const MIB: u64 = 1 << 20;

/// Runs `body` in a child, on a tmpfs of 64 MiB that only the child sees.
fn on_small_tmpfs(name: &str, body: fn(&Path)) {
    on_tmpfs(name, "size=64m", body);
}

/// The same with other mount options.
fn on_tmpfs(name: &str, options: &str, body: fn(&Path)) {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return body(Path::new(&dir));
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // The mount ends with the only process of its mount namespace.
    let script = "mount -t tmpfs -o \"$4\" quintet-test \"$1\" && exec \"$2\" --exact \"$3\" --nocapture --test-threads 1";
    let mut child = Command::new("unshare");
    child.args(["--mount", "sh", "-c", script, "sh"]).arg(dir.path());
    let output = child.arg(std::env::current_exe().unwrap()).args([name, options]).env(INSIDE, dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), None, "{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn free(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Fills the file system completely.
fn fill(dir: &Path) -> File {
    let mut file = File::create(dir.join("filler")).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..1]).is_ok() {}
    assert_eq!(free(dir), 0);
    file
}

fn error(result: quintet::Result<Segment>) -> Errno {
    result.expect_err("the file system has no room").errno()
}

#[test]
fn a_segment_without_room_is_refused_and_leaves_nothing() {
    on_small_tmpfs("a_segment_without_room_is_refused_and_leaves_nothing", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        // Creates the files that a namespace keeps.
        Segment::open_or_create(&ns, Key::PRIVATE, 1).unwrap().remove().unwrap();
        ns.sweep().unwrap();
        let before = free(dir);
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(1), 100 * MIB)), Errno::NOMEM);
        assert_eq!(free(dir), before);
        assert_eq!(error(Segment::open(&ns, Key::new(1))), Errno::NOENT);
        let usage = ns.shm_usage().unwrap();
        assert_eq!((usage.segments, usage.pages), (0, 0));
        // A size beyond any machine is refused without allocating anything.
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(1), 100 << 30)), Errno::NOMEM);
        assert_eq!(free(dir), before);
        assert!(Segment::open_or_create(&ns, Key::new(1), 40 * MIB).is_ok());
    });
}

#[test]
fn the_same_room_is_not_reserved_twice() {
    on_small_tmpfs("the_same_room_is_not_reserved_twice", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        let first = Segment::open_or_create(&ns, Key::new(1), 40 * MIB).unwrap();
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(2), 40 * MIB)), Errno::NOMEM);
        // Removing a segment makes room for the next one.
        first.remove().unwrap();
        let second = Segment::open_or_create(&ns, Key::new(2), 40 * MIB).unwrap();
        assert_eq!(second.stat().unwrap().size, 40 * MIB);
        // Without a reservation, any size is allowed.
        let sparse = Segment::options().no_reserve().create(&ns, Key::new(3), 100 * MIB).unwrap();
        assert_eq!(sparse.stat().unwrap().size, 100 * MIB);
        sparse.attach().unwrap().write(99 << 20, b"there is room for this").unwrap();
    });
}

/// Segments above 4 GiB allocate no pages, but their reservations count.
#[test]
fn reservations_of_large_segments_count() {
    on_tmpfs("reservations_of_large_segments_count", "size=12g", |dir| {
        const GIB: u64 = 1 << 30;
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        let large = Segment::open_or_create(&ns, Key::new(1), 5 * GIB).unwrap();
        let memory = large.attach().unwrap();
        memory.write(5 << 30 >> 1, b"in the middle").unwrap();
        assert!(free(dir) > 11 * GIB);
        Segment::open_or_create(&ns, Key::new(2), 5 * GIB).unwrap();
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(3), 5 * GIB)), Errno::NOMEM);
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(3), 3 * GIB)), Errno::NOMEM);
        Segment::open_or_create(&ns, Key::new(3), MIB).unwrap();
        drop(memory);
        large.remove().unwrap();
        Segment::open_or_create(&ns, Key::new(4), 5 * GIB).unwrap();
    });
}

/// A file system without a size limit has as much room as the machine has memory.
#[test]
fn a_mount_without_a_size_reserves_up_to_the_memory_of_the_machine() {
    on_tmpfs("a_mount_without_a_size_reserves_up_to_the_memory_of_the_machine", "size=0", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        assert_eq!(Segment::open_or_create(&ns, Key::new(1), 2 * MIB).unwrap().attach().unwrap().len() as u64, 2 * MIB);
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(2), 1 << 50)), Errno::NOMEM);
    });
}

/// The mount decides about huge pages, which have one size.
#[test]
fn huge_pages_work_if_the_mount_allows_them() {
    const HUGE: &str = "/sys/kernel/mm/transparent_hugepage";
    let size = std::fs::read_to_string(format!("{HUGE}/hpage_pmd_size"));
    let Some(size) = size.ok().and_then(|size| size.trim().parse::<u64>().ok()) else {
        println!("skipped: this kernel has no huge pages");
        return;
    };
    let default = std::fs::read_to_string("/proc/meminfo").unwrap();
    if !default.contains(&format!(" {} kB", size >> 10)) {
        println!("skipped: the machine's own huge pages have another size");
        return;
    }
    on_tmpfs("huge_pages_work_if_the_mount_allows_them", "size=64m,huge=always", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        let segment = Segment::options().huge_pages().create(&ns, Key::new(1), 8 * MIB).unwrap();
        let memory = segment.attach().unwrap();
        memory.write((8 << 20) - 4, b"last").unwrap();
        assert_eq!(memory.to_vec((8 << 20) - 5..8 << 20).unwrap(), b"\0last");
        let flags = |log: i32| libc::IPC_CREAT | libc::SHM_HUGETLB | 0o600 | log << 26;
        let log = std::fs::read_to_string(format!("{HUGE}/hpage_pmd_size")).unwrap().trim().parse::<u64>().unwrap().ilog2();
        assert!(ns.shmget(Key::new(2), MIB, flags(log as i32)).is_ok());
        // Sizes that the machine does not have, and one that it has, but not for files.
        assert_eq!(ns.shmget(Key::new(3), MIB, flags(13)), Err(Errno::INVAL));
        assert_eq!(ns.shmget(Key::new(3), MIB, flags(63)), Err(Errno::INVAL));
        if Path::new("/sys/kernel/mm/hugepages/hugepages-1048576kB").exists() {
            assert_eq!(ns.shmget(Key::new(3), MIB, flags(30)), Err(Errno::NOMEM));
        }
    });
}

#[test]
fn huge_pages_fail_if_the_mount_does_not_allow_them() {
    on_small_tmpfs("huge_pages_fail_if_the_mount_does_not_allow_them", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        let refused = error(Segment::options().huge_pages().create(&ns, Key::new(1), 4 * MIB));
        assert!(refused == Errno::NOMEM || !Path::new("/sys/kernel/mm/hugepages").exists() && refused == Errno::INVAL);
        assert_eq!(ns.shm_usage().unwrap().segments, 0);
    });
}

#[test]
fn a_reserved_segment_can_be_written_on_a_full_file_system() {
    on_small_tmpfs("a_reserved_segment_can_be_written_on_a_full_file_system", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        let large = Segment::open_or_create(&ns, Key::new(1), 40 * MIB).unwrap();
        let small = Segment::open_or_create(&ns, Key::PRIVATE, 5000).unwrap();
        let _filler = fill(dir);

        let memory = large.attach().unwrap();
        for page in 0..40 * 256 {
            memory.write(page * 4096, &[page as u8 | 1]).unwrap();
        }
        assert_eq!(memory.to_vec(4096..4097).unwrap(), [1]);
        // Calls that need no room work, also in a child.
        let twice = large.attach_read_only().unwrap();
        assert_eq!(large.stat().unwrap().nattch, 2);
        // SAFETY: the child uses the library and exits.
        match unsafe { libc::fork() } {
            0 => {
                memory.write(4096, &[77]).unwrap();
                let counted = large.stat().is_ok_and(|stat| stat.nattch == 4);
                // SAFETY: ends the child.
                unsafe { libc::_exit(if counted { 0 } else { 1 }) }
            }
            child => {
                let mut status = 0;
                // SAFETY: waits for this child.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0);
            }
        }
        assert_eq!(memory.to_vec(4096..4097).unwrap(), [77]);
        twice.detach().unwrap();
        assert_eq!(error(Segment::open_or_create(&ns, Key::new(2), 4096)), Errno::NOMEM);
        small.attach().unwrap().write(4999, b"!").unwrap();
        small.remove().unwrap();
        // The next segment can use its memory.
        assert!(Segment::open_or_create(&ns, Key::new(2), 4096).is_ok());
        large.remove().unwrap();
        assert_eq!(large.stat().unwrap().nattch, 1);
        memory.detach().unwrap();
        assert!(free(dir) >= 40 * MIB);
    });
}

/// The memory of a segment without a reservation is not recycled for a segment with one.
#[test]
fn memory_without_a_reservation_is_not_recycled() {
    on_small_tmpfs("memory_without_a_reservation_is_not_recycled", |dir| {
        let ns = Namespace::create(dir.join("ns"), Kind::Private).unwrap();
        let sparse = Segment::options().no_reserve().create(&ns, Key::PRIVATE, 4096).unwrap();
        for _ in 0..3 {
            sparse.attach().unwrap();
        }
        sparse.remove().unwrap();
        let _filler = fill(dir);
        assert_eq!(error(Segment::open_or_create(&ns, Key::PRIVATE, 4096)), Errno::NOMEM);
    });
}

#[test]
fn creating_a_namespace_on_a_full_file_system_fails_with_a_hint() {
    on_small_tmpfs("creating_a_namespace_on_a_full_file_system_fails_with_a_hint", |dir| {
        let _filler = fill(dir);
        let path = dir.join("ns");
        let refused = Namespace::create(&path, Kind::Private).expect_err("the file system is full");
        assert_eq!(refused.errno(), Errno::NOSPC);
        assert!(refused.to_string().contains("make room"), "{refused}");
        assert!(!path.exists());
        std::fs::remove_file(dir.join("filler")).unwrap();
        drop(_filler);
        assert!(Namespace::create(&path, Kind::Private).is_ok());
    });
}

#[test]
fn a_read_only_file_system_is_refused_with_erofs() {
    on_small_tmpfs("a_read_only_file_system_is_refused_with_erofs", |dir| {
        // A file system with writable mappings cannot be remounted read-only: each step needs its
        // own process.
        assert!(run_role(CREATES, &dir.join("ns")));
        let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(dir).status().unwrap();
        assert!(remount.success());
        assert!(run_role(FINDS_READ_ONLY, &dir.join("ns")));
        let refused = Namespace::create(dir.join("other"), Kind::Private).expect_err("the file system is read-only");
        assert_eq!(refused.errno(), Errno::ROFS);
        assert!(refused.to_string().contains("a writable file system"), "{refused}");
    });
}

const CREATES: &str = "creates_a_namespace_for_another_test";
const FINDS_READ_ONLY: &str = "opens_a_read_only_namespace_for_another_test";
const ROLE_PATH: &str = "QUINTET_TEST_ROLE_PATH";

/// Runs one of the tests below in another process.
fn run_role(role: &str, path: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", role, "--nocapture"]).env(ROLE_PATH, path).status().unwrap().success()
}

#[test]
fn creates_a_namespace_for_another_test() {
    let Some(path) = std::env::var_os(ROLE_PATH) else { return };
    let ns = Namespace::create(&path, Kind::Private).unwrap();
    Segment::open_or_create(&ns, Key::new(1), 4096).unwrap();
}

#[test]
fn opens_a_read_only_namespace_for_another_test() {
    let Some(path) = std::env::var_os(ROLE_PATH) else { return };
    let refused = Namespace::open(&path).expect_err("the file system is read-only");
    assert_eq!(refused.errno(), Errno::ROFS);
    assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
}

#[test]
fn a_file_size_limit_raises_no_signal() {
    const LIMITED: &str = "QUINTET_TEST_FILE_LIMIT";
    if let Some(path) = std::env::var_os(LIMITED) {
        let ns = Namespace::open(&path).unwrap();
        assert_eq!(error(Segment::open_or_create(&ns, Key::PRIVATE, MIB)), Errno::NOMEM);
        // Even the control file of a new segment exceeds the limit of 4 KiB. The limit does not
        // affect existing segments.
        Segment::open(&ns, Key::new(1)).unwrap().attach().unwrap().write(9000, b"x").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::create(dir.path().join("ns"), Kind::Private).unwrap();
    Segment::open_or_create(&ns, Key::new(1), 10_000).unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 8 && exec \"$0\" --exact a_file_size_limit_raises_no_signal --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, ns.path().unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), None);
    assert!(output.status.success(), "{output:?}");
}
