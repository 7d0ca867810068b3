//! The safe interface of segments, the state that a namespace reports, and error messages.
//!
//! Tests run in a directory and, if an IPC namespace can be created, in the kernel.
//!
//! # Safety
//!
//! The raw calls get flags, strings and pointers to local variables. Environment variables change
//! only while other threads block.
#![allow(unsafe_code)]

use crash::support;

use quintet::{
    Errno, Id, Key, Kind, Limits, MessageQueue, ModeFlags, Namespace, Segment, Select, SemFlags, SemOp, SemaphoreSet,
    SemaphoreStatus,
};
use std::error::Error as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Signpost, alone, become_user, fork, is_root, on_both, open_to_all, until};

const KEY: Key = Key::new(0x5e61);
const OTHER: Key = Key::new(0x5e62);

fn failed<T>(result: quintet::Result<T>) -> (Errno, String) {
    let error = result.err().expect("an error");
    assert_eq!(error.source().unwrap().downcast_ref(), Some(&error.errno()));
    (error.errno(), error.to_string())
}

#[test]
fn bytes_of_any_length_can_be_written_at_any_offset() {
    on_both("bytes_of_any_length_can_be_written_at_any_offset", |ns| {
        let segment = Segment::options().mode(0o640).exclusive().create(ns, KEY, 5000).unwrap();
        let id = segment.id();
        let memory = segment.attach().unwrap();
        assert_eq!((memory.len(), memory.is_empty(), memory.is_read_only(), memory.segment().id()), (5000, false, false, id));
        assert_eq!(format!("{memory:?}"), format!("Attachment {{ segment: {id:?}, len: 5000, read_only: false }}"));
        let mut expected = vec![0; 64];
        for (offset, len) in (0..9).flat_map(|offset| (0..=24).map(move |len| (offset, len))) {
            let bytes: Vec<u8> = (0..len).map(|n| (offset * 31 + len + n * 7 + 1) as u8).collect();
            memory.write(offset, &bytes).unwrap();
            expected[offset..offset + len].copy_from_slice(&bytes);
            let mut back = vec![0; len];
            memory.read(offset, &mut back).unwrap();
            assert_eq!(back, bytes, "{len} at {offset}");
            assert_eq!(memory.to_vec(0..64).unwrap(), expected, "{len} at {offset}");
        }
        memory.cell::<u16>(4098).unwrap().store(0x1234).unwrap();
        memory.atomic_i64(4104).unwrap().store(-5, SeqCst);
        let reader = segment.attach_read_only().unwrap();
        assert!(reader.is_read_only());
        assert_eq!(reader.cell::<u16>(4098).unwrap().load(), 0x1234);
        assert_eq!(reader.cell::<i64>(4104).unwrap().load(), -5);
        let access = |offset, len| format!("cannot access {len} bytes at offset {offset} of segment {id}");
        let refused = [
            (failed(memory.write(4999, b"no")), Errno::INVAL, format!("{}: it has 5000 bytes (EINVAL)", access(4999, 2))),
            (failed(memory.read(usize::MAX, &mut [0])), Errno::INVAL, format!("{}: it has 5000", access(usize::MAX, 1))),
            (failed(memory.atomic_u32(2)), Errno::INVAL, format!("{}: the offset must be a multiple of 4", access(2, 4))),
            (failed(reader.write(0, b"no")), Errno::ACCES, format!("cannot write segment {id}: it is attached for reading only")),
            (failed(reader.atomic_u8(0)), Errno::ACCES, format!("cannot write segment {id}: it is attached for reading only")),
            (failed(reader.cell::<u8>(0).unwrap().store(1)), Errno::ACCES, "cannot write the cell: the segment is".to_owned()),
        ];
        for ((errno, said), expected, begin) in refused {
            assert!(errno == expected && said.starts_with(&begin), "{said}, not {begin}");
        }
        assert_eq!(segment.stat().unwrap().nattch, 2);
        reader.detach().unwrap();
        segment.remove().unwrap();
        // The segment exists until its last process detaches it.
        let stat = segment.stat().unwrap();
        assert_eq!((stat.nattch, stat.flags, stat.key), (1, ModeFlags::DEST, Key::PRIVATE));
        memory.write(0, b"still").unwrap();
        drop(memory);
        assert_eq!(
            failed(segment.stat()),
            (Errno::INVAL, format!("cannot read the state of segment {id}: it does not exist (any more) (EINVAL)"))
        );
    });
}

