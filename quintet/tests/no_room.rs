//! File systems with few free pages or none: calls succeed or fail with an error, and no process
//! gets a signal.
//!
//! Each test mounts a tmpfs in its own mount namespace, which needs root.
//!
//! # Safety
//!
//! The raw calls get C strings and pointers to local variables.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Errno, Id, Key, Kind, Namespace, Segment, SemFlags, SemOp};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use support::{Child, End, Signpost, Tracee, Watch, alone, begin, finish, fork, is_root, names};

const KEY: Key = Key::new(0xf011);

fn mount(path: &Path, options: &str, flags: libc::c_ulong) {
    let text = |s: &str| std::ffi::CString::new(s).unwrap();
    let (tmpfs, target, options) = (text("tmpfs"), text(path.to_str().unwrap()), text(options));
    // SAFETY: see the module.
    let done = unsafe { libc::mount(tmpfs.as_ptr(), target.as_ptr(), tmpfs.as_ptr(), flags, options.as_ptr().cast()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `body` on a tmpfs of 2 MiB.
fn on_small_tmpfs(name: &str, body: impl FnOnce(&Path)) {
    if !is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    alone(name, |directory| {
        let target = directory.join("small");
        std::fs::create_dir(&target).unwrap();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: see the module; the thread that starts all children gets its own mount namespace.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "{}", std::io::Error::last_os_error());
            assert_eq!(libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()), 0);
        }
        mount(&target, "size=2m", 0);
        body(&target);
    });
}

fn free_pages(dir: &Path) -> u64 {
    let name = std::ffi::CString::new(dir.to_str().unwrap()).unwrap();
    // SAFETY: zeroes are a valid statvfs.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: see the module.
    assert_eq!(unsafe { libc::statvfs(name.as_ptr(), &raw mut stat) }, 0);
    stat.f_bavail * stat.f_frsize / 4096
}

/// Fills the file system until at most `left` pages are free.
fn fill_up(dir: &Path, left: u64) {
    let file = File::options().create(true).append(true).open(dir.join("filler")).unwrap();
    let pages = free_pages(dir).saturating_sub(left);
    if pages > 0 {
        let len = std::fs::metadata(dir.join("filler")).unwrap().len();
        // SAFETY: see the module.
        assert_eq!(unsafe { libc::posix_fallocate(file.as_raw_fd(), len as i64, pages as i64 * 4096) }, 0);
    }
    assert!(free_pages(dir) <= left);
}

/// Returns `true` if a call may fail with this error when the file system is full.
fn no_room(e: Errno) -> bool {
    [Errno::NOMEM, Errno::NOSPC].contains(&e)
}

/// Looks up a key on a full file system where no segment has a key.
#[test]
fn a_key_can_be_looked_up_on_a_full_file_system() {
    on_small_tmpfs("a_key_can_be_looked_up_on_a_full_file_system", |dir| {
        for kind in [Kind::Private, Kind::Shared] {
            let path = dir.join(format!("{kind:?}"));
            fork(|| {
                let ns = Namespace::create(&path, kind).unwrap();
                Segment::open_or_create(&ns, Key::PRIVATE, 100).unwrap();
            })
            .succeeds();
            fill_up(dir, 0);
            let end = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                assert_eq!(ns.shmget(KEY, 0, 0), Err(Errno::NOENT));
                assert_eq!(ns.shmget(KEY, 9000, libc::IPC_CREAT | 0o600).map_err(no_room), Err(true));
                assert_eq!(ns.shm_usage().unwrap().segments, 1);
                for segment in ns.segments().unwrap() {
                    ns.shm_remove(segment.stat.id.raw()).unwrap();
                }
                ns.sweep().unwrap();
            })
            .end();
            assert_eq!(end, End::Exit(0), "{kind:?}");
            std::fs::remove_file(dir.join("filler")).unwrap();
        }
    });
}

/// Makes all calls on segments. Errors must report lack of room, and calls that succeed must have
/// worked.
fn use_segments(ns: &Namespace) {
    let mut made = Vec::new();
    for (key, size) in [(KEY, 4096), (Key::PRIVATE, 1), (Key::new(2), 70_000), (Key::new(3), 8192)] {
        match ns.shmget(key, size, libc::IPC_CREAT | 0o600) {
            Ok(id) => made.push((id, size as usize)),
            Err(e) => assert!(no_room(e), "{e:?}"),
        }
    }
    for (id, size) in &made {
        match Segment::open_id(ns, *id).unwrap().attach() {
            Ok(memory) => {
                memory.fill(0, *size, 7).unwrap();
                assert_eq!(memory.to_vec(size - 1..*size).unwrap(), [7]);
                fork(|| {
                    memory.fill(0, *size, 8).unwrap();
                    let _ = ns.segments().unwrap();
                })
                .succeeds();
                assert_eq!(memory.to_vec(size - 1..*size).unwrap(), [8]);
                let nattch = ns.shm_stat(id.raw()).unwrap().nattch;
                assert_eq!(nattch, 1);
            }
            Err(e) => assert!(no_room(e.errno()), "{e}"),
        }
    }
    assert_eq!(ns.shm_usage().unwrap().segments as usize, ns.segments().unwrap().len());
    for (id, _) in made {
        match ns.shm_remove(id.raw()) {
            Ok(()) => {}
            Err(e) => assert!(no_room(e), "{e:?}"),
        }
    }
    if let Err(e) = ns.sweep() {
        assert!(no_room(e), "{e:?}");
    }
}

