//! Namespaces that are unusable from the start or become so: the errors of calls, the messages, and
//! what continues to work.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals. After `fork` the child has only the thread of the
//! test.
#![allow(unsafe_code)]

mod support;

use libc::{EACCES, EAGAIN, EIDRM, ENOENT, ENOMEM, ENOSYS, IPC_CREAT, IPC_NOWAIT, IPC_PRIVATE, c_int, c_long, c_void};
use quintet::{Kind, Namespace};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::run::*;
use support::*;

fn namespace() -> PathBuf {
    std::env::var_os("QUINTET_NAMESPACE").unwrap().into()
}

/// Checks that there is one error line, which contains these words.
#[track_caller]
fn assert_one_error(lines: &[String], words: &[&str]) {
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("quintet: error: "), "{}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "{word} is not in: {}", lines[0]);
    }
}

/// Returns 0 if a call has succeeded, otherwise the error number.
fn outcome(ret: c_int) -> c_int {
    if ret == -1 { errno() } else { 0 }
}

const NO_ADDRESS: *const c_void = std::ptr::null();

/// The objects that a process uses before something happens to the namespace.
struct Before {
    segment: c_int,
    memory: *mut u8,
    set: c_int,
    /// A set without waiters and undo records.
    fresh: c_int,
    queue: c_int,
    /// A child that waits for two units of the second semaphore.
    waiting: c_int,
}

impl Before {
    fn new() -> Before {
        // SAFETY: see the module.
        unsafe {
            let segment = libc::shmget(1, 4096, IPC_CREAT | 0o600);
            let memory = libc::shmat(segment, NO_ADDRESS, 0).cast::<u8>();
            assert_ne!(memory as isize, -1);
            memory.write(42);
            let set = libc::semget(1, 2, IPC_CREAT | 0o600);
            assert_eq!(operate(set, op(0, 1, 0)), 0);
            let fresh = libc::semget(3, 1, IPC_CREAT | 0o600);
            assert_eq!(operate(fresh, op(0, 1, 0)), 0);
            let queue = libc::msgget(1, IPC_CREAT | 0o600);
            let message: [c_long; 2] = [3, 7];
            assert_eq!(send(queue, message.as_ptr() as usize, 8), 0);
            let waiting = fork(|| assert_eq!(operate(set, op(1, -2, 0)), 0));
            until("the child waits", || waits(waiting) && control(set, 1, GETNCNT, 0) == 1);
            Before { segment, memory, set, fresh, queue, waiting }
        }
    }

    /// Checks that mapped objects still work: memory, semaphores, messages, waiters.
    fn still_works(&self) {
        // SAFETY: see the module; the segment is attached.
        unsafe {
            assert_eq!(self.memory.read(), 42);
            assert_eq!((operate(self.set, op(0, 1, 0)), control(self.set, 0, GETVAL, 0)), (0, 2));
            assert_eq!(operate(self.set, op(0, -3, IPC_NOWAIT as i16)), EAGAIN);
            let mut message: [c_long; 2] = [0; 2];
            assert_eq!(receive(self.queue, message.as_mut_ptr() as usize, 8, 0, 0), 8);
            assert_eq!((message, send(self.queue, message.as_ptr() as usize, 8)), ([3, 7], 0));
            assert_eq!((operate(self.set, op(1, 2, 0)), end(self.waiting)), (0, 0));
            let again = libc::shmat(self.segment, NO_ADDRESS, 0);
            assert_ne!(again as isize, -1);
            assert_eq!((*again.cast::<u8>(), libc::shmdt(again)), (42, 0));
        }
    }

    /// Removes the objects, which must succeed whatever happened to their files.
    fn remove_objects(&self) {
        // SAFETY: see the module.
        unsafe {
            assert_eq!(libc::shmdt(self.memory.cast()), 0);
            assert_eq!(libc::shmctl(self.segment, libc::IPC_RMID, std::ptr::null_mut()), 0);
            assert_eq!(libc::semctl(self.set, 0, libc::IPC_RMID), 0);
            assert_eq!(libc::msgctl(self.queue, libc::IPC_RMID, std::ptr::null_mut()), 0);
        }
    }
}