#[test]
fn a_segment_reports_changes_to_its_state() {
    on_both("a_segment_reports_changes_to_its_state", |ns| {
        let segment = Segment::options().no_reserve().create(ns, KEY, 10_000).unwrap();
        let (me, old) = (std::process::id() as i32, segment.stat().unwrap());
        assert_eq!((old.perm.mode, old.size, old.cpid, old.lpid, old.atime), (0o600, 10_000, me, 0, 0));
        segment.set_permissions(old.perm.uid, old.perm.gid, 0o7644).unwrap();
        assert_eq!(segment.stat().unwrap().perm, quintet::Permissions { mode: 0o644, ..old.perm });
        segment.set_locked(true).unwrap();
        assert_eq!(segment.stat().unwrap().flags, ModeFlags::LOCKED);
        let memory = segment.attach().unwrap();
        memory.write(0, &[1; 10_000]).unwrap();
        segment.set_locked(false).unwrap();
        assert_eq!(segment.stat().unwrap().flags, ModeFlags::empty());
        let again = Segment::open_id(ns, segment.id()).unwrap();
        assert_eq!(again.stat().unwrap(), segment.stat().unwrap());
        let (errno, said) = failed(segment.set_permissions(u32::MAX, 0, 0o600));
        assert_eq!(errno, Errno::INVAL);
        assert!(said.ends_with("it does not exist (any more), or an id is -1 (EINVAL)"), "{said}");
        let stale = Id::new(segment.id().sequence() + 1, segment.id().index());
        assert_eq!(
            failed(Segment::open_id(ns, stale)).1,
            format!("cannot open segment {stale}: there is none with this identifier (EINVAL)")
        );
        memory.detach().unwrap();
        segment.remove().unwrap();
    });
}