/// Creates and uses a namespace with each number of free pages. It is created or not, and a created
/// one works.
#[test]
fn a_namespace_is_created_completely_or_not_at_all() {
    on_small_tmpfs("a_namespace_is_created_completely_or_not_at_all", |dir| {
        let mut made = 0;
        for left in 0..60 {
            for kind in [Kind::Private, Kind::Shared] {
                fill_up(dir, left);
                let path = dir.join("ns");
                let answer = Signpost::new();
                let end = fork(|| match Namespace::create(&path, kind) {
                    Ok(ns) => {
                        use_segments(&ns);
                        answer.send_number(1);
                    }
                    Err(e) => {
                        assert_eq!(e.errno(), Errno::NOSPC, "{e}");
                        answer.send_number(0);
                    }
                })
                .end();
                assert_eq!(end, End::Exit(0), "{left} pages left, {kind:?}");
                if answer.number() == 1 {
                    made += 1;
                } else {
                    assert!(Namespace::open(&path).is_err());
                    assert!(left < 20, "{left} pages are enough for a namespace");
                }
                let _ = std::fs::remove_dir_all(&path);
                std::fs::remove_file(dir.join("filler")).unwrap();
            }
        }
        assert!(made > 40);
    });
}

/// The same for an existing namespace, with an attached process and a new one.
#[test]
fn segments_fail_cleanly_at_each_number_of_free_pages() {
    on_small_tmpfs("segments_fail_cleanly_at_each_number_of_free_pages", |dir| {
        for left in 0..40 {
            for kind in [Kind::Private, Kind::Shared] {
                let path = dir.join("ns");
                let (ready, go) = (Signpost::new(), Signpost::new());
                let attached = fork(|| {
                    let ns = Namespace::create(&path, kind).unwrap();
                    let segment = Segment::open_or_create(&ns, Key::new(9), 20_000).unwrap();
                    let memory = segment.attach().unwrap();
                    ready.post(1);
                    go.wait();
                    memory.fill(0, 20_000, 1).unwrap();
                    fork(|| memory.fill(0, 20_000, 2).unwrap()).succeeds();
                    assert_eq!(segment.stat().unwrap().nattch, 1);
                    segment.remove().unwrap();
                    memory.detach().unwrap();
                });
                ready.wait();
                fill_up(dir, left);
                let end = fork(|| use_segments(&Namespace::open(&path).unwrap())).end();
                assert_eq!(end, End::Exit(0), "{left} pages left, {kind:?}");
                go.post(1);
                attached.succeeds();
                std::fs::remove_dir_all(&path).unwrap();
                std::fs::remove_file(dir.join("filler")).unwrap();
            }
        }
    });
}

/// Makes all calls on sets. Errors must report lack of room, and calls that fail must change
/// nothing.
fn use_sets(ns: &Namespace) {
    let undo = |num: u16, n: i16| SemOp::new(num, n).flags(SemFlags::UNDO);
    for (nth, nsems) in [3, 3000, 100].into_iter().enumerate() {
        let Ok(id) =
            ns.semget(Key::new(50 + nth as i32), nsems, libc::IPC_CREAT | 0o600).map_err(|e| assert!(no_room(e), "{e:?}"))
        else {
            continue;
        };
        let (id, last) = (id.raw(), nsems as u16 - 1);
        let mut values = vec![7; nsems as usize];
        match ns.sem_set_values(id, &values) {
            Ok(()) => {}
            // The registry has no room for another participant.
            Err(e) => {
                assert!(no_room(e), "{e:?}");
                values.fill(0);
                ns.semtimedop(id, &[SemOp::new(last, 1)], None).unwrap();
                ns.semtimedop(id, &[SemOp::new(last, -1)], None).unwrap();
            }
        }
        let mut tried = |ops: &[SemOp], expected: Result<(), Errno>| match ns.semtimedop(
            id,
            ops,
            Some(std::time::Duration::from_millis(2)),
        ) {
            Err(e) if no_room(e) => {}
            answer => {
                assert_eq!(answer, expected);
                if answer.is_ok() {
                    ops.iter()
                        .for_each(|op| values[usize::from(op.num)] = values[usize::from(op.num)].wrapping_add_signed(op.op));
                }
            }
        };
        let many: Vec<SemOp> = (0..40).map(|n| SemOp::new(n % 3, 0)).chain([SemOp::new(0, -100)]).collect();
        tried(&[SemOp::new(0, -100)], Err(Errno::AGAIN));
        tried(&many, Err(Errno::AGAIN));
        tried(&[undo(0, 1)], Ok(()));
        tried(&[undo(0, 300), undo(last, 2)], Ok(()));
        tried(&[SemOp::new(1, 1), SemOp::new(last, 1), SemOp::new(0, 3)], Ok(()));
        // A process exits with an adjustment.
        fork(|| _ = ns.semtimedop(id, &[undo(last, 5)], None).map_err(|e| assert!(no_room(e), "{e:?}"))).succeeds();
        let _ = ns.sweep();
        match ns.sem_values(id) {
            Ok(all) => assert_eq!(all, values),
            Err(e) => assert!(no_room(e), "{e:?}"),
        }
        assert_eq!(ns.sem_value(id, last.into()), Ok(values[usize::from(last)]));
    }
}