/// Calls `shmget`, `semget` and `msgget` with these flags.
fn gets(key: c_int, flags: c_int) -> [c_int; 3] {
    // SAFETY: numbers only.
    unsafe {
        [
            outcome(libc::shmget(key, 4096, flags | 0o600)),
            outcome(libc::semget(key, 1, flags | 0o600)),
            outcome(libc::msgget(key, flags | 0o600)),
        ]
    }
}

/// Checks every call on a namespace that no longer exists.
fn check_lost_namespace(before: &Before) {
    before.still_works();
    assert_eq!(gets(2, IPC_CREAT), [ENOSYS; 3]);
    assert_eq!(gets(IPC_PRIVATE, 0), [ENOSYS; 3]);
    assert_eq!(gets(2, 0), [ENOENT; 3]);
    // This would need an undo record in the set's file.
    assert_eq!(operate(before.fresh, op(0, 1, SEM_UNDO)), EIDRM);
    let child = fork(|| {
        assert_eq!(operate(before.set, op(0, 1, 0)), 0);
        assert_eq!(gets(2, IPC_CREAT), [ENOSYS; 3]);
    });
    assert_eq!(end(child), 0);
    before.remove_objects();
}

#[test]
fn removed_directory() {
    let ran = run(
        "removed_directory",
        |_, _| {},
        || {
            let before = Before::new();
            std::fs::remove_dir_all(namespace()).unwrap();
            check_lost_namespace(&before);
        },
    );
    let Some((output, _)) = ran else { return };
    assert_one_error(
        &reported(&output),
        &["cannot use the namespace", "/ns: it was removed while", "(ENOENT)", "start it again"],
    );
}

#[test]
fn namespace_destroyed_by_force() {
    let ran = run(
        "namespace_destroyed_by_force",
        |_, _| {},
        || {
            let before = Before::new();
            Namespace::open(namespace()).unwrap().destroy(true).unwrap();
            check_lost_namespace(&before);
        },
    );
    let Some((output, _)) = ran else { return };
    assert_one_error(&reported(&output), &["/ns: it was removed while", "(ENOENT)"]);
}

#[test]
fn replaced_namespace() {
    let ran = run(
        "replaced_namespace",
        |_, _| {},
        || {
            let before = Before::new();
            std::fs::rename(namespace(), namespace().with_extension("old")).unwrap();
            Namespace::create(namespace(), Kind::Private).unwrap();
            before.still_works();
            assert_eq!(operate(before.fresh, op(0, 1, SEM_UNDO)), EIDRM);
        },
    );
    let Some((output, _)) = ran else { return };
    assert_one_error(&reported(&output), &["/ns: another namespace has taken its place", "start the program again"]);
}

/// Mounts a small file system over the test's directory, in a new mount namespace. Returns `false`
/// without root privileges.
fn mount_own_file_system(kind: &CString) -> bool {
    if !is_root() {
        println!("\nskipped: not root");
        return false;
    }
    let place = CString::new(namespace().parent().unwrap().as_os_str().as_bytes()).unwrap();
    // SAFETY: numbers and strings.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            println!("\nskipped: no mount namespace: {}", std::io::Error::last_os_error());
            return false;
        }
        let (none, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        assert_eq!(outcome(libc::mount(none, c"/".as_ptr(), none, private, NO_ADDRESS)), 0);
        let options = c"size=3m".as_ptr().cast();
        if libc::mount(c"none".as_ptr(), place.as_ptr(), kind.as_ptr(), 0, options) != 0
            && libc::mount(c"none".as_ptr(), place.as_ptr(), kind.as_ptr(), 0, NO_ADDRESS) != 0
        {
            println!("\nskipped: no {}: {}", kind.to_string_lossy(), std::io::Error::last_os_error());
            return false;
        }
    }
    true
}

fn was_skipped(output: &std::process::Output) -> bool {
    String::from_utf8_lossy(&output.stdout).contains("skipped: ")
}

