//! Damaged files of a namespace and its segments: calls fail with an error. They do not crash, hang
//! or write elsewhere.
//!
//! # Safety
//!
//! The raw calls get paths that the tests created.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Key, Kind, Namespace, Segment};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use support::{End, KEYS, Signpost, Window, alone, become_user, fork, is_root, names, open_to_all};

const KEY: Key = Key::new(0xdead);
const REGISTRY_BYTES: u64 = KEYS + 3 * 4 * 32768;

// Offsets: docs/format.md.
const USED: u64 = 4096;
const SIZE: usize = 16;
const RECYCLED_PAGES: usize = 0x8c;

/// Describes all files below `path`: names, modes, sizes, inodes and a hash of the content.
fn everything(path: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for name in names(&folder) {
            let file = folder.join(name);
            let stat = file.symlink_metadata().unwrap();
            let content = if stat.is_file() { std::fs::read(&file).unwrap_or_default() } else { Vec::new() };
            let hash = content.iter().fold(0xcbf2_9ce4u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
            all.push(format!("{file:?} {:o} {} {} {hash:x}", stat.mode(), stat.size(), stat.ino()));
            if stat.is_dir() {
                folders.push(file);
            }
        }
    }
    all.sort();
    all
}

/// Creates a namespace with one segment.
fn create(path: &Path, kind: Kind) {
    fork(|| {
        let ns = Namespace::create(path, kind).unwrap();
        let memory = Segment::open_or_create(&ns, KEY, 4096).unwrap().attach().unwrap();
        memory.write(0, b"kept").unwrap();
    })
    .succeeds();
}

/// Asserts that opening fails with `errno` and a message that contains the path and `says`, and
/// that it changes no file.
#[track_caller]
fn cannot_open(path: &Path, errno: Errno, says: &str) {
    let before = everything(path.parent().unwrap());
    let end = fork(|| {
        let error = Namespace::open(path).expect_err("the namespace is damaged");
        println!("{error}");
        assert_eq!(error.errno(), errno);
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains(says), "{text}");
    })
    .end();
    assert_eq!(end, End::Exit(0), "opening {path:?} for {errno:?}");
    assert_eq!(everything(path.parent().unwrap()), before);
}

/// Asserts that creating fails with `errno` and changes no file.
#[track_caller]
fn cannot_create(path: &Path, errno: Errno) {
    let before = everything(path.parent().unwrap());
    let end = fork(|| {
        let error = Namespace::create(path, Kind::Private).expect_err("the namespace is damaged");
        println!("{error}");
        assert_eq!(error.errno(), errno);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    })
    .end();
    assert_eq!(end, End::Exit(0), "creating {path:?} for {errno:?}");
    assert_eq!(everything(path.parent().unwrap()), before);
}

#[test]
fn paths_without_a_namespace_are_refused_with_a_reason() {
    alone("paths_without_a_namespace_are_refused_with_a_reason", |directory| {
        cannot_open(&directory.join("missing"), Errno::NOENT, "create it with");
        std::fs::write(directory.join("file"), "text").unwrap();
        cannot_open(&directory.join("file"), Errno::NOTDIR, "not a directory");
        cannot_create(&directory.join("file"), Errno::NOTDIR);
        std::fs::create_dir(directory.join("other")).unwrap();
        std::fs::write(directory.join("other/thing"), "text").unwrap();
        cannot_open(&directory.join("other"), Errno::NOENT, "not a namespace");
        cannot_create(&directory.join("other"), Errno::NOTEMPTY);
        fork(|| {
            let error = Namespace::create(directory.join("no/parent"), Kind::Private).unwrap_err();
            assert_eq!(error.errno(), Errno::NOENT, "{error}");
        })
        .succeeds();
        assert!(!directory.join("no").exists());
        std::os::unix::fs::symlink("loop", directory.join("loop")).unwrap();
        cannot_open(&directory.join("loop"), Errno::LOOP, "");
        let long = directory.join("x".repeat(250)).join("y".repeat(250)).join("z".repeat(250)).join("w".repeat(250));
        std::fs::create_dir_all(&long).unwrap();
        let end = fork(|| {
            let error = Namespace::create(long.join("namespace-with-a-long-name"), Kind::Private).unwrap_err();
            assert_eq!(error.errno(), Errno::NAMETOOLONG, "{error}");
        })
        .end();
        assert_eq!(end, End::Exit(0));
    });
}

