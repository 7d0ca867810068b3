//! A user cannot harm objects of another user with plain file operations: the table in
//! ARCHITECTURE.md, "The trust model".
//!
//! Acting as several users needs root. File permissions are under test, so nothing here uses the
//! kernel's System V IPC.
//!
//! # Safety
//!
//! The raw calls get paths, numbers and pointers to local variables. Children of `fork` have one
//! thread.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Id, Key, Kind, MsgFlags, Namespace, Segment, SemOp};
use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Signpost, alone, become_user, fork, is_root, open_to_all};

/// The owner of the objects, an attacker and a bystander.
const ALICE: u32 = 5678;
const MALLORY: u32 = 1234;
const BOB: u32 = 4321;

const SECRET: &[u8] = b"the secret of Alice";

/// Runs `body` on a namespace that root has created.
fn with_users(name: &str, kind: Kind, body: impl FnOnce(&Path)) {
    if !is_root() {
        return println!("skipped: not root");
    }
    alone(name, |directory| {
        open_to_all(directory);
        let path = directory.join("ns");
        fork(|| _ = Namespace::create(&path, kind).unwrap()).succeeds();
        body(&path);
    });
}

/// Opens the namespace as `user` and runs `body`.
fn act(user: u32, path: &Path, body: impl FnOnce(&Namespace)) {
    fork(|| {
        become_user(user);
        body(&Namespace::open(path).unwrap());
    })
    .succeeds();
}

/// Asserts that the operation failed for lack of permission.
#[track_caller]
fn cannot<T>(what: &str, path: &Path, tried: io::Result<T>) {
    match tried {
        Ok(_) => panic!("{what} {}: succeeded", path.display()),
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied, "{what} {}: {e}", path.display()),
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn result(ret: i32) -> io::Result<()> {
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns all files and folders below a directory.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            all.extend(tree(&path));
        }
        all.push(path);
    }
    all
}

fn opened(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new().read(!write).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
}

/// Creates a segment, a set and a queue with this key and mode as Alice. The segment and the queue
/// hold the secret.
fn create_as_alice(path: &Path, key: i32, mode: i32) -> [Id; 3] {
    let ids = Signpost::new();
    act(ALICE, path, |ns| {
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | mode;
        let segment = ns.shmget(Key::new(key), 4096, flags).unwrap();
        Segment::open_id(ns, segment).unwrap().attach().unwrap().write(0, SECRET).unwrap();
        let set = ns.semget(Key::new(key), 1, flags).unwrap();
        ns.sem_set_value(set.raw(), 0, 7).unwrap();
        let queue = ns.msgget(Key::new(key), flags).unwrap();
        ns.msgsnd(queue.raw(), 1, SECRET, MsgFlags::NOWAIT, None).unwrap();
        for id in [segment, set, queue] {
            ids.send_number(id.raw().into());
        }
    });
    [(); 3].map(|()| Id::from_raw(ids.number() as i32).unwrap())
}

/// Asserts that Alice's objects are unchanged.
fn assert_unchanged(path: &Path, key: i32, ids: [Id; 3]) {
    act(ALICE, path, |ns| {
        let key = Key::new(key);
        let found = [ns.shmget(key, 0, 0).unwrap(), ns.semget(key, 0, 0).unwrap(), ns.msgget(key, 0).unwrap()];
        assert_eq!(found, ids);
        let mut bytes = [0; SECRET.len()];
        Segment::open_id(ns, ids[0]).unwrap().attach().unwrap().read(0, &mut bytes).unwrap();
        assert_eq!((bytes.as_slice(), ns.sem_value(ids[1].raw(), 0).unwrap()), (SECRET, 7));
        let mut seen = Vec::new();
        ns.peek(ids[2].raw(), |_, text| {
            seen = text.to_vec();
            true
        })
        .unwrap();
        assert_eq!(seen, SECRET);
    });
}