fn place() -> CString {
    CString::new(namespace().parent().unwrap().as_os_str().as_bytes()).unwrap()
}

#[test]
fn unmounted_file_system() {
    let ran = run(
        "unmounted_file_system",
        |_, _| {},
        || {
            if mount_own_file_system(&c"tmpfs".to_owned()) {
                let before = Before::new();
                // SAFETY: a string.
                assert_eq!(outcome(unsafe { libc::umount2(place().as_ptr(), libc::MNT_DETACH) }), 0);
                // The directory beneath the mount has a namespace of the same name.
                std::fs::remove_dir_all(namespace()).unwrap();
                check_lost_namespace(&before);
            }
        },
    );
    let Some((output, _)) = ran else { return };
    if !was_skipped(&output) {
        assert_one_error(&reported(&output), &["/ns: it was removed while", "(ENOENT)"]);
    }
}

#[test]
fn file_system_remounted_read_only() {
    let ran = run(
        "file_system_remounted_read_only",
        |_, _| {},
        || {
            if !mount_own_file_system(&c"tmpfs".to_owned()) {
                return;
            }
            let before = Before::new();
            let (at, none) = (place(), std::ptr::null());
            // SAFETY: strings.
            unsafe {
                assert_eq!(outcome(libc::mount(at.as_ptr(), at.as_ptr(), none, libc::MS_BIND, NO_ADDRESS)), 0);
                let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
                assert_eq!(outcome(libc::mount(none, at.as_ptr(), none, flags, NO_ADDRESS)), 0);
            }
            before.still_works();
            assert_eq!((gets(2, IPC_CREAT), gets(IPC_PRIVATE, 0)), ([ENOSYS; 3], [ENOSYS; 3]));
            assert_eq!((gets(1, 0), gets(2, 0)), ([0; 3], [ENOENT; 3]));
            assert_eq!(operate(before.fresh, op(0, 1, SEM_UNDO)), EACCES);
            // SAFETY: a string.
            assert_eq!(outcome(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) }), 0);
            assert_eq!((gets(2, IPC_CREAT), operate(before.fresh, op(0, 1, SEM_UNDO))), ([0; 3], 0));
            before.remove_objects();
        },
    );
    let Some((output, _)) = ran else { return };
    if !was_skipped(&output) {
        assert_one_error(&reported(&output), &["/ns: read-only file system (EROFS)", "a writable file system"]);
    }
}

#[test]
fn full_file_system() {
    let ran = run(
        "full_file_system",
        |_, _| {},
        || {
            if !mount_own_file_system(&c"tmpfs".to_owned()) {
                return;
            }
            let before = Before::new();
            let filling = namespace().with_extension("filling");
            let file = std::fs::File::create(&filling).unwrap();
            while std::io::Write::write_all(&mut &file, &[1; 4096]).is_ok() {}
            drop(file);
            before.still_works();
            assert_eq!((gets(2, IPC_CREAT), gets(IPC_PRIVATE, 0)), ([ENOMEM; 3], [ENOMEM; 3]));
            assert_eq!(gets(1, 0), [0; 3]);
            assert_eq!(operate(before.fresh, op(0, 1, SEM_UNDO)), ENOMEM);
            std::fs::remove_file(filling).unwrap();
            assert_eq!((gets(2, IPC_CREAT), operate(before.fresh, op(0, 1, SEM_UNDO))), ([0; 3], 0));
            before.remove_objects();
        },
    );
    let Some((output, _)) = ran else { return };
    if !was_skipped(&output) {
        assert_one_error(&reported(&output), &["/ns: its file system is full (ENOSPC)", "make room"]);
    }
}

/// A file system without unnamed files cannot hold a namespace.
#[test]
fn file_system_without_o_tmpfile() {
    let ran = run(
        "file_system_without_o_tmpfile",
        |_, _| {},
        || {
            if mount_own_file_system(&c"bpf".to_owned()) {
                assert_eq!((gets(1, IPC_CREAT), gets(1, 0)), ([ENOSYS; 3], [ENOSYS; 3]));
                assert!(!namespace().exists());
            }
        },
    );
    let Some((output, _)) = ran else { return };
    if !was_skipped(&output) {
        assert_one_error(
            &reported(&output),
            &["cannot create the namespace", "O_TMPFILE", "use a directory on tmpfs, ext4, xfs or btrfs"],
        );
    }
}