#[test]
fn another_user_cannot_open_or_destroy_a_private_namespace() {
    if !is_root() {
        println!("skipped: changing users needs root");
        return;
    }
    alone("another_user_cannot_open_or_destroy_a_private_namespace", |directory| {
        open_to_all(directory);
        let path = directory.join("ns");
        create(&path, Kind::Private);
        let before = everything(directory);
        fork(|| {
            become_user(1234);
            let error = Namespace::open(&path).unwrap_err();
            assert_eq!(error.errno(), Errno::ACCES, "{error}");
            assert!(error.to_string().contains("ns"), "{error}");
            let error = Namespace::create(&path, Kind::Private).unwrap_err();
            assert_eq!(error.errno(), Errno::ACCES, "{error}");
            let error = Namespace::create(directory.join("new"), Kind::Private).unwrap_err();
            assert_eq!(error.errno(), Errno::ACCES, "{error}");
            let error = Namespace::destroy_damaged(&path).unwrap_err();
            assert_eq!(error.errno(), Errno::PERM, "{error}");
        })
        .succeeds();
        assert_eq!(everything(directory), before);
    });
}

/// The header's checksum over magic, version and kind, as `layout/header.rs` computes it.
fn checksum(magic: u64, version: u32, kind: u32) -> u64 {
    let mix = |h: u64, word: u64| (h ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    [magic, version.into(), kind.into()].into_iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[test]
fn a_damaged_header_or_registry_is_refused_and_kept() {
    alone("a_damaged_header_or_registry_is_refused_and_kept", |directory| {
        let fresh = |name: &str| {
            let path = directory.join(name).join("ns");
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            create(&path, Kind::Private);
            path
        };
        let edit = |path: &Path, name: &str| std::fs::File::options().write(true).read(true).open(path.join(name)).unwrap();
        for len in [0, 1, 16, 47, 4095, 4097] {
            let path = fresh(&format!("header-{len}"));
            edit(&path, "namespace").set_len(len).unwrap();
            cannot_open(&path, Errno::BADMSG, "nothing was changed");
            cannot_create(&path, Errno::BADMSG);
        }
        for len in [0, 1, 4096, REGISTRY_BYTES - 1] {
            let path = fresh(&format!("registry-{len}"));
            edit(&path, "registry").set_len(len).unwrap();
            cannot_open(&path, Errno::BADMSG, "'registry' is damaged");
        }
        let mut random = Random(1);
        for i in 0..50 {
            let path = fresh(&format!("random-{i}"));
            let (name, len) = if i % 2 == 0 { ("namespace", 48) } else { ("registry", 12) };
            let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            edit(&path, name).write_all_at(&bytes, 0).unwrap();
            cannot_open(&path, Errno::BADMSG, "damaged");
        }
        for byte in 0..24 {
            let path = fresh(&format!("byte-{byte}"));
            let file = edit(&path, "namespace");
            let mut old = [0];
            file.read_exact_at(&mut old, byte).unwrap();
            file.write_all_at(&[old[0] ^ 0x40], byte).unwrap();
            cannot_open(&path, Errno::BADMSG, "damaged");
        }
        let path = fresh("newer");
        let file = edit(&path, "namespace");
        let mut start = [0; 16];
        file.read_exact_at(&mut start, 0).unwrap();
        let magic = u64::from_le_bytes(start[..8].try_into().unwrap());
        let kind = u32::from_le_bytes(start[12..].try_into().unwrap());
        file.write_all_at(&77u32.to_le_bytes(), 8).unwrap();
        file.write_all_at(&checksum(magic, 77, kind).to_le_bytes(), 16).unwrap();
        cannot_open(&path, Errno::PROTONOSUPPORT, "version 77");
        cannot_create(&path, Errno::PROTONOSUPPORT);
        for (name, errno) in [("namespace", Errno::BADMSG), ("registry", Errno::BADMSG)] {
            for what in ["fifo", "symlink", "directory"] {
                let path = fresh(&format!("{name}-{what}"));
                replace(&path.join(name), what);
                cannot_open(&path, errno, "damaged");
            }
        }
        let path = fresh("registry-missing");
        std::fs::remove_file(path.join("registry")).unwrap();
        cannot_open(&path, Errno::NOENT, "");
    });
}

/// Replaces a file with something else.
fn replace(path: &Path, what: &str) {
    let _ = std::fs::remove_file(path);
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    match what {
        // SAFETY: see the module.
        "fifo" => assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o666) }, 0),
        "symlink" => std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
        "directory" => std::fs::create_dir(path).unwrap(),
        "empty" => std::fs::write(path, "").unwrap(),
        "short" => std::fs::write(path, vec![1; 100]).unwrap(),
        "random" => {
            let mut random = Random(7);
            std::fs::write(path, (0..65536).map(|_| random.next() as u8).collect::<Vec<u8>>()).unwrap();
        }
        "nothing" => {}
        _ => unreachable!(),
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Makes every call. Only accesses to attached memory must succeed.
fn call_everything(ns: &Namespace, key: Key) {
    let _ = ns.shmget(KEY, 0, 0);
    let _ = ns.segments();
    let _ = ns.shm_usage();
    let _ = ns.participants();
    for id in [0, 1, 32768, 65536] {
        let _ = ns.shm_stat(id);
        let _ = ns.shm_stat_index(id, true);
        if let Ok(id) = quintet::Id::from_raw(id)
            && let Ok(memory) = Segment::open_id(ns, id).and_then(|segment| segment.attach())
        {
            let _ = memory.to_vec(0..memory.len().min(1 << 20));
            if !memory.is_empty() {
                memory.read(memory.len() - 1, &mut [0]).unwrap();
                memory.write(memory.len() - 1, &[1]).unwrap();
            }
        }
    }
    if let Ok(id) = ns.shmget(key, 5000, libc::IPC_CREAT | 0o600) {
        if let Ok(memory) = Segment::open_id(ns, id).and_then(|segment| segment.attach()) {
            memory.write(4999, b"x").unwrap();
        }
        let _ = ns.shm_set(id.raw(), 0, 0, 0o600);
        let _ = ns.shm_remove(id.raw());
    }
    let _ = ns.sweep();
}

/// A segment's file is something else. Calls for this segment fail, other calls work, and no call
/// hangs.
#[test]
fn a_replaced_segment_file_fails_only_its_own_segment() {
    alone("a_replaced_segment_file_fails_only_its_own_segment", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for what in ["fifo", "symlink", "directory", "empty", "short", "random", "nothing"] {
                for file in ["0", "0.data"] {
                    let path = directory.join(format!("{kind:?}-{what}-{file}"));
                    create(&path, kind);
                    replace(&path.join("shm").join(file), what);
                    let passwd = std::fs::read("/etc/passwd").unwrap();
                    let end = fork(|| {
                        let ns = Namespace::open(&path).unwrap();
                        let attached = Segment::open(&ns, KEY).and_then(|segment| segment.attach());
                        let content = what == "random" && file == "0.data";
                        match attached {
                            Ok(memory) => assert!(content && memory.len() == 4096),
                            Err(e) => assert!(!content, "{e}"),
                        }
                        // Other objects work.
                        let other = Segment::create_new(&ns, Key::new(5), 100).unwrap();
                        other.attach().unwrap().write(99, b"x").unwrap();
                        call_everything(&ns, Key::new(6));
                        other.remove().unwrap();
                    })
                    .end();
                    assert_eq!(end, End::Exit(0), "{kind:?} {file} is a {what}");
                    assert_eq!(std::fs::read("/etc/passwd").unwrap(), passwd);
                }
            }
        }
    });
}