/// Another user cannot change names, modes or owners, or the header.
#[test]
fn another_user_cannot_change_names_owners_or_modes() {
    with_users("another_user_cannot_change_names_owners_or_modes", Kind::Shared, |path| {
        let ids = create_as_alice(path, 1, 0o666);
        act(MALLORY, path, |_| {
            let own = path.join("own");
            for file in tree(path) {
                fs::write(&own, "").unwrap();
                let c = c_path(&file);
                let is_link = file.symlink_metadata().unwrap().is_symlink();
                let is_dir = file.is_dir();
                cannot("rename", &file, fs::rename(&file, path.join("elsewhere")));
                if is_dir {
                    cannot("remove", &file, fs::remove_dir(&file));
                } else {
                    cannot("remove", &file, fs::remove_file(&file));
                    cannot("replace", &file, fs::rename(&own, &file));
                }
                // SAFETY: see the module.
                cannot("own", &file, result(unsafe { libc::lchown(c.as_ptr(), MALLORY, MALLORY) }));
                if !is_link {
                    cannot("chmod", &file, fs::set_permissions(&file, Permissions::from_mode(0o777)));
                    let (name, list) = (c"system.posix_acl_access", [2u8, 0, 0, 0]);
                    // SAFETY: see the module.
                    let set = unsafe { libc::setxattr(c.as_ptr(), name.as_ptr(), list.as_ptr().cast(), list.len(), 0) };
                    cannot("give permissions on", &file, result(set));
                }
            }
            fs::remove_file(own).unwrap();
            cannot("chmod", path, fs::set_permissions(path, Permissions::from_mode(0o777)));
            cannot("write", path, opened(&path.join("namespace"), true));
            // SAFETY: see the module.
            cannot("shorten", path, result(unsafe { libc::truncate(c_path(&path.join("namespace")).as_ptr(), 0) }));
        });
        assert_unchanged(path, 1, ids);
    });
}

/// The mode of an object decides which of its files another user can open.
#[test]
fn the_mode_decides_which_files_another_user_can_open() {
    with_users("the_mode_decides_which_files_another_user_can_open", Kind::Shared, |path| {
        for (key, mode) in (1..).zip([0o600, 0o640, 0o604, 0o602, 0o606, 0o644, 0o666, 0o660]) {
            let [segment, set, queue] = create_as_alice(path, key, mode).map(|id| id.index());
            let (read, write) = (mode & 4 != 0, mode & 2 != 0);
            let any = read || write;
            act(MALLORY, path, |_| {
                let expect = |file: String, readable: bool, writable: bool| {
                    let file = path.join(file);
                    for (granted, write) in [(readable, false), (writable, true)] {
                        match (opened(&file, write), granted) {
                            (Ok(_), true) => {}
                            (tried, false) => cannot(if write { "write" } else { "read" }, &file, tried),
                            (Err(e), true) => panic!("{mode:o}, {}: {e}", file.display()),
                        }
                    }
                    if !writable {
                        // SAFETY: see the module.
                        cannot("shorten", &file, result(unsafe { libc::truncate(c_path(&file).as_ptr(), 0) }));
                    }
                };
                expect(format!("shm/{segment}"), true, any);
                expect(format!("shm/{segment}.data"), read, write);
                expect(format!("sem/{set}"), true, write);
                expect(format!("msg/{queue}"), true, any);
                expect(format!("msg/{queue}.data"), any, any);
            });
        }
    });
}