/// Runs calls that must fail on this namespace. Returns the lines of the log.
fn calls_fail_in(test: &str, name: impl FnOnce(&Place) -> OsString, expected: c_int) -> Option<(Vec<String>, Place)> {
    let set = |command: &mut Command, place: &Place| {
        command.env("QUINTET_NAMESPACE", name(place));
    };
    let (output, place) = run(test, set, || {
        assert_eq!((gets(1, IPC_CREAT), gets(1, 0)), ([expected; 3], [expected; 3]));
        let memory = 4096 as *const c_void;
        // SAFETY: bad arguments on purpose, which are refused.
        unsafe {
            assert_eq!(outcome(libc::shmdt(memory)), expected);
            assert_eq!(libc::shmat(0, NO_ADDRESS, 0) as isize, -1);
            assert_eq!((errno(), operate(0, op(0, 1, 0))), (expected, expected));
            assert_eq!((control(0, 0, GETVAL, 0), errno()), (-1, expected));
            assert_eq!(receive(0, memory as usize, 0, 0, 0), -(expected as isize));
        }
    })?;
    Some((reported(&output), place))
}

#[test]
fn other_layout_version() {
    let name = |place: &Place| {
        patch(&place.join("ns/namespace"), 8, &77u32.to_le_bytes());
        sign(&place.join("ns/namespace"));
        place.join("ns").into()
    };
    let Some((lines, place)) = calls_fail_in("other_layout_version", name, ENOSYS) else { return };
    assert_one_error(&lines, &["/ns: it has layout version 77, and this program knows", "use the programs of its version"]);
    assert!(place.join("ns/registry").exists());
}

/// Overwrites bytes of a file.
fn patch(file: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
}