/// The link of a key is something else. The key then finds no segment and can be used for a new
/// one.
#[test]
fn a_replaced_key_link_leaves_the_key_free() {
    alone("a_replaced_key_link_leaves_the_key_free", |directory| {
        for what in ["fifo", "symlink", "directory", "empty", "random"] {
            let path = directory.join(what);
            create(&path, Kind::Shared);
            replace(&path.join("key/shm.0000dead"), what);
            let end = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                assert_eq!(ns.shmget(KEY, 0, 0), Err(Errno::NOENT));
                let id = ns.shmget(KEY, 100, libc::IPC_CREAT | 0o600).unwrap();
                assert_eq!(ns.shmget(KEY, 0, 0), Ok(id));
                Segment::open_id(&ns, id).unwrap().attach().unwrap().write(0, b"x").unwrap();
                call_everything(&ns, Key::new(6));
                ns.shm_remove(id.raw()).unwrap();
                assert_eq!(ns.shmget(KEY, 0, 0), Err(Errno::NOENT));
            })
            .end();
            assert_eq!(end, End::Exit(0), "the key is a {what}");
        }
    });
}

/// Runs `edit`, which damages a word of an open namespace, and then `then`, which makes calls.
#[track_caller]
fn with_a_wrong_word(path: &Path, edit: impl FnOnce(), then: impl FnOnce(&Namespace)) {
    let end = fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        let first = Segment::options().create(&ns, KEY, 4096).unwrap();
        drop(first.attach().unwrap());
        edit();
        then(&ns);
    })
    .end();
    assert_eq!(end, End::Exit(0));
}