#[test]
fn a_namespace_reports_its_objects_and_usage() {
    on_both("a_namespace_reports_its_objects_and_usage", |ns| {
        let me = std::process::id() as i32;
        let empty = (ns.shm_usage().unwrap(), ns.sem_usage().unwrap(), ns.msg_usage().unwrap());
        assert_eq!((empty.0.segments, empty.0.pages, empty.1.sets, empty.1.semaphores, empty.2.queues), (0, 0, 0, 0, 0));
        assert!(ns.segments().unwrap().is_empty() && ns.sets().unwrap().is_empty() && ns.queues().unwrap().is_empty());
        let memory = Segment::open_or_create(ns, KEY, 12_000).unwrap().attach().unwrap();
        memory.write(0, &[1; 12_000]).unwrap();
        let usage = ns.shm_usage().unwrap();
        assert_eq!((usage.segments, usage.pages, usage.resident, usage.max_index), (1, 3, 3, 0));
        let [segment] = &ns.segments().unwrap()[..] else { panic!("one segment") };
        assert_eq!((segment.stat.size, segment.stat.nattch, segment.resident, segment.orphan), (12_000, 1, 12_288, false));
        let mine: Vec<_> = segment.attached.iter().filter(|attacher| attacher.pid == me).collect();
        assert_eq!(mine.iter().map(|attacher| (attacher.count, attacher.pid_visible)).collect::<Vec<_>>(), [(1, true)]);

        let set = SemaphoreSet::open_or_create(ns, KEY, &[3, 5]).unwrap();
        let child = fork(|| set.op(&[SemOp::new(1, 0)]).unwrap());
        until("a call blocks for zero", || set.waiting_for_zero(1).unwrap() == 1);
        let usage = ns.sem_usage().unwrap();
        assert_eq!((usage.sets, usage.semaphores, usage.max_index), (1, 2, 0));
        let [status] = &ns.sets().unwrap()[..] else { panic!("one set") };
        let expected = |value, waiting_for_zero| SemaphoreStatus { value, pid: me, waiting: 0, waiting_for_zero };
        assert_eq!((status.stat.nsems, &status.semaphores[..]), (2, &[expected(3, 0), expected(5, 1)][..]));
        assert_eq!(status.waiters.len(), usize::from(ns.path().is_some()));
        set.set_value(1, 0).unwrap();
        child.succeeds();
        assert_eq!(failed(set.waiting_for_zero(2)).0, Errno::INVAL);

        let queue = MessageQueue::create_new(ns, KEY).unwrap();
        queue.send(4, b"four").unwrap();
        queue.send(1, b"one").unwrap();
        let usage = ns.msg_usage().unwrap();
        assert_eq!((usage.queues, usage.messages, usage.bytes, usage.max_index), (1, 2, 7, 0));
        let [status] = &ns.queues().unwrap()[..] else { panic!("one queue") };
        assert_eq!((status.stat.messages, status.stat.bytes, status.waiters.len(), status.orphan), (2, 7, 0, false));
        assert_eq!(queue.receive(Select::LowestUpTo(9)).unwrap().data, b"one");

        let wanted = Id::new(77, 5);
        let asked = ns.set_shm_next_id(Some(wanted)).and(ns.set_sem_next_id(Some(wanted))).and(ns.set_msg_next_id(Some(wanted)));
        match asked {
            Ok(()) => {
                assert_eq!([ns.shm_next_id(), ns.sem_next_id(), ns.msg_next_id()], [Ok(Some(wanted)); 3]);
                let made = [
                    ns.shmget(OTHER, 1, libc::IPC_CREAT | 0o600),
                    ns.semget(OTHER, 1, libc::IPC_CREAT | 0o600),
                    ns.msgget(OTHER, libc::IPC_CREAT | 0o600),
                ];
                assert_eq!(made, [Ok(wanted); 3]);
                assert_eq!([ns.shm_next_id(), ns.sem_next_id(), ns.msg_next_id()], [Ok(None); 3]);
                assert_eq!(ns.shm_usage().unwrap().max_index, 5);
            }
            Err(e) => println!("skipped: identifiers that were asked for: {e}"),
        }
        let limits = Limits { shmmni: 17, semmni: 18, msgmax: 4000, ..ns.limits().unwrap() };
        match ns.set_limits(&limits) {
            Ok(()) => assert_eq!(ns.limits().unwrap(), limits),
            Err(e) => println!("skipped: limits: {e}"),
        }
        assert_eq!(ns.sweep(), Ok(()));
        if ns.path().is_none() {
            assert_eq!((ns.kind(), format!("{ns:?}")), (Kind::Shared, "Namespace(kernel)".to_owned()));
            assert_eq!(ns.participants().unwrap(), []);
            assert_eq!(failed(ns.clone().destroy(true)).1, "cannot remove the kernel's namespace: invalid argument (EINVAL)");
        } else {
            assert_eq!(ns.participants().unwrap().iter().map(|one| one.pid).collect::<Vec<_>>(), [me]);
            let (errno, said) = failed(ns.clone().destroy(false));
            assert_eq!(errno, Errno::BUSY);
            assert!(said.contains("1 process uses it (EBUSY); end the processes first, or run"), "{said}");
        }
    });
}

