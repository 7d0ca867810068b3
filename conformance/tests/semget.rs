//! semget(2), clause by clause.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE};

const KEY: i32 = 0x5eed;

clauses! {
    /// "returns the System V semaphore set identifier associated with the argument key".
    fn creates_and_finds(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.semget(KEY, 3, IPC_CREAT | 0o600).unwrap();
        assert!(id >= 0);
        assert_eq!(a.semget(KEY, 3, IPC_CREAT | 0o600), Ok(id));
        assert_eq!(b.semget(KEY, 3, IPC_CREAT | 0o600), Ok(id));
        assert_eq!(b.semget(KEY, 0, 0), Ok(id));
        assert_ne!(b.semget(KEY + 1, 1, IPC_CREAT | 0o600).unwrap(), id);
    }

    /// A set and a segment may have the same key.
    fn keys_per_class(world) {
        let a = world.agent();
        let segment = a.shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(a.semget(KEY, 1, 0o600), Err(Errno::NOENT));
        let set = a.semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        a.remove(segment).unwrap();
        assert_eq!(a.semget(KEY, 1, 0), Ok(set));
        assert_eq!(a.shmget(KEY, 0, 0), Err(Errno::NOENT));
    }

    /// Keys have 32 bits. All except 0 behave alike.
    fn any_key_but_zero(world) {
        let a = world.agent();
        for key in [1, -1, i32::MIN, i32::MAX, 0x0012_3456] {
            let id = a.semget(key, 1, IPC_CREAT | 0o600).unwrap();
            assert_eq!(a.sem_stat(id).unwrap().key, key);
            assert_eq!(a.semget(key, 0, 0), Ok(id));
        }
    }

    /// "ENOENT: No semaphore set exists for key and semflg did not specify IPC_CREAT."
    fn missing(world) {
        let a = world.agent();
        assert_eq!(a.semget(KEY, 1, 0o600), Err(Errno::NOENT));
        assert_eq!(a.semget(KEY, 0, 0), Err(Errno::NOENT));
        assert_eq!(a.semget(KEY, 32000, IPC_EXCL | 0o600), Err(Errno::NOENT));
    }

    /// "EEXIST: IPC_CREAT and IPC_EXCL were specified in semflg, but a semaphore set already exists
    /// for key."
    fn exclusive(world) {
        let a = world.agent();
        let id = a.semget(KEY, 2, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(a.semget(KEY, 2, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST));
        assert_eq!(a.semget(KEY, 3, IPC_CREAT | IPC_EXCL), Err(Errno::EXIST), "before the buffer is found to be too small");
        assert_eq!(a.semget(KEY, 2, IPC_EXCL | 0o600), Ok(id), "IPC_EXCL alone means nothing");
    }

    /// "If key has the value IPC_PRIVATE, ... a new semaphore set is created".
    fn private(world) {
        let a = world.agent();
        let first = a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        let second = a.semget(IPC_PRIVATE, 1, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_ne!(first, second);
        assert_eq!(a.sem_stat(first).unwrap().key, 0);
    }

    /// "EINVAL: nsems is less than 0 or greater than the limit on the number of semaphores per
    /// semaphore set (SEMMSL)". It is checked before the key.
    fn impossible_numbers(world) {
        let a = world.agent();
        a.semget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        for key in [KEY, KEY + 1, IPC_PRIVATE] {
            for flags in [0, IPC_CREAT, IPC_CREAT | IPC_EXCL] {
                for nsems in [-1, i32::MIN, 32001, i32::MAX] {
                    assert_eq!(a.semget(key, nsems, flags | 0o600), Err(Errno::INVAL), "{key} {nsems} {flags:#o}");
                }
            }
        }
    }

    /// "nsems ... may be 0 (a don't care) when a semaphore set is not being created. Otherwise,
    /// nsems must be greater than 0".
    fn number_of_a_new_set(world) {
        let a = world.agent();
        for key in [KEY, IPC_PRIVATE] {
            assert_eq!(a.semget(key, 0, IPC_CREAT | 0o600), Err(Errno::INVAL));
        }
        assert_eq!(a.semget(KEY, 0, 0), Err(Errno::NOENT));
        let id = a.semget(KEY, 32000, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.sem_stat(id).unwrap().nsems, 32000);
        assert_eq!(a.getval(id, 31999), Ok(0));
        assert_eq!(a.getval(id, 32000), Err(Errno::INVAL));
    }

    /// "EINVAL: A semaphore set corresponding to key already exists, but nsems is larger than the
    /// number of semaphores in that set."
    fn number_of_an_existing_set(world) {
        let a = world.agent();
        let id = a.semget(KEY, 3, IPC_CREAT | 0o600).unwrap();
        for (nsems, expected) in [(0, Ok(id)), (1, Ok(id)), (3, Ok(id)), (4, Err(Errno::INVAL)), (32000, Err(Errno::INVAL))] {
            assert_eq!(a.semget(KEY, nsems, 0o600), expected, "{nsems}");
            assert_eq!(a.semget(KEY, nsems, IPC_CREAT | 0o600), expected, "{nsems}");
        }
    }

    /// "When a new semaphore set is created, semget() initializes the set's associated data
    /// structure": all fields.
    fn initial_state(world) {
        let a = world.agent();
        let start = Clock::now();
        let id = a.semget(KEY, 3, IPC_CREAT | 0o640).unwrap();
        let s = a.sem_stat(id).unwrap();
        assert!(start.saw(s.ctime), "\"sem_ctime is set to the current time\"");
        let (uid, gid) = world.user();
        let seq = (id as u32 >> 15) & 0xffff;
        let expected = Set { id, key: KEY, uid, gid, cuid: uid, cgid: gid, mode: 0o640, seq, otime: 0, ctime: s.ctime, nsems: 3 };
        assert_eq!(s, expected);
        let nothing = vec![0; 3];
        assert_eq!(a.semaphores(id), Ok(Semaphores { values: vec![0; 3], pids: nothing.clone(), ncnt: nothing.clone(), zcnt: nothing }));
    }

    /// "The values of the semaphores in a newly created set are indeterminate". On Linux they are
    /// 0, even if the set reuses an index.
    fn initial_values(world) {
        let a = world.agent();
        let first = a.semget(KEY, 2, IPC_CREAT | 0o600).unwrap();
        a.setall(first, &[7, 8]).unwrap();
        a.semop(first, &[op(0, 1).flags(UNDO)]).unwrap();
        a.sem_remove(first).unwrap();
        let second = a.semget(KEY, 3, IPC_CREAT | 0o600).unwrap();
        let nothing = vec![0; 3];
        assert_eq!(a.semaphores(second), Ok(Semaphores { values: vec![0; 3], pids: nothing.clone(), ncnt: nothing.clone(), zcnt: nothing }));
        assert_eq!(a.sem_stat(second).map(|s| s.otime), Ok(0));
    }

    /// Only "the least significant 9 bits of semflg" are the mode; execute bits are kept; unknown
    /// flags are ignored.
    fn modes(world) {
        let a = world.agent();
        for mode in [0, 0o600, 0o777, 0o123, 0o001] {
            let id = a.semget(IPC_PRIVATE, 1, mode | 0o170_000).unwrap();
            assert_eq!(a.sem_stat_any(id & 0x7fff).map(|s| s.mode), Ok(mode as u32));
        }
        a.ask("umask 63").unwrap();
        let id = a.semget(IPC_PRIVATE, 1, 0o666).unwrap();
        assert_eq!(a.sem_stat(id).map(|s| s.mode), Ok(0o666), "the umask plays no part");
    }

    /// "EACCES: A semaphore set exists for key, but the calling process does not have permission to
    /// access the set".
    fn permission(world) {
        let a = world.ordinary();
        let id = a.semget(KEY, 2, IPC_CREAT | 0o400).unwrap();
        assert_eq!(a.semget(KEY, 2, 0o400), Ok(id));
        assert_eq!(a.semget(KEY, 2, 0), Ok(id), "asking for nothing is granted");
        assert_eq!(a.semget(KEY, 2, 0o600), Err(Errno::ACCES));
        assert_eq!(a.semget(KEY, 2, 0o020), Err(Errno::ACCES), "all three classes are folded together");
        assert_eq!(a.semget(KEY, 3, 0o600), Err(Errno::INVAL), "the number comes first");
        assert_eq!(a.semget(KEY, 2, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST));
    }

    /// Sets of other users. The superuser has all permissions.
    fn permission_for_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, STRANGER, &[NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let id = owner.semget(KEY, 1, IPC_CREAT | 0o640).unwrap();
        assert_eq!(member.semget(KEY, 1, 0o440), Ok(id));
        assert_eq!(member.semget(KEY, 1, 0o600), Err(Errno::ACCES));
        assert_eq!(other.semget(KEY, 1, 0o400), Err(Errno::ACCES));
        assert_eq!(other.semget(KEY, 1, 0), Ok(id));
        assert_eq!(world.agent().semget(KEY, 1, 0o777), Ok(id));
    }

    /// "ENOSPC: ... the system limit for the maximum number of semaphore sets (SEMMNI) ... would be
    /// exceeded".
    fn number_of_sets(world) {
        if !world.limit("semmni", 2) {
            return;
        }
        let a = world.agent();
        let id = a.semget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_eq!(a.semget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
        assert_eq!(a.semget(KEY + 1, 1, IPC_CREAT | 0o600), Err(Errno::NOSPC));
        assert_eq!(a.semget(IPC_PRIVATE, 0, 0o600), Err(Errno::INVAL), "before the limits");
        assert_eq!(a.semget(KEY, 1, IPC_CREAT | 0o600), Ok(id), "what is there is found");
        a.sem_remove(id).unwrap();
        a.semget(KEY, 1, IPC_CREAT | 0o600).unwrap();
    }

    /// The limit on sets does not count segments, and vice versa.
    fn limits_per_class(world) {
        if !world.limit("semmni", 1) {
            return;
        }
        assert!(world.limit("shmmni", 1));
        let a = world.agent();
        a.shmget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        a.semget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.shmget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
        assert_eq!(a.semget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
    }

    /// "ENOSPC: ... or the system wide maximum number of semaphores (SEMMNS), would be exceeded."
    fn number_of_semaphores(world) {
        if !world.limit("semmns", 5) {
            return;
        }
        let a = world.agent();
        assert_eq!(a.semget(IPC_PRIVATE, 6, 0o600), Err(Errno::NOSPC));
        let id = a.semget(KEY, 3, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.semget(IPC_PRIVATE, 3, 0o600), Err(Errno::NOSPC));
        a.semget(IPC_PRIVATE, 2, 0o600).unwrap();
        assert_eq!(a.semget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
        a.sem_remove(id).unwrap();
        a.semget(IPC_PRIVATE, 3, 0o600).unwrap();
    }

    /// A lowered SEMMSL hides a larger set only from calls that state its size.
    fn lowered_semmsl(world) {
        let a = world.agent();
        let id = a.semget(KEY, 5, IPC_CREAT | 0o600).unwrap();
        if !world.limit("semmsl", 2) {
            return;
        }
        assert_eq!(a.semget(KEY, 5, 0), Err(Errno::INVAL));
        assert_eq!(a.semget(KEY, 2, 0), Ok(id));
        assert_eq!(a.semget(IPC_PRIVATE, 3, 0o600), Err(Errno::INVAL));
        a.semget(IPC_PRIVATE, 2, 0o600).unwrap();
        assert_eq!(a.setval(id, 4, 1), Ok(()));
    }

    /// proc(5): `sem_next_id` "specifies the desired ID for the next allocated" set. It applies to
    /// one creation.
    fn next_id(world) {
        if !world.limit("sem_next_id", 7 << 15 | 5) {
            return;
        }
        let a = world.agent();
        a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        let id = a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_eq!((id, a.sem_stat(id).map(|s| s.seq)), (7 << 15 | 5, Ok(7)));
        assert_ne!(a.semget(IPC_PRIVATE, 1, 0o600).unwrap() & 0x7fff, 5);
        assert!(world.limit("sem_next_id", 9 << 15 | 5));
        let other = a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_ne!(other & 0x7fff, 5, "if its index is taken, another is used");
        assert_eq!(a.sem_stat(id).map(|s| s.id), Ok(id));
    }

    /// An identifier is not reused at once.
    fn identifiers_are_not_reused(world) {
        let a = world.agent();
        let mut observed = std::collections::HashSet::new();
        for _ in 0..100 {
            let id = a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
            assert!(observed.insert(id), "{id}");
            a.sem_remove(id).unwrap();
        }
        for id in observed {
            assert_eq!(a.getval(id, 0), Err(Errno::INVAL));
        }
    }
}