fn control(path: &Path, index: u32) -> Window {
    Window::open(&path.join(format!("shm/{index}")), 0, 65536).unwrap()
}

/// Offset in the registry of the index that is kept for reuse.
const RECYCLED: usize = 60;

/// The registry names an impossible index for reuse.
#[test]
fn an_impossible_recycled_index_is_ignored() {
    alone("an_impossible_recycled_index_is_ignored", |directory| {
        for (i, index) in [32768u32, 40000, 65535, 32767, 0x7fff_ffff, 0x8000_0000].into_iter().enumerate() {
            let path = directory.join(i.to_string());
            let edit = || {
                let registry = Window::open(&path.join("registry"), 0, 4096).unwrap();
                assert_eq!(registry.word(RECYCLED).load(SeqCst), u32::MAX);
                registry.word(RECYCLED).store(index, SeqCst);
            };
            with_a_wrong_word(&path, edit, |ns| {
                let id = ns.shmget(Key::PRIVATE, 100, 0o600).unwrap();
                ns.shm_remove(id.raw()).unwrap();
                ns.sweep().unwrap();
            });
        }
    });
}

/// The size in a control file is larger than the data file.
#[test]
fn an_attachment_is_no_larger_than_the_data_file() {
    alone("an_attachment_is_no_larger_than_the_data_file", |directory| {
        for (i, size) in [4097u64, 8192, 65536, 65537, 1 << 20, 1 << 40, u64::MAX].into_iter().enumerate() {
            let path = directory.join(i.to_string());
            let edit = || control(&path, 0).long(SIZE).store(size, SeqCst);
            with_a_wrong_word(&path, edit, |ns| {
                if let Ok(memory) = Segment::open(ns, KEY).and_then(|segment| segment.attach()) {
                    assert!(memory.len() <= 4096, "{} bytes of a file of 4096", memory.len());
                    memory.write(memory.len() - 1, b"x").unwrap();
                }
            });
        }
    });
}