/// A user without permission finds the bytes of segments and messages in no file.
#[test]
fn a_user_without_permission_finds_no_secret_in_any_file() {
    with_users("a_user_without_permission_finds_no_secret_in_any_file", Kind::Shared, |path| {
        let mut last = [None; 2];
        for (key, mode) in (1..).zip([0o600, 0o640, 0o700]) {
            let ids = create_as_alice(path, key, mode);
            last = [Some(key), Some(ids[0].raw())];
        }
        // Nor does the user find the bytes of a removed segment.
        act(ALICE, path, |ns| ns.shm_remove(last[1].unwrap()).unwrap());
        for user in [MALLORY, BOB] {
            act(user, path, |ns| {
                for file in tree(path) {
                    let mut bytes = Vec::new();
                    if file.symlink_metadata().unwrap().is_file()
                        && let Ok(mut open) = opened(&file, false)
                    {
                        open.read_to_end(&mut bytes).unwrap();
                    }
                    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET), "{}", file.display());
                }
                // A new segment, which may reuse memory, does not show them, either.
                let id = ns.shmget(Key::PRIVATE, 4096, 0o600).unwrap();
                let mut bytes = [1; 4096];
                Segment::open_id(ns, id).unwrap().attach().unwrap().read(0, &mut bytes).unwrap();
                assert_eq!(bytes, [0; 4096]);
            });
        }
    });
}

/// Replaces Alice's id and the mode wherever they occur in the file.
fn falsify(file: &Path, mode: u32) -> io::Result<()> {
    let open = OpenOptions::new().read(true).write(true).open(file)?;
    let mut page = [0; 4096];
    let len = open.read_at(&mut page, 0)?;
    for word in page[..len].chunks_exact_mut(4) {
        let value = u32::from_ne_bytes(word.try_into().unwrap());
        let other = if value == ALICE {
            MALLORY
        } else if value == mode {
            0o666
        } else {
            value
        };
        word.copy_from_slice(&other.to_ne_bytes());
    }
    open.write_all_at(&page[..len], 0)
}

/// A user with any permission can write to the control file of a segment. This gives no permission
/// for the bytes.
#[test]
fn a_falsified_control_file_gives_no_permission() {
    with_users("a_falsified_control_file_gives_no_permission", Kind::Shared, |path| {
        for (key, mode) in [(1, 0o644), (2, 0o604), (3, 0o622)] {
            let [id, ..] = create_as_alice(path, key, mode);
            act(MALLORY, path, |ns| {
                falsify(&path.join(format!("shm/{}", id.index())), mode as u32).unwrap();
                let perm = ns.shm_stat(id.raw()).unwrap().perm;
                // The state shows the false values, but the creator comes from the file system.
                assert_eq!((perm.uid, perm.cuid, perm.mode), (MALLORY, ALICE, 0o666));
                // SAFETY: the kernel chooses the address.
                assert_eq!(unsafe { ns.shmat(id.raw(), 0, 0) }.unwrap_err(), Errno::ACCES, "{mode:o}");
            });
            act(BOB, path, |ns| {
                // SAFETY: the kernel chooses the address.
                assert_eq!(unsafe { ns.shmat(id.raw(), 0, 0) }.unwrap_err(), Errno::ACCES, "{mode:o}");
            });
            act(ALICE, path, |ns| {
                let mut bytes = [0; SECRET.len()];
                Segment::open_id(ns, id).unwrap().attach().unwrap().read(0, &mut bytes).unwrap();
                assert_eq!(bytes, SECRET);
            });
        }
    });
}