/// Uses sets with each number of free pages: their files, blocked calls and undo records need
/// pages.
#[test]
fn sets_fail_cleanly_at_each_number_of_free_pages() {
    on_small_tmpfs("sets_fail_cleanly_at_each_number_of_free_pages", |dir| {
        for left in 0..44 {
            for kind in [Kind::Private, Kind::Shared] {
                let path = dir.join("ns");
                let joined = Signpost::new();
                let go = Signpost::new();
                let there = fork(|| {
                    let ns = Namespace::create(&path, kind).unwrap();
                    let id = ns.semget(KEY, 2, libc::IPC_CREAT | 0o600).unwrap().raw();
                    ns.sem_set_values(id, &[3, 3]).unwrap();
                    joined.post(1);
                    go.wait();
                    ns.semtimedop(id, &[SemOp::new(0, -1), SemOp::new(1, 1)], None).unwrap();
                    assert_eq!(ns.sem_values(id).unwrap(), [2, 4]);
                    // The file system has room again.
                    use_sets(&ns);
                    ns.sets().unwrap().iter().for_each(|set| ns.sem_remove(set.stat.id.raw()).unwrap());
                    assert_eq!((ns.sem_usage().unwrap().sets, ns.sem_usage().unwrap().semaphores), (0, 0));
                    assert_eq!(names(&path.join("sem")), Vec::<String>::new());
                });
                joined.wait();
                fill_up(dir, left);
                let end = fork(|| use_sets(&Namespace::open(&path).unwrap())).end();
                assert_eq!(end, End::Exit(0), "{left} pages left, {kind:?}");
                std::fs::remove_file(dir.join("filler")).unwrap();
                go.post(1);
                assert_eq!(there.end(), End::Exit(0), "{left} pages left, {kind:?}");
                std::fs::remove_dir_all(&path).unwrap();
            }
        }
    });
}

/// More processes attach than the registry has slots at first. Each attaches or gets an error, and
/// none gets a signal.
#[test]
fn many_participants_attach_or_get_an_error() {
    on_small_tmpfs("many_participants_attach_or_get_an_error", |dir| {
        for left in [0, 1, 2] {
            let path = dir.join("ns");
            fork(|| {
                let ns = Namespace::create(&path, Kind::Private).unwrap();
                Segment::open_or_create(&ns, KEY, 100).unwrap();
            })
            .succeeds();
            fill_up(dir, left);
            let (ready, go) = (Signpost::new(), Signpost::new());
            let children: Vec<Child> = (0..300)
                .map(|_| {
                    fork(|| {
                        let ns = Namespace::open(&path).unwrap();
                        let attached = Segment::open(&ns, KEY).unwrap().attach();
                        ready.send_number(attached.is_ok().into());
                        if let Err(e) = &attached {
                            assert!(no_room(e.errno()), "{e}");
                        }
                        go.wait();
                    })
                })
                .collect();
            let served: i64 = children.iter().map(|_| ready.number()).sum();
            println!("{left} pages left: {served} of 300 attached");
            assert!(served >= 100);
            let end = fork(|| {
                let ns = Namespace::open(&path).unwrap();
                let id = ns.shmget(KEY, 0, 0).unwrap();
                assert_eq!(ns.shm_stat(id.raw()).unwrap().nattch, served as u64);
                assert_eq!(ns.participants().unwrap().len(), served as usize);
            })
            .end();
            assert_eq!(end, End::Exit(0));
            go.post(300);
            children.into_iter().for_each(Child::succeeds);
            std::fs::remove_dir_all(&path).unwrap();
            std::fs::remove_file(dir.join("filler")).unwrap();
        }
    });
}