/// The size changes while a process attaches. An attachment is never larger than its mapping.
#[test]
fn an_attachment_is_no_larger_than_its_mapping_while_the_size_changes() {
    alone("an_attachment_is_no_larger_than_its_mapping_while_the_size_changes", |directory| {
        let path = directory.join("ns");
        create(&path, Kind::Private);
        let flipper = fork(|| {
            let control = control(&path, 0);
            loop {
                control.long(SIZE).store(1 << 30, SeqCst);
                std::hint::spin_loop();
                control.long(SIZE).store(4096, SeqCst);
            }
        });
        let end = fork(|| {
            let ns = Namespace::open(&path).unwrap();
            let mut attached = 0;
            for _ in 0..20_000 {
                if let Ok(memory) = Segment::open_id(&ns, quintet::Id::new(0, 0)).and_then(|s| s.attach()) {
                    attached += 1;
                    assert!(memory.len() <= 4096, "{} bytes of 4096", memory.len());
                }
            }
            assert!(attached > 0);
        })
        .end();
        flipper.kill();
        assert_eq!(end, End::Exit(0));
    });
}

/// The control file of a recycled segment claims more pages than its data file has.
#[test]
fn recycled_memory_is_no_larger_than_the_data_file() {
    alone("recycled_memory_is_no_larger_than_the_data_file", |directory| {
        for (i, pages) in [2u32, 16, 17, 256].into_iter().enumerate() {
            let path = directory.join(i.to_string());
            with_a_wrong_word(
                &path,
                || {},
                |ns| {
                    let id = ns.shmget(KEY, 0, 0).unwrap();
                    ns.shm_remove(id.raw()).unwrap();
                    let control = control(&path, 0);
                    let ones: Vec<usize> = (0x50..512).step_by(4).filter(|at| control.word(*at).load(SeqCst) == 1).collect();
                    assert!(ones.contains(&RECYCLED_PAGES), "the field is at one of {ones:x?}");
                    control.word(RECYCLED_PAGES).store(pages, SeqCst);
                    let new = ns.shmget(KEY, u64::from(pages) * 4096, libc::IPC_CREAT | 0o600).unwrap();
                    let memory = Segment::open_id(ns, new).unwrap().attach().unwrap();
                    memory.fill(0, pages as usize * 4096, 1).unwrap();
                },
            );
        }
    });
}

/// Overwrites random bytes of the registry or of a control file, `runs` times, and makes every call
/// each time. No call may panic, hang or raise a signal.
fn corrupt(directory: &Path, seed: u64, runs: u64, kind: Kind) {
    let path: PathBuf = directory.join(format!("{kind:?}-{seed}"));
    let progress = Signpost::new();
    let end = fork(|| {
        let mut random = Random(seed);
        let ns = Namespace::create(&path, kind).unwrap();
        let registry = std::fs::File::options().write(true).open(path.join("registry")).unwrap();
        for round in 0..runs {
            if round % 5 == 0 {
                // Each later call tries to open the file of each index that is falsely in use.
                // Clearing these bits now and then keeps the damage and saves most of the time.
                registry.write_all_at(&[0; 64], USED + 8).unwrap();
            }
            for index in 0..3 {
                let _ = ns.shmget(Key::new(index + 1), 4096, libc::IPC_CREAT | 0o600);
            }
            for _ in 0..=random.below(3) {
                let (file, from, len) = match random.below(4) {
                    // Skips the magic, the version and the lock, which has tests of its own below.
                    0 => ("registry".into(), 16, 80),
                    1 => ("registry".into(), USED, 64),
                    2 => ("registry".into(), KEYS, 64),
                    _ => (format!("shm/{}", random.below(3)), 4, 600),
                };
                let at = from + random.below(len);
                let bytes: Vec<u8> = match random.below(3) {
                    0 => vec![0xff; 8],
                    1 => vec![0; 4],
                    _ => (0..=random.below(8)).map(|_| random.next() as u8).collect(),
                };
                if let Ok(file) = std::fs::File::options().write(true).open(path.join(&file)) {
                    file.write_all_at(&bytes, at).unwrap();
                }
            }
            eprintln!("round {round}");
            call_everything(&ns, Key::new(9));
        }
        progress.send_number(runs as i64);
    })
    .end();
    assert_eq!(end, End::Exit(0), "seed {seed}");
    assert_eq!(progress.number(), runs as i64);
}

