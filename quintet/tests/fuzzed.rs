//! One test for each defect that fuzzing has found.

use quintet::{Errno, Id, Key, Kind, Limits, Namespace};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

/// More than any machine has.
const TOO_MUCH: u64 = 1 << 50;

#[test]
fn a_failed_creation_keeps_the_requested_identifier() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::create(dir.path().join("ns"), Kind::Private).unwrap();
    let asked = Id::new(7, 3);
    ns.set_shm_next_id(Some(asked)).unwrap();
    assert_eq!(ns.shmget(Key::PRIVATE, TOO_MUCH, 0o600), Err(Errno::NOMEM));
    assert_eq!(ns.shm_next_id(), Ok(Some(asked)));
    assert_eq!(ns.shmget(Key::PRIVATE, 1, 0o600), Ok(asked));
    assert_eq!(ns.shm_next_id(), Ok(None));
}

#[test]
fn opening_a_damaged_namespace_leaves_nothing_mapped() {
    let dir = tempfile::tempdir().unwrap();
    for (file, at) in [("namespace", 0), ("namespace", 8), ("registry", 0)] {
        let path = dir.path().join(format!("{file}-{at}"));
        // Another process creates it, because the process that creates a namespace keeps it mapped.
        let made = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["creates_a_namespace_for_its_parent", "--exact", "--ignored"])
            .env("QUINTET_TEST_NAMESPACE", &path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let damaged = std::fs::File::options().write(true).open(path.join(file)).unwrap();
        damaged.write_all_at(&[0xff], at).unwrap();
        let errno = Namespace::open(&path).unwrap_err().errno();
        assert_eq!(errno, Errno::BADMSG);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(path.to_str().unwrap()), "{maps}");
    }
}

#[test]
#[ignore = "runs as a child of another test"]
fn creates_a_namespace_for_its_parent() {
    if let Some(path) = std::env::var_os("QUINTET_TEST_NAMESPACE") {
        Namespace::create(path, Kind::Private).unwrap();
    }
}

#[test]
fn usage_reports_the_highest_index_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let ns = Namespace::create(dir.path().join("ns"), Kind::Private).unwrap();
    let highest = || ns.sem_usage().unwrap().max_index;
    assert_eq!(highest(), 0);
    for index in [0, 63, 64, 127, 32767] {
        ns.set_sem_next_id(Some(Id::new(1, index))).unwrap();
        let id = ns.semget(Key::PRIVATE, 1, 0o600).unwrap();
        assert_eq!((id, highest()), (Id::new(1, index), u32::from(index)));
    }
    ns.sem_remove(Id::new(1, 32767).raw()).unwrap();
    assert_eq!(highest(), 127);
}

#[test]
fn listing_frees_the_index_of_a_segment_whose_last_user_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, forced) in [(Kind::Private, true), (Kind::Shared, true), (Kind::Private, false), (Kind::Shared, false)] {
        let path = dir.path().join(format!("{kind:?}-{forced}"));
        let ns = Namespace::create(&path, kind).unwrap();
        ns.set_limits(&Limits { shm_rmid_forced: forced, ..Limits::DEFAULT }).unwrap();
        let id = ns.shmget(Key::new(1), 4096, libc::IPC_CREAT | 0o600).unwrap();
        assert_eq!(id, Id::new(0, 0));
        let user = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["attaches_a_segment_and_is_killed", "--exact", "--ignored"])
            .env("QUINTET_TEST_NAMESPACE", &path)
            .env("QUINTET_TEST_REMOVES", if forced { "no" } else { "yes" })
            .output()
            .unwrap();
        assert_eq!(user.status.signal(), Some(libc::SIGKILL), "{user:?}");
        // The segment cannot be found any more, but its index is not free yet.
        let before = ns.shmget(Key::PRIVATE, 4096, 0o600).unwrap();
        assert_eq!(before, Id::new(0, 1), "{kind:?} {forced}");
        assert_eq!(ns.shmget(Key::new(1), 0, 0), Err(Errno::NOENT));
        let listed: Vec<Id> = ns.segments().unwrap().iter().map(|segment| segment.stat.id).collect();
        assert_eq!(listed, [before]);
        assert_eq!(ns.shmget(Key::PRIVATE, 4096, 0o600), Ok(Id::new(1, 0)));
    }
}

#[test]
#[ignore = "runs as a child of another test"]
fn attaches_a_segment_and_is_killed() {
    let Some(path) = std::env::var_os("QUINTET_TEST_NAMESPACE") else { return };
    let ns = Namespace::open(path).unwrap();
    let id = ns.shmget(Key::new(1), 0, 0).unwrap().raw();
    #[allow(unsafe_code)]
    // SAFETY: without SHM_REMAP nothing is replaced; the process's own signal.
    unsafe {
        ns.shmat(id, 0, 0).unwrap();
        if std::env::var("QUINTET_TEST_REMOVES").unwrap() == "yes" {
            ns.shm_remove(id).unwrap();
        }
        libc::raise(libc::SIGKILL);
    }
}