/// Writing to the files of one object gives no access to other objects.
#[test]
fn writing_to_one_object_gives_no_access_to_others() {
    with_users("writing_to_one_object_gives_no_access_to_others", Kind::Shared, |path| {
        let open = create_as_alice(path, 1, 0o666);
        let closed = create_as_alice(path, 2, 0o600);
        act(MALLORY, path, |ns| {
            for (folder, (open, closed)) in ["shm", "sem", "msg"].into_iter().zip(open.into_iter().zip(closed)) {
                falsify(&path.join(format!("{folder}/{}", open.index())), 0o666).unwrap();
                cannot("falsify", path, falsify(&path.join(format!("{folder}/{}", closed.index())), 0o600));
            }
            let [segment, set, queue] = closed.map(Id::raw);
            // SAFETY: the kernel chooses the address.
            assert_eq!(unsafe { ns.shmat(segment, 0, libc::SHM_RDONLY) }.unwrap_err(), Errno::ACCES);
            assert_eq!(ns.shm_set(segment, MALLORY, MALLORY, 0o666), Err(Errno::PERM));
            assert_eq!(ns.shm_remove(segment), Err(Errno::PERM));
            let up = [SemOp::new(0, 1)];
            assert_eq!(ns.semtimedop(set, &up, Some(Duration::ZERO)), Err(Errno::ACCES));
            assert_eq!(ns.sem_value(set, 0), Err(Errno::ACCES));
            assert_eq!(ns.sem_set_value(set, 0, 1), Err(Errno::ACCES));
            assert_eq!(ns.sem_set(set, MALLORY, MALLORY, 0o666), Err(Errno::PERM));
            assert_eq!(ns.sem_remove(set), Err(Errno::PERM));
            assert_eq!(ns.msgsnd(queue, 1, b"x", MsgFlags::NOWAIT, None), Err(Errno::ACCES));
            assert_eq!(ns.msgrcv(queue, &mut [0; 100], 0, MsgFlags::NOWAIT, None).map(drop), Err(Errno::ACCES));
            assert_eq!(ns.msg_set(queue, MALLORY, MALLORY, 0o666, 1000), Err(Errno::PERM));
            assert_eq!(ns.msg_remove(queue), Err(Errno::PERM));
        });
        assert_unchanged(path, 2, closed);
    });
}

/// Creates files at names that the library will need: links to Alice's file, a fifo, a directory
/// and Mallory's own files.
fn squat(path: &Path, target: &Path, names: impl Fn(usize) -> PathBuf) {
    for nth in 0..6 {
        let name = names(nth);
        match nth {
            0 => symlink(target, &name).unwrap(),
            1 => symlink("nowhere", &name).unwrap(),
            // SAFETY: see the module.
            2 => result(unsafe { libc::mkfifo(c_path(&name).as_ptr(), 0o666) }).unwrap(),
            3 => fs::create_dir(&name).unwrap(),
            4 => fs::write(&name, [0xff; 200_000]).unwrap(),
            _ => {
                // The kernel allows hard links only to own files (`fs.protected_hardlinks`).
                let own = path.join("mallory");
                fs::write(&own, "").unwrap();
                fs::hard_link(own, &name).unwrap();
            }
        }
        if !name.symlink_metadata().unwrap().is_symlink() {
            fs::set_permissions(&name, Permissions::from_mode(0o777)).unwrap();
        }
    }
}

#[test]
fn files_in_the_way_are_neither_used_nor_changed() {
    with_users("files_in_the_way_are_neither_used_nor_changed", Kind::Shared, |path| {
        let target = path.with_extension("alice");
        fork(|| {
            // A file of Alice's in a directory that only root can write.
            fs::write(&target, SECRET).unwrap();
            let c = c_path(&target);
            // SAFETY: see the module.
            result(unsafe { libc::chown(c.as_ptr(), ALICE, ALICE) }).unwrap();
            fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
        })
        .succeeds();
        act(MALLORY, path, |_| {
            for (folder, suffix) in [("shm", ""), ("sem", ""), ("msg", "")] {
                squat(path, &target, |nth| path.join(format!("{folder}/{nth}{suffix}")));
            }
            for folder in ["shm", "msg"] {
                squat(path, &target, |nth| path.join(format!("{folder}/{}.data", nth + 6)));
            }
            for folder in ["shm", "sem", "msg"] {
                squat(path, &target, |nth| path.join(format!("key/{folder}.{:08x}", nth + 1)));
            }
        });
        for key in 1..=6 {
            let ids = create_as_alice(path, key, 0o600);
            assert!(ids.iter().all(|id| id.index() > 5), "{ids:?}");
            assert_unchanged(path, key, ids);
            act(BOB, path, |ns| {
                assert_eq!(ns.shm_stat(ids[0].raw()).unwrap_err(), Errno::ACCES);
                assert_eq!(ns.shmget(Key::new(key), 0, 0).unwrap(), ids[0]);
            });
        }
        assert_eq!(fs::read(&target).unwrap(), SECRET);
    });
}