fn corrupt_often(name: &str, kind: Kind) {
    alone(name, |directory| {
        for seed in 1..=10 {
            corrupt(directory, seed * 77, 500, kind);
        }
    });
}

#[test]
fn random_damage_to_a_private_namespace_only_fails_calls() {
    corrupt_often("random_damage_to_a_private_namespace_only_fails_calls", Kind::Private);
}

#[test]
fn random_damage_to_a_shared_namespace_only_fails_calls() {
    corrupt_often("random_damage_to_a_shared_namespace_only_fails_calls", Kind::Shared);
}

/// A caller takes over a registry lock whose word names no participant.
#[test]
fn a_lock_without_a_holder_is_taken_over() {
    alone("a_lock_without_a_holder_is_taken_over", |directory| {
        let path = directory.join("ns");
        create(&path, Kind::Private);
        let registry = Window::open(&path.join("registry"), 0, 4096).unwrap();
        for word in [1u32 << 31, 0x7fff_ffff, 0xffff_ffff, 0x8000_0001, 5, 0x7fff, 0x4000_0000, 0x7fff_8000] {
            registry.word(support::LOCK).store(word, SeqCst);
            let end = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                ns.shmget(Key::new(word as i32), 100, libc::IPC_CREAT | 0o600).unwrap();
            })
            .end();
            assert_eq!(end, End::Exit(0), "{word:#x}");
            assert_eq!(registry.word(support::LOCK).load(SeqCst), 0, "{word:#x}");
        }
    });
}

/// The holder of the registry lock was killed. A caller that cannot check this (no free descriptor,
/// or no permission) fails instead of hanging.
#[test]
fn a_caller_that_cannot_check_an_exited_holder_does_not_hang() {
    alone("a_caller_that_cannot_check_an_exited_holder_does_not_hang", |directory| {
        open_to_all(directory);
        let no_descriptor = || {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 100 };
            // SAFETY: reads a local variable.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) }, 0);
        };
        let other_user = || become_user(1234);
        let obstacles: [(&str, &dyn Fn()); 2] = [("no descriptor", &no_descriptor), ("another user", &other_user)];
        for (name, impede) in obstacles.into_iter().take(if is_root() { 2 } else { 1 }) {
            let path = directory.join(name);
            create(&path, Kind::Private);
            let (joined, go) = (Signpost::new(), Signpost::new());
            let child = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                ns.sweep().unwrap();
                joined.post(1);
                go.wait();
                impede();
                match ns.shmget(Key::PRIVATE, 100, 0o600) {
                    Ok(_) => {}
                    Err(e) => {
                        let expected = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC, Errno::ACCES];
                        assert!(expected.contains(&e), "{e:?}");
                    }
                }
            });
            joined.wait();
            let mut watch = support::Watch::new(&path);
            let mut holder = support::Tracee::start(|| {
                let ns = Namespace::open(&path).unwrap();
                support::begin();
                ns.shmget(Key::PRIVATE, 100, 0o600).unwrap();
                support::finish();
            });
            while watch.lock_word() == 0 {
                assert_ne!(holder.next(), support::Stop::Finished);
            }
            holder.kill();
            watch.reopen();
            assert_ne!(watch.lock_word(), 0);
            go.post(1);
            assert_eq!(child.end(), End::Exit(0), "{name}");
            fork(|| Namespace::open(&path).unwrap().sweep().unwrap()).succeeds();
            assert_eq!(watch.lock_word(), 0);
        }
    });
}
