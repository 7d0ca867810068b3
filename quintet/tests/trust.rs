//! What a user cannot do to others' objects, tried with plain file operations: the table in ARCHITECTURE.md, "The trust model".
//!
//! Only the superuser can be several users; and files are what guards, so nothing here goes through the kernel's own System V IPC.
//!
//! # Safety
//!
//! Plain system calls on files; the children of `fork` have one thread.
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

/// Who has something, who wants it, and who looks on.
const ALICE: u32 = 5678;
const MALLORY: u32 = 1234;
const BOB: u32 = 4321;

const SECRET: &[u8] = b"the secret of Alice";

/// `body` on a namespace of the superuser's.
fn among_users(name: &str, kind: Kind, body: impl FnOnce(&Path)) {
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

/// `body` as a user, who has opened the namespace.
fn act(user: u32, path: &Path, body: impl FnOnce(&Namespace)) {
    fork(|| {
        become_user(user);
        body(&Namespace::open(path).unwrap());
    })
    .succeeds();
}

/// The rights do not allow it.
#[track_caller]
fn cannot<T>(what: &str, path: &Path, tried: io::Result<T>) {
    match tried {
        Ok(_) => panic!("{what} {}: can be done", path.display()),
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied, "{what} {}: {e}", path.display()),
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

fn result(ret: i32) -> io::Result<()> {
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// All that is in a directory, and below.
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

/// One object of each mechanism with this mode, a key, and the secret in it where it can hold one. The numbers are the indexes.
fn alices(path: &Path, key: i32, mode: i32) -> [Id; 3] {
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
            ids.tell_number(id.raw().into());
        }
    });
    [(); 3].map(|()| Id::from_raw(ids.number() as i32).unwrap())
}

/// Whether Alice still finds what she has made.
fn is_as_alice_left_it(path: &Path, key: i32, ids: [Id; 3]) {
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

/// Names, modes and owners are not another user's to change; nor is the header.
#[test]
fn the_directory_and_its_files_keep_their_names_and_rights() {
    among_users("the_directory_and_its_files_keep_their_names_and_rights", Kind::Shared, |path| {
        let ids = alices(path, 1, 0o666);
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
                // SAFETY: a path and numbers.
                cannot("own", &file, result(unsafe { libc::lchown(c.as_ptr(), MALLORY, MALLORY) }));
                if !is_link {
                    cannot("chmod", &file, fs::set_permissions(&file, Permissions::from_mode(0o777)));
                    let (name, list) = (c"system.posix_acl_access", [2u8, 0, 0, 0]);
                    // SAFETY: paths and a local.
                    let set = unsafe { libc::setxattr(c.as_ptr(), name.as_ptr(), list.as_ptr().cast(), list.len(), 0) };
                    cannot("give rights to", &file, result(set));
                }
            }
            fs::remove_file(own).unwrap();
            cannot("chmod", path, fs::set_permissions(path, Permissions::from_mode(0o777)));
            cannot("write", path, opened(&path.join("namespace"), true));
            // SAFETY: a path and a number.
            cannot("shorten", path, result(unsafe { libc::truncate(c_path(&path.join("namespace")).as_ptr(), 0) }));
        });
        is_as_alice_left_it(path, 1, ids);
    });
}