/// A creation that fails for lack of room leaves no file and no page.
#[test]
fn a_namespace_that_cannot_be_created_leaves_nothing() {
    on_small_tmpfs("a_namespace_that_cannot_be_created_leaves_nothing", |dir| {
        for left in 0..6 {
            fill_up(dir, left);
            let before = (names(dir), free_pages(dir));
            let answer = Signpost::new();
            fork(|| match Namespace::create(dir.join("ns"), Kind::Private) {
                Ok(_) => answer.send_number(1),
                Err(e) => {
                    assert_eq!(e.errno(), Errno::NOSPC, "{e}");
                    answer.send_number(0);
                }
            })
            .succeeds();
            if answer.number() == 0 {
                assert_eq!((names(dir), free_pages(dir)), before, "{left} pages left");
            }
            let _ = std::fs::remove_dir_all(dir.join("ns"));
            std::fs::remove_file(dir.join("filler")).unwrap();
        }
    });
}

/// Kills a creating or removing process at each point and fills the file system. The next process
/// recovers without a free page.
#[test]
fn recovery_from_a_kill_needs_no_free_page() {
    on_small_tmpfs("recovery_from_a_kill_needs_no_free_page", |dir| {
        let path = dir.join("ns");
        for kind in [Kind::Private, Kind::Shared] {
            for removes in [false, true] {
                let prepare = || {
                    fork(|| {
                        let ns = Namespace::create(&path, kind).unwrap();
                        if removes {
                            Segment::open_or_create(&ns, KEY, 9000).unwrap();
                        }
                    })
                    .succeeds();
                };
                let victim = || {
                    let ns = Namespace::open(&path).unwrap();
                    begin();
                    if removes {
                        ns.shm_remove(Id::new(0, 0).raw()).unwrap();
                    } else {
                        ns.shmget(KEY, 9000, libc::IPC_CREAT | 0o600).unwrap();
                    }
                    finish();
                };
                prepare();
                let points = Tracee::start(victim).all_points(&mut Watch::new(&path), true);
                std::fs::remove_dir_all(&path).unwrap();
                for point in points {
                    prepare();
                    let mut tracee = Tracee::start(victim);
                    tracee.run_to(point, &mut Watch::new(&path));
                    tracee.kill();
                    fill_up(dir, 0);
                    let end = fork(|| {
                        let ns = Namespace::open(&path).unwrap();
                        ns.sweep().unwrap();
                        assert_eq!(ns.shm_usage().unwrap().segments as usize, ns.segments().unwrap().len());
                        match ns.shmget(KEY, 0, 0) {
                            Ok(id) => {
                                Segment::open_id(&ns, id).unwrap().attach().unwrap().fill(0, 9000, 1).unwrap();
                                ns.shm_remove(id.raw()).unwrap();
                            }
                            Err(e) => assert_eq!(e, Errno::NOENT),
                        }
                    })
                    .end();
                    assert_eq!(end, End::Exit(0), "{kind:?}, removes: {removes}, killed at {point:?}");
                    std::fs::remove_file(dir.join("filler")).unwrap();
                    std::fs::remove_dir_all(&path).unwrap();
                }
            }
        }
    });
}

/// Recycled memory is larger than the file size limit of the next creator. The creation works or
/// fails, without SIGXFSZ.
#[test]
fn recycled_memory_beyond_the_file_size_limit_raises_no_signal() {
    alone("recycled_memory_beyond_the_file_size_limit_raises_no_signal", |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            for limit in [0u64, 1, 4096, 8192, 65535] {
                let path = directory.join(format!("{kind:?}-{limit}"));
                fork(|| {
                    let ns = Namespace::create(&path, kind).unwrap();
                    let id = ns.shmget(KEY, 65536, libc::IPC_CREAT | 0o600).unwrap();
                    ns.shm_remove(id.raw()).unwrap();
                })
                .succeeds();
                let end = fork(|| {
                    let ns = Namespace::open(&path).unwrap();
                    let limit = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
                    // SAFETY: reads a local variable.
                    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
                    for size in [65536, 5000, 70_000] {
                        match ns.shmget(Key::PRIVATE, size, 0o600) {
                            Ok(id) => {
                                let memory = Segment::open_id(&ns, id).unwrap().attach().unwrap();
                                memory.fill(0, size as usize, 1).unwrap();
                            }
                            Err(e) => assert_eq!(e, Errno::NOMEM, "{size}"),
                        }
                    }
                })
                .end();
                assert_eq!(end, End::Exit(0), "{kind:?}, a limit of {limit} bytes");
            }
        }
    });
}