/// A key finds the object that had it first, whatever names another user adds.
#[test]
fn another_user_cannot_take_over_a_key() {
    with_users("another_user_cannot_take_over_a_key", Kind::Shared, |path| {
        let ids = create_as_alice(path, 5, 0o604);
        act(MALLORY, path, |ns| {
            let own = ns.shmget(Key::PRIVATE, 4096, 0o666).unwrap();
            for nth in 1..8 {
                symlink(own.to_string(), path.join(format!("key/shm.00000005.{nth}"))).unwrap();
            }
            // The registry says how many names a lookup reads.
            let registry = OpenOptions::new().write(true).open(path.join("registry")).unwrap();
            registry.write_all_at(&8u32.to_ne_bytes(), 20).unwrap();
            let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o666;
            assert_eq!(ns.shmget(Key::new(5), 4096, flags), Err(Errno::EXIST));
            // A name that another user adds for an object does not give the object that key.
            symlink(ids[0].to_string(), path.join("key/shm.00000006")).unwrap();
        });
        for user in [ALICE, BOB] {
            act(user, path, |ns| {
                assert_eq!(ns.shmget(Key::new(5), 0, 0o004), Ok(ids[0]));
                assert_eq!(ns.shmget(Key::new(6), 0, 0), Err(Errno::NOENT));
            });
        }
        assert_unchanged(path, 5, ids);
    });
}

/// File locks on the registry show that a process is alive. Another user cannot release them.
#[test]
fn another_user_cannot_make_a_live_process_look_exited() {
    with_users("another_user_cannot_make_a_live_process_look_exited", Kind::Shared, |path| {
        let ids = create_as_alice(path, 1, 0o666);
        let (attached, done) = (Signpost::new(), Signpost::new());
        let alice = fork(|| {
            become_user(ALICE);
            let ns = Namespace::open(path).unwrap();
            let memory = Segment::open_id(&ns, ids[0]).unwrap().attach().unwrap();
            attached.send_number(1);
            done.number();
            drop(memory);
        });
        attached.number();
        act(MALLORY, path, |ns| {
            let registry = OpenOptions::new().read(true).write(true).open(path.join("registry")).unwrap();
            for command in [libc::F_OFD_SETLK, libc::F_SETLK] {
                // SAFETY: zeroes are a valid `flock`, which covers the whole file.
                let unlocked = unsafe {
                    let mut lock: libc::flock = std::mem::zeroed();
                    (lock.l_type, lock.l_whence) = (libc::F_UNLCK as _, libc::SEEK_SET as _);
                    libc::fcntl(registry.as_raw_fd(), command, &raw const lock)
                };
                result(unlocked).unwrap();
            }
            assert_eq!(ns.shm_stat(ids[0].raw()).unwrap().nattch, 1);
        });
        done.send_number(1);
        alice.succeeds();
    });
}