/// Updates the checksum of a header.
fn sign(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let number = |at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let mix = |h: u64, word: u64| (h ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let check = [number(0, 8), number(8, 4), number(12, 4)].into_iter().fold(0xcbf2_9ce4_8422_2325, mix);
    patch(file, 16, &check.to_le_bytes());
}

#[test]
fn damaged_header() {
    let name = |place: &Place| {
        patch(&place.join("ns/namespace"), 16, &[1; 8]);
        place.join("ns").into()
    };
    let Some((lines, _)) = calls_fail_in("damaged_header", name, ENOSYS) else { return };
    assert_one_error(&lines, &["/ns: its file 'namespace' is damaged", "save what you need"]);
}

#[test]
fn truncated_registry() {
    let name = |place: &Place| {
        std::fs::File::options().write(true).open(place.join("ns/registry")).unwrap().set_len(100).unwrap();
        place.join("ns").into()
    };
    let Some((lines, _)) = calls_fail_in("truncated_registry", name, ENOSYS) else { return };
    assert_one_error(&lines, &["/ns: its file 'registry' is damaged"]);
}

#[test]
fn names_that_cannot_be_a_namespace() {
    let test = "names_that_cannot_be_a_namespace";
    type Name = fn(&Place) -> OsString;
    let names: [(Name, &[&str]); 8] = [
        (|_| "/proc".into(), &["cannot create the namespace /proc", "the directory is not empty"]),
        (|_| "ns".into(), &["cannot use the namespace ns: QUINTET_NAMESPACE must not depend", "use an absolute path"]),
        (|_| "../ns".into(), &["cannot use the namespace ../ns"]),
        (
            |place| {
                std::fs::write(place.join("file"), "").unwrap();
                place.join("file").into()
            },
            &["/file: it is not a directory (ENOTDIR)"],
        ),
        (|place| place.join("ns/namespace/x").into(), &["(ENOTDIR)"]),
        (
            |place| {
                std::os::unix::fs::symlink("nowhere", place.join("link")).unwrap();
                place.join("link").into()
            },
            &["cannot create the namespace", "/link", "choose another path"],
        ),
        (|place| place.join("no/ns").into(), &["/no/ns: its parent directory does not exist (ENOENT)"]),
        (|_| format!("/dev/{}", "long/".repeat(1000)).into(), &["ENAMETOOLONG", "choose a shorter path"]),
    ];
    for (name, words) in names {
        let Some((lines, _)) = calls_fail_in(test, name, ENOSYS) else { return };
        assert_one_error(&lines, words);
    }
}

/// A name may contain any bytes.
#[test]
fn name_that_is_not_text() {
    let name = OsStr::from_bytes(b"ns\xff\n\x01");
    let set = |command: &mut Command, place: &Place| {
        command.env("QUINTET_LOG", "info").env("QUINTET_NAMESPACE", place.0.path().join(name));
    };
    let Some((output, place)) = run("name_that_is_not_text", set, || {
        assert_eq!((gets(1, IPC_CREAT), gets(1, 0)), ([0; 3], [0; 3]));
    }) else {
        return;
    };
    let lines = reported(&output);
    assert!(lines.len() == 1 && lines[0].ends_with("/ns\u{fffd}??"), "{lines:?}");
    assert!(place.0.path().join(name).join("sem/0").exists());
}

/// An empty name means the user's default namespace, here in a `/dev/shm` of the test.
#[test]
fn empty_name() {
    let set = |command: &mut Command, _: &Place| {
        command.env("QUINTET_LOG", "info").env("QUINTET_NAMESPACE", "");
    };
    let ran = run("empty_name", set, || {
        // SAFETY: no other thread reads the environment.
        unsafe { std::env::set_var("QUINTET_NAMESPACE", "/dev/shm/x") };
        if mount_own_file_system(&c"tmpfs".to_owned()) {
            // SAFETY: as above.
            unsafe { std::env::set_var("QUINTET_NAMESPACE", "") };
            assert_eq!(gets(1, IPC_CREAT), [0; 3]);
            assert!(Path::new("/dev/shm/quintet-0").is_dir());
        }
    });
    let Some((output, _)) = ran else { return };
    if !was_skipped(&output) {
        let lines = reported(&output);
        assert!(lines.len() == 2 && lines[1].contains("uses the shared namespace /dev/shm/quintet-0/"), "{lines:?}");
    }
}

/// A directory without permissions is inaccessible to every user but the superuser.
#[test]
fn directory_without_permissions() {
    let set = |command: &mut Command, place: &Place| {
        std::fs::set_permissions(place.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(place.join("ns"), PermissionsExt::from_mode(0o000)).unwrap();
        command.env("QUINTET_NAMESPACE", place.join("ns"));
    };
    let ran = run("directory_without_permissions", set, || {
        if is_root() {
            // SAFETY: a number.
            assert_eq!(unsafe { libc::setuid(65533) }, 0);
        }
        assert_eq!((gets(1, IPC_CREAT), gets(1, 0)), ([EACCES; 3], [EACCES; 3]));
    });
    let Some((output, place)) = ran else { return };
    std::fs::set_permissions(place.join("ns"), PermissionsExt::from_mode(0o700)).unwrap();
    assert_one_error(
        &reported(&output),
        &["cannot open the namespace", "you have no permission to enter or write it (EACCES)", "ask its owner"],
    );
}

/// A program that drops its privileges loses a private namespace, and a message says so. Mapped
/// objects still work.
#[test]
fn private_namespace_after_setuid() {
    let ran = run(
        "private_namespace_after_setuid",
        |_, _| {},
        || {
            if !is_root() {
                return println!("\nskipped: not root");
            }
            let before = Before::new();
            before.still_works();
            // SAFETY: a number; the segment is attached.
            unsafe {
                assert_eq!(libc::setuid(65533), 0);
                assert_eq!(before.memory.read(), 42);
            }
            assert_eq!(gets(2, IPC_CREAT), [EACCES; 3]);
        },
    );
    let Some((output, _)) = ran else { return };
    if !was_skipped(&output) {
        assert_one_error(&reported(&output), &["/ns: this program has no permission to enter it (EACCES)"]);
    }
}