/// Which files can be opened is the mode's affair, in each mechanism's way.
#[test]
fn the_mode_says_who_opens_a_file() {
    among_users("the_mode_says_who_opens_a_file", Kind::Shared, |path| {
        for (key, mode) in (1..).zip([0o600, 0o640, 0o604, 0o602, 0o606, 0o644, 0o666, 0o660]) {
            let [segment, set, queue] = alices(path, key, mode).map(|id| id.index());
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
                        // SAFETY: a path and a number.
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

/// Who has no right finds a segment's bytes and a queue's messages in no file.
#[test]
fn a_secret_is_in_no_file_that_others_read() {
    among_users("a_secret_is_in_no_file_that_others_read", Kind::Shared, |path| {
        let mut last = [None; 2];
        for (key, mode) in (1..).zip([0o600, 0o640, 0o700]) {
            let ids = alices(path, key, mode);
            last = [Some(key), Some(ids[0].raw())];
        }
        // What was removed does not lie about, either.
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
                // Nor does a new segment, which may have the place of the removed one.
                let id = ns.shmget(Key::PRIVATE, 4096, 0o600).unwrap();
                let mut bytes = [1; 4096];
                Segment::open_id(ns, id).unwrap().attach().unwrap().read(0, &mut bytes).unwrap();
                assert_eq!(bytes, [0; 4096]);
            });
        }
    });
}

/// Writes another owner and a generous mode wherever the file has the old ones.
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

/// Who may read a segment can write what he likes into its control file; rights to the bytes it does not give.
#[test]
fn a_falsified_control_file_gives_no_rights() {
    among_users("a_falsified_control_file_gives_no_rights", Kind::Shared, |path| {
        for (key, mode) in [(1, 0o644), (2, 0o604), (3, 0o622)] {
            let [id, ..] = alices(path, key, mode);
            act(MALLORY, path, |ns| {
                falsify(&path.join(format!("shm/{}", id.index())), mode as u32).unwrap();
                let perm = ns.shm_stat(id.raw()).unwrap().perm;
                // It looks as if, but for the creator, whom the file system tells.
                assert_eq!((perm.uid, perm.cuid, perm.mode), (MALLORY, ALICE, 0o666));
                // SAFETY: at an address of the kernel's choice.
                assert_eq!(unsafe { ns.shmat(id.raw(), 0, 0) }.unwrap_err(), Errno::ACCES, "{mode:o}");
            });
            act(BOB, path, |ns| {
                // SAFETY: as above.
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

/// Nor does what the other files say that he may write.
#[test]
fn other_objects_are_out_of_reach() {
    among_users("other_objects_are_out_of_reach", Kind::Shared, |path| {
        let open = alices(path, 1, 0o666);
        let closed = alices(path, 2, 0o600);
        act(MALLORY, path, |ns| {
            for (folder, (open, closed)) in ["shm", "sem", "msg"].into_iter().zip(open.into_iter().zip(closed)) {
                falsify(&path.join(format!("{folder}/{}", open.index())), 0o666).unwrap();
                cannot("falsify", path, falsify(&path.join(format!("{folder}/{}", closed.index())), 0o600));
            }
            let [segment, set, queue] = closed.map(Id::raw);
            // SAFETY: as above.
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
        is_as_alice_left_it(path, 2, closed);
    });
}

/// What somebody puts under names that will be needed: links to a file of Alice's, things that are no files, files of his own.
fn squat(path: &Path, target: &Path, names: impl Fn(usize) -> PathBuf) {
    for nth in 0..6 {
        let name = names(nth);
        match nth {
            0 => symlink(target, &name).unwrap(),
            1 => symlink("nowhere", &name).unwrap(),
            // SAFETY: a path and a number.
            2 => result(unsafe { libc::mkfifo(c_path(&name).as_ptr(), 0o666) }).unwrap(),
            3 => fs::create_dir(&name).unwrap(),
            4 => fs::write(&name, [0xff; 200_000]).unwrap(),
            _ => {
                // Only of his own files, where the kernel protects links (`fs.protected_hardlinks`).
                let own = path.join("mallorys");
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
fn what_lies_in_the_way_is_left_alone() {
    among_users("what_lies_in_the_way_is_left_alone", Kind::Shared, |path| {
        let target = path.with_extension("alices");
        fork(|| {
            // Where only the superuser writes, with Alice's rights.
            fs::write(&target, SECRET).unwrap();
            let c = c_path(&target);
            // SAFETY: a path and numbers.
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
            let ids = alices(path, key, 0o600);
            assert!(ids.iter().all(|id| id.index() > 5), "{ids:?}");
            is_as_alice_left_it(path, key, ids);
            act(BOB, path, |ns| {
                assert_eq!(ns.shm_stat(ids[0].raw()).unwrap_err(), Errno::ACCES);
                assert_eq!(ns.shmget(Key::new(key), 0, 0).unwrap(), ids[0]);
            });
        }
        assert_eq!(fs::read(&target).unwrap(), SECRET);
    });
}

/// A key leads to whose object was there first, whatever somebody adds.
#[test]
fn a_key_cannot_be_taken() {
    among_users("a_key_cannot_be_taken", Kind::Shared, |path| {
        let ids = alices(path, 5, 0o604);
        act(MALLORY, path, |ns| {
            let own = ns.shmget(Key::PRIVATE, 4096, 0o666).unwrap();
            for nth in 1..8 {
                symlink(own.to_string(), path.join(format!("key/shm.00000005.{nth}"))).unwrap();
            }
            // The registry says how many names are to be looked at.
            let registry = OpenOptions::new().write(true).open(path.join("registry")).unwrap();
            registry.write_all_at(&8u32.to_ne_bytes(), 20).unwrap();
            let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o666;
            assert_eq!(ns.shmget(Key::new(5), 4096, flags), Err(Errno::EXIST));
            // A name for somebody else's object does not give it the key.
            symlink(ids[0].to_string(), path.join("key/shm.00000006")).unwrap();
        });
        for user in [ALICE, BOB] {
            act(user, path, |ns| {
                assert_eq!(ns.shmget(Key::new(5), 0, 0o004), Ok(ids[0]));
                assert_eq!(ns.shmget(Key::new(6), 0, 0), Err(Errno::NOENT));
            });
        }
        is_as_alice_left_it(path, 5, ids);
    });
}

/// A lock on the registry's bytes is its owner's: nobody ends another process's life for the others to see.
#[test]
fn a_life_cannot_be_ended_by_unlocking() {
    among_users("a_life_cannot_be_ended_by_unlocking", Kind::Shared, |path| {
        let ids = alices(path, 1, 0o666);
        let (attached, done) = (Signpost::new(), Signpost::new());
        let alice = fork(|| {
            become_user(ALICE);
            let ns = Namespace::open(path).unwrap();
            let memory = Segment::open_id(&ns, ids[0]).unwrap().attach().unwrap();
            attached.tell_number(1);
            done.number();
            drop(memory);
        });
        attached.number();
        act(MALLORY, path, |ns| {
            let registry = OpenOptions::new().read(true).write(true).open(path.join("registry")).unwrap();
            for command in [libc::F_OFD_SETLK, libc::F_SETLK] {
                // SAFETY: zeroes are a valid flock; the whole file.
                let unlocked = unsafe {
                    let mut lock: libc::flock = std::mem::zeroed();
                    (lock.l_type, lock.l_whence) = (libc::F_UNLCK as _, libc::SEEK_SET as _);
                    libc::fcntl(registry.as_raw_fd(), command, &raw const lock)
                };
                result(unlocked).unwrap();
            }
            assert_eq!(ns.shm_stat(ids[0].raw()).unwrap().nattch, 1);
        });
        done.tell_number(1);
        alice.succeeds();
    });
}

/// A registry full of anything hinders, and breaks nothing that is held already; every call comes back.
#[test]
fn a_scribbled_registry_keeps_nobodys_memory() {
    among_users("a_scribbled_registry_keeps_nobodys_memory", Kind::Shared, |path| {
        for byte in [0, 0xff, 0x55] {
            let key = 1 + i32::from(byte);
            let ids = alices(path, key, 0o600);
            let (attached, scribbled) = (Signpost::new(), Signpost::new());
            let alice = fork(|| {
                become_user(ALICE);
                let ns = Namespace::open(path).unwrap();
                let memory = Segment::open_id(&ns, ids[0]).unwrap().attach().unwrap();
                attached.tell_number(1);
                scribbled.number();
                let mut bytes = [0; SECRET.len()];
                memory.read(0, &mut bytes).unwrap();
                assert_eq!((bytes.as_slice(), ns.sem_value(ids[1].raw(), 0)), (SECRET, Ok(7)));
                let mut text = [0; 100];
                assert_eq!(ns.msgrcv(ids[2].raw(), &mut text, 0, MsgFlags::NOWAIT, None).map(|got| got.1), Ok(SECRET.len()));
                // Whatever these say, they say it.
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
            scribbled.tell_number(1);
            alice.succeeds();
            fs::write(path.join("registry"), before).unwrap();
        }
    });
}

/// Into a private namespace nobody gets, by no name.
#[test]
fn a_private_namespace_is_closed() {
    among_users("a_private_namespace_is_closed", Kind::Private, |path| {
        let segment = Signpost::new();
        fork(|| {
            let ns = Namespace::open(path).unwrap();
            let id = ns.shmget(Key::new(1), 4096, libc::IPC_CREAT | 0o666).unwrap();
            Segment::open_id(&ns, id).unwrap().attach().unwrap().write(0, SECRET).unwrap();
            segment.tell_number(id.raw().into());
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

/// The superuser's own namespace lies where others can neither list nor read its name.
#[test]
fn an_unlisted_namespace_is_not_found() {
    if !is_root() {
        return println!("skipped: not root");
    }
    alone("an_unlisted_namespace_is_not_found", |directory| {
        open_to_all(directory);
        let parent = directory.join("parent");
        fs::create_dir(&parent).unwrap();
        fs::set_permissions(&parent, Permissions::from_mode(0o711)).unwrap();
        let name = Signpost::new();
        fork(|| {
            let ns = Namespace::create_unlisted(&parent).unwrap();
            let last = ns.path().unwrap().file_name().map(OsStr::len).unwrap();
            name.tell_number(last as i64);
        })
        .succeeds();
        assert_eq!(name.number(), 32);
        let path = tree(&parent).into_iter().find(|path| path.join("namespace").exists()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o1777);
        fork(|| {
            become_user(MALLORY);
            cannot("list", &parent, fs::read_dir(&parent));
            cannot("make a file in", &parent, File::create(parent.join("x")));
            // Who is told the name gets in: a program that gave up its rights.
            assert_eq!(Namespace::open(&path).unwrap().kind(), Kind::Shared);
        })
        .succeeds();
    });
}