#[test]
fn error_messages_name_the_reason_and_a_hint() {
    alone("error_messages_name_the_reason_and_a_hint", |directory| {
        let ns = Namespace::create(directory.join("ns"), Kind::Shared).unwrap();
        open_to_all(directory);
        assert_eq!(ns.limits().unwrap(), Limits::default());
        let few = Limits { shmmax: 9000, shmmni: 1, semmni: 1, semmsl: 3, msgmni: 1, msgmax: 10, ..Limits::DEFAULT };
        ns.set_limits(&few).unwrap();
        let (segment, set, queue) = (
            Segment::open_or_create(&ns, KEY, 100).unwrap(),
            SemaphoreSet::open_or_create(&ns, KEY, &[1, 2]).unwrap(),
            MessageQueue::create_new(&ns, KEY).unwrap(),
        );
        let limits = "namespace limits' shows both";
        let said = |result: (Errno, String), errno: Errno, why: &str, hint: &str| {
            let sentence = &result.1;
            assert!(result.0 == errno && sentence.contains(why) && sentence.contains(hint), "{sentence}, not {why} and {hint}");
        };
        let shm = |key, size| failed(Segment::open_or_create(&ns, key, size));
        said(
            shm(OTHER, 0),
            Errno::INVAL,
            "cannot create a segment of 0 bytes with key 0x00005e62: a segment has at least 1 byte",
            "",
        );
        said(shm(OTHER, 9001), Errno::INVAL, "the limit shmmax is 9000 bytes", "namespace limits --shmmax 9001'");
        said(shm(KEY, 101), Errno::INVAL, "a smaller segment has this key", "");
        said(
            shm(OTHER, 1),
            Errno::NOSPC,
            "the limit shmmni (1 segments) or shmall (18446744073692774399 pages) is reached",
            limits,
        );
        said(failed(Segment::create_new(&ns, KEY, 1)), Errno::EXIST, "the key is in use", "");
        let sem = |key, values: &[u16]| failed(SemaphoreSet::options().mode(0o600).create(&ns, key, values));
        said(sem(OTHER, &[]), Errno::INVAL, "a set has at least 1 semaphore", "");
        said(sem(OTHER, &[0; 4]), Errno::INVAL, "the limit semmsl is 3 semaphores", "namespace limits --semmsl 4'");
        said(sem(KEY, &[0; 3]), Errno::INVAL, "a set of fewer semaphores has this key", "");
        said(sem(OTHER, &[32768]), Errno::RANGE, "a value is at most 32767", "");
        said(sem(OTHER, &[0]), Errno::NOSPC, "the limit semmni (1 sets) or semmns (1024000000 semaphores) is reached", limits);
        let msg = failed(MessageQueue::options().mode(0o600).capacity(100).create(&ns, OTHER));
        said(msg, Errno::NOSPC, "the limit msgmni (1 queues) is reached", "namespace limits --msgmni 2'");
        said(
            failed(queue.send(1, &[0; 11])),
            Errno::INVAL,
            "11 bytes are more than the limit msgmax, 10",
            "namespace limits --msgmax 11'",
        );
        said(failed(set.op(&[SemOp::new(0, 32767), SemOp::new(1, 1)])), Errno::RANGE, "a value would not be in 0..=32767", "");
        // With a limit of the process on the size of files.
        fork(|| {
            let (set, queue) = (SemaphoreSet::open(&ns, KEY).unwrap(), MessageQueue::open(&ns, KEY).unwrap());
            let few = libc::rlimit { rlim_cur: 12 << 10, rlim_max: 12 << 10 };
            // SAFETY: points to a local variable.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const few) }, 0);
            let undo = failed(set.op(&[SemOp::new(0, 1).flags(SemFlags::UNDO)]));
            said(undo, Errno::NOMEM, "there is no room for the waiting call, or for what SEM_UNDO must remember", "");
            let refused = (0..1000).find_map(|_| queue.send(1, b"").err()).expect("it is full");
            let refused = (refused.errno(), refused.to_string());
            said(
                refused,
                Errno::NOMEM,
                "the file system of the namespace has no room for the message",
                "doctor' shows how much room there is",
            );
            let waiting = failed(queue.receive_timeout(Select::Type(2), Duration::from_secs(60)));
            said(waiting, Errno::NOMEM, "there is no memory for the message, or no room for the waiting call", "");
            assert_eq!(set.values().unwrap(), [1, 2]);
            assert_eq!(queue.receive(Select::First).unwrap().mtype, 1);
        })
        .succeeds();
        // Another queue has the index of a removed one.
        let old = MessageQueue::private(&Namespace::create(directory.join("further"), Kind::Private).unwrap()).unwrap();
        old.remove().unwrap();
        MessageQueue::private(old.namespace()).unwrap();
        said(failed(old.set_capacity(100)), Errno::INVAL, "it does not exist (any more)", "");
        // Without permission.
        if !is_root() {
            println!("skipped: changing users needs root");
            return;
        }
        segment.attach().unwrap().write(0, b"secret").unwrap();
        ns.set_limits(&Limits::DEFAULT).unwrap();
        let ready = Signpost::new();
        let last = fork(|| {
            let removed = Segment::open_or_create(&ns, OTHER, 1).unwrap();
            let _attached = removed.attach().unwrap();
            removed.remove().unwrap();
            assert_eq!(removed.stat().unwrap().nattch, 1);
            ready.send_number(removed.id().raw().into());
            support::sleep_for_ever();
        });
        let removed = ready.number() as i32;
        last.kill();
        let path = ns.path().unwrap().to_owned();
        fork(|| {
            become_user(65534);
            let ns = Namespace::open(&path).unwrap();
            // A user that may not reap a destroyed segment does not find it, either.
            assert_eq!(ns.shm_stat(removed), Err(Errno::INVAL));
            let hint = "' shows owner and mode";
            let not_granted = |result: (Errno, String)| said(result, Errno::ACCES, "its mode does not grant this (EACCES)", hint);
            not_granted(failed(Segment::open_or_create(&ns, KEY, 1)));
            let segment = Segment::open_id(&ns, segment.id()).unwrap();
            not_granted(failed(segment.attach()));
            not_granted(failed(segment.stat()));
            not_granted(failed(MessageQueue::open_id(&ns, queue.id()).unwrap().messages()));
            said(failed(segment.remove()), Errno::PERM, "only its owner or creator may do this", "");
            assert_eq!(ns.set_limits(&few), Err(Errno::PERM));
            assert_eq!(ns.set_shm_next_id(None), Err(Errno::PERM));
            said(failed(ns.destroy(true)), Errno::PERM, "it belongs to another user", "");
        })
        .succeeds();
        assert_eq!(segment.attach().unwrap().to_vec(0..6).unwrap(), b"secret");
    });
}