/// A damaged registry may fail new calls, but attached memory and open objects keep working, and no
/// call hangs.
#[test]
fn a_damaged_registry_does_not_affect_open_objects() {
    with_users("a_damaged_registry_does_not_affect_open_objects", Kind::Shared, |path| {
        for byte in [0, 0xff, 0x55] {
            let key = 1 + i32::from(byte);
            let ids = create_as_alice(path, key, 0o600);
            let (attached, damaged) = (Signpost::new(), Signpost::new());
            let alice = fork(|| {
                become_user(ALICE);
                let ns = Namespace::open(path).unwrap();
                let memory = Segment::open_id(&ns, ids[0]).unwrap().attach().unwrap();
                attached.send_number(1);
                damaged.number();
                let mut bytes = [0; SECRET.len()];
                memory.read(0, &mut bytes).unwrap();
                assert_eq!((bytes.as_slice(), ns.sem_value(ids[1].raw(), 0)), (SECRET, Ok(7)));
                let mut text = [0; 100];
                assert_eq!(ns.msgrcv(ids[2].raw(), &mut text, 0, MsgFlags::NOWAIT, None).map(|got| got.1), Ok(SECRET.len()));
                // These calls return, with any result.
                let _ = ns.shmget(Key::PRIVATE, 4096, 0o600);
                let _ = ns.semget(Key::PRIVATE, 1, 0o600);
                let _ = ns.shm_stat(ids[0].raw());
            });
            attached.number();
            let before = fs::read(path.join("registry")).unwrap();
            act(MALLORY, path, |_| {
                let registry = OpenOptions::new().write(true).open(path.join("registry")).unwrap();
                registry.write_all_at(&[byte; 64 << 10], 12).unwrap();
            });
            damaged.send_number(1);
            alice.succeeds();
            fs::write(path.join("registry"), before).unwrap();
        }
    });
}

/// Another user cannot reach a private namespace by any name.
#[test]
fn another_user_cannot_reach_a_private_namespace() {
    with_users("another_user_cannot_reach_a_private_namespace", Kind::Private, |path| {
        let segment = Signpost::new();
        fork(|| {
            let ns = Namespace::open(path).unwrap();
            let id = ns.shmget(Key::new(1), 4096, libc::IPC_CREAT | 0o666).unwrap();
            Segment::open_id(&ns, id).unwrap().attach().unwrap().write(0, SECRET).unwrap();
            segment.send_number(id.raw().into());
        })
        .succeeds();
        let index = segment.number();
        let all = tree(path);
        fork(|| {
            become_user(MALLORY);
            assert_eq!(Namespace::open(path).unwrap_err().errno(), Errno::ACCES);
            assert_eq!(Namespace::create(path, Kind::Private).unwrap_err().errno(), Errno::ACCES);
            cannot("list", path, fs::read_dir(path));
            cannot("make a file in", path, File::create(path.join("x")));
            cannot("chmod", path, fs::set_permissions(path, Permissions::from_mode(0o777)));
            for file in &all {
                cannot("see", file, file.symlink_metadata());
                cannot("read", file, opened(file, false));
                cannot("write", file, opened(file, true));
                cannot("remove", file, fs::remove_file(file));
            }
        })
        .succeeds();
        assert!(path.join(format!("shm/{index}.data")).exists());
    });
}

/// Root's hidden default namespace has a name that other users can neither list nor read.
#[test]
fn another_user_cannot_find_a_hidden_namespace() {
    if !is_root() {
        return println!("skipped: not root");
    }
    alone("another_user_cannot_find_a_hidden_namespace", |directory| {
        open_to_all(directory);
        let parent = directory.join("parent");
        fs::create_dir(&parent).unwrap();
        fs::set_permissions(&parent, Permissions::from_mode(0o711)).unwrap();
        let name = Signpost::new();
        fork(|| {
            let ns = Namespace::create_hidden(&parent).unwrap();
            let last = ns.path().unwrap().file_name().map(OsStr::len).unwrap();
            name.send_number(last as i64);
        })
        .succeeds();
        assert_eq!(name.number(), 32);
        let path = tree(&parent).into_iter().find(|path| path.join("namespace").exists()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o1777);
        fork(|| {
            become_user(MALLORY);
            cannot("list", &parent, fs::read_dir(&parent));
            cannot("make a file in", &parent, File::create(parent.join("x")));
            // A program that gave up root but knows the name can open it.
            assert_eq!(Namespace::open(&path).unwrap().kind(), Kind::Shared);
        })
        .succeeds();
    });
}