/// Segments that only killed processes used count until the next creation needs their place.
#[test]
fn segments_of_killed_processes_do_not_count_against_limits() {
    alone("segments_of_killed_processes_do_not_count_against_limits", |directory| {
        let ns = Namespace::create(directory.join("ns"), Kind::Private).unwrap();
        for limits in [Limits { shmall: 3, ..Limits::DEFAULT }, Limits { shmmni: 1, ..Limits::DEFAULT }] {
            ns.set_limits(&limits).unwrap();
            let ready = Signpost::new();
            let child = fork(|| {
                let segment = Segment::open_or_create(&ns, KEY, 12_000).unwrap();
                let _attached = segment.attach().unwrap();
                segment.remove().unwrap();
                ready.post(1);
                support::sleep_for_ever();
            });
            ready.wait();
            let usage = |ns: &Namespace| ns.shm_usage().map(|usage| (usage.segments, usage.pages)).unwrap();
            assert_eq!((usage(&ns), failed(Segment::open_or_create(&ns, KEY, 12_000)).0), ((1, 3), Errno::NOSPC));
            child.kill();
            let next = Segment::create_new(&ns, KEY, 12_000).unwrap();
            assert_eq!(usage(&ns), (1, 3));
            next.remove().unwrap();
        }
    });
}

/// The path of the default namespace depends on the environment and on the directories that exist.
#[test]
fn the_default_path_without_dev_shm_comes_from_the_environment() {
    alone("the_default_path_without_dev_shm_comes_from_the_environment", |_| {
        // SAFETY: a flag and strings; the mount namespace belongs to this process.
        let hidden = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    c"none".as_ptr(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(c"tmpfs".as_ptr(), c"/dev".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) == 0
        };
        if !hidden {
            println!("skipped: /dev/shm cannot be hidden: {}", std::io::Error::last_os_error());
            return;
        }
        let uid = std::fs::metadata("/proc/self").unwrap().uid();
        assert!(!Path::new("/dev/shm").exists());
        let set = |name: &str, value: &str| {
            // SAFETY: no other thread uses the environment.
            unsafe { std::env::set_var(name, value) }
        };
        set("QUINTET_NAMESPACE", "/some/where");
        assert_eq!(Namespace::default_path(), Path::new("/some/where"));
        set("QUINTET_NAMESPACE", "");
        set("TMPDIR", "/elsewhere");
        // A path relative to the working directory is not used.
        set("XDG_RUNTIME_DIR", "run");
        assert_eq!(Namespace::default_path(), Path::new(&format!("/elsewhere/quintet-{uid}")));
        set("XDG_RUNTIME_DIR", "/run/user/1");
        assert_eq!(Namespace::default_path(), Path::new("/run/user/1/quintet"));
    });
}
