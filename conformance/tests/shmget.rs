//! shmget(2), clause by clause.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, SHM_NORESERVE};

const KEY: i32 = 0x5eed;
const HUGEST: u64 = u64::MAX;

clauses! {
    /// "The value shmflg is composed of: IPC_CREAT: Create a new segment."
    fn creates_and_finds(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.shmget(KEY, 4096, IPC_CREAT | 0o600).unwrap();
        assert!(id >= 0);
        assert_eq!(a.shmget(KEY, 4096, IPC_CREAT | 0o600), Ok(id));
        assert_eq!(b.shmget(KEY, 4096, IPC_CREAT | 0o600), Ok(id));
        assert_eq!(b.shmget(KEY, 0, 0), Ok(id));
        assert_ne!(b.shmget(KEY + 1, 1, IPC_CREAT | 0o600).unwrap(), id);
    }

    /// Keys have 32 bits. All except 0 behave alike.
    fn any_key_but_zero(world) {
        let a = world.agent();
        for key in [1, -1, i32::MIN, i32::MAX, 0x0012_3456] {
            let id = a.shmget(key, 1, IPC_CREAT | 0o600).unwrap();
            assert_eq!(a.stat(id).unwrap().key, key);
            assert_eq!(a.shmget(key, 0, 0), Ok(id));
        }
    }

    /// "ENOENT: No segment exists for the given key, and IPC_CREAT was not specified."
    fn missing(world) {
        let a = world.agent();
        assert_eq!(a.shmget(KEY, 4096, 0o600), Err(Errno::NOENT));
        assert_eq!(a.shmget(KEY, 0, 0), Err(Errno::NOENT));
        assert_eq!(a.shmget(KEY, HUGEST, IPC_EXCL | 0o600), Err(Errno::NOENT), "before the size is checked");
    }

    /// "EEXIST: IPC_CREAT and IPC_EXCL were specified in shmflg, but a segment already exists for
    /// key."
    fn exclusive(world) {
        let a = world.agent();
        let id = a.shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(a.shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST));
        assert_eq!(a.shmget(KEY, HUGEST, IPC_CREAT | IPC_EXCL), Err(Errno::EXIST), "before the size is checked");
        assert_eq!(a.shmget(KEY, 4096, IPC_EXCL | 0o600), Ok(id), "IPC_EXCL alone means nothing");
    }

    /// "If this special value is used for key, the system call ... creates a new shared memory
    /// segment."
    fn private(world) {
        let a = world.agent();
        let first = a.shmget(IPC_PRIVATE, 4096, 0o600).unwrap();
        let second = a.shmget(IPC_PRIVATE, 4096, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_ne!(first, second);
        assert_eq!(a.stat(first).unwrap().key, 0);
    }

    /// "EINVAL: A new segment was to be created and size is less than SHMMIN or greater than
    /// SHMMAX."
    fn size_of_a_new_segment(world) {
        let a = world.agent();
        for key in [KEY, IPC_PRIVATE] {
            assert_eq!(a.shmget(key, 0, IPC_CREAT | 0o600), Err(Errno::INVAL));
            assert_eq!(a.shmget(key, HUGEST, IPC_CREAT | 0o600), Err(Errno::INVAL));
        }
        assert_eq!(a.shmget(KEY, 0, 0), Err(Errno::NOENT), "nothing has been created");
    }

    /// shm_segsz "is set to the value of size", not rounded.
    fn size_is_as_asked_for(world) {
        let a = world.agent();
        for size in [1, 4095, 4096, 4097, 1 << 20] {
            let id = a.shmget(IPC_PRIVATE, size, 0o600).unwrap();
            assert_eq!(a.stat(id).unwrap().size, size);
        }
    }

    /// "A new segment, with size equal to the value of size rounded up to a multiple of PAGE_SIZE".
    fn memory_is_whole_pages(world) {
        let a = world.agent();
        let id = a.shmget(IPC_PRIVATE, 4097, 0o600).unwrap();
        let at = a.attach(id, 0);
        a.poke(at.plus(8191), 7).unwrap();
        assert_eq!(a.peek(at.plus(8191)), Ok(7));
    }

    /// "EINVAL: A segment for the given key exists, but size is greater than the size of that
    /// segment."
    fn size_of_an_existing_segment(world) {
        let a = world.agent();
        let id = a.shmget(KEY, 100, IPC_CREAT | 0o600).unwrap();
        for size in [0, 1, 99, 100] {
            assert_eq!(a.shmget(KEY, size, 0o600), Ok(id));
            assert_eq!(a.shmget(KEY, size, IPC_CREAT | 0o600), Ok(id));
        }
        for size in [101, 4096, HUGEST] {
            assert_eq!(a.shmget(KEY, size, 0o600), Err(Errno::INVAL), "although the page has room");
        }
    }

    /// "its associated data structure, shmid_ds, is initialized as follows".
    fn initial_state(world) {
        let start = Clock::now();
        let a = world.agent();
        let (uid, gid) = world.user();
        let id = a.shmget(KEY, 4096, IPC_CREAT | 0o640).unwrap();
        let s = a.stat(id).unwrap();
        assert_eq!((s.uid, s.cuid, s.gid, s.cgid), (uid, uid, gid, gid));
        assert_eq!((s.key, s.mode, s.size), (KEY, 0o640, 4096));
        assert_eq!((s.lpid, s.nattch, s.atime, s.dtime), (0, 0, 0, 0));
        assert_eq!(s.cpid, a.pid);
        assert!(start.saw(s.ctime));
        assert_eq!(s.seq, (id as u32 >> 15) & 0xffff);
    }

    /// "shm_perm.cuid and shm_perm.uid are set to the effective user ID of the calling process."
    fn owner_is_the_effective_user(world) {
        if !world.users() {
            return;
        }
        let a = world.agent();
        a.ask(format_args!("setegid {STRANGER}")).unwrap();
        a.ask(format_args!("seteuid {NOBODY}")).unwrap();
        let id = a.shmget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        let s = a.stat(id).unwrap();
        assert_eq!((s.uid, s.cuid, s.gid, s.cgid), (NOBODY, NOBODY, STRANGER, STRANGER));
    }

    /// "its contents are initialized to zero values".
    fn contents_are_zero(world) {
        let a = world.agent();
        let id = a.shmget(IPC_PRIVATE, 8192, 0o600).unwrap();
        let at = a.attach(id, 0);
        for offset in [0, 1, 4095, 4096, 8191] {
            assert_eq!(a.peek(at.plus(offset)), Ok(0));
        }
        a.poke(at, 1).unwrap();
        a.shmdt(at).unwrap();
        a.remove(id).unwrap();
        let id = a.shmget(IPC_PRIVATE, 8192, 0o600).unwrap();
        assert_eq!(a.peek(a.attach(id, 0)), Ok(0), "also where another segment has been");
    }

    /// "the least significant 9 bits of shmflg specify the permissions": all nine are kept, and no
    /// others.
    fn mode_is_nine_bits(world) {
        let a = world.agent();
        for mode in [0, 0o111, 0o777, 0o421] {
            let id = a.shmget(IPC_PRIVATE, 1, mode).unwrap();
            assert_eq!(a.stat_any(id).unwrap().mode, mode as u32);
        }
        let id = a.shmget(IPC_PRIVATE, 1, SHM_NORESERVE | IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, 0o600);
    }

    /// Unlike for open(2), the umask has no effect.
    fn umask_has_no_effect(world) {
        let a = world.agent();
        a.ask(format_args!("umask {}", 0o777)).unwrap();
        let id = a.shmget(KEY, 1, IPC_CREAT | 0o666).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, 0o666);
        a.attach(id, 0);
    }

    /// Unknown flags are ignored.
    fn unknown_flags(world) {
        let a = world.agent();
        let id = a.shmget(KEY, 1, IPC_CREAT | 0o600 | 0x4000_0000 | 0o100_000).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, 0o600);
    }

    /// "If the segment already exists, the permissions are verified": those that shmflg requests.
    fn permissions_asked_for(world) {
        let a = world.ordinary();
        let id = a.shmget(KEY, 100, IPC_CREAT | 0o400).unwrap();
        assert_eq!(a.shmget(KEY, 100, 0), Ok(id));
        assert_eq!(a.shmget(KEY, 100, 0o400), Ok(id));
        assert_eq!(a.shmget(KEY, 100, 0o600), Err(Errno::ACCES));
        assert_eq!(a.shmget(KEY, 100, 0o200), Err(Errno::ACCES));
        assert_eq!(a.shmget(KEY, 100, 0o020), Err(Errno::ACCES), "whichever class's bit it is");
        assert_eq!(a.shmget(KEY, 100, 0o004), Ok(id));
        assert_eq!(a.shmget(KEY, 100, 0o001), Err(Errno::ACCES), "also that of execution");
        assert_eq!(a.shmget(KEY, 100, IPC_CREAT | 0o600), Err(Errno::ACCES));
        assert_eq!(a.shmget(KEY, 100, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST), "EEXIST before EACCES");
        assert_eq!(a.shmget(KEY, 101, 0o600), Err(Errno::INVAL), "EINVAL before EACCES");
    }

    /// The three classes are owner (or creator), group, and other users. Only the first that
    /// matches counts.
    fn permission_classes(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, NOBODY, &[]);
        let supplementary = world.agent_as(STRANGER, STRANGER, &[7, NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let root = world.agent();
        let everyone = [&owner, &member, &supplementary, &other, &root];
        for (key, mode, allowed) in [
            (1, 0o400, [true, false, false, false, true]),
            (2, 0o040, [false, true, true, false, true]),
            (3, 0o004, [false, false, false, true, true]),
            (4, 0o000, [false, false, false, false, true]),
            (5, 0o444, [true, true, true, true, true]),
        ] {
            let id = owner.shmget(key, 1, IPC_CREAT | mode).unwrap();
            for (agent, allowed) in everyone.iter().zip(allowed) {
                let expected = if allowed { Ok(id) } else { Err(Errno::ACCES) };
                assert_eq!(agent.shmget(key, 1, 0o400), expected, "{mode:o}");
                assert_eq!(agent.shmget(key, 1, 0), Ok(id), "asking for nothing is granted");
            }
        }
    }

    /// The superuser has all permissions.
    fn superuser(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let id = owner.shmget(KEY, 1, IPC_CREAT).unwrap();
        assert_eq!(owner.shmget(KEY, 1, 0o600), Err(Errno::ACCES));
        let root = world.agent();
        assert_eq!(root.shmget(KEY, 1, 0o777), Ok(id));
        root.ask(format_args!("seteuid {STRANGER}")).unwrap();
        assert_eq!(root.shmget(KEY, 1, 0o600), Err(Errno::ACCES), "permissions go with the effective user");
        root.ask("seteuid 0").unwrap();
        assert_eq!(root.shmget(KEY, 1, 0o600), Ok(id));
    }

    /// shmmax: "Maximum size in bytes for a shared memory segment."
    fn shmmax(world) {
        if !world.limit("shmmax", 8192) {
            return;
        }
        let a = world.agent();
        let id = a.shmget(KEY, 8192, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.shmget(IPC_PRIVATE, 8193, 0o600), Err(Errno::INVAL));
        assert!(world.limit("shmmax", 4096));
        assert_eq!(a.shmget(KEY, 8192, IPC_CREAT | 0o600), Ok(id), "what is there stays");
        assert_eq!(a.shmget(IPC_PRIVATE, 8192, 0o600), Err(Errno::INVAL));
    }

    /// shmall: "limit on the total amount of shared memory, measured in units of the system page
    /// size."
    fn shmall(world) {
        if !world.limit("shmall", 3) {
            return;
        }
        let a = world.agent();
        let two = a.shmget(IPC_PRIVATE, 4097, 0o600).unwrap();
        assert_eq!(a.shmget(IPC_PRIVATE, 4097, 0o600), Err(Errno::NOSPC));
        let one = a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_eq!(a.shmget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
        let at = a.attach(two, 0);
        a.remove(two).unwrap();
        assert_eq!(a.shmget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC), "until the last detach");
        a.shmdt(at).unwrap();
        a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_eq!(a.stat(one).unwrap().size, 1);
    }

    /// shmmni: "limit on the number of shared memory segments."
    fn shmmni(world) {
        if !world.limit("shmmni", 2) {
            return;
        }
        let a = world.agent();
        let id = a.shmget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        let other = a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_eq!(a.shmget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
        assert_eq!(a.shmget(KEY, 1, IPC_CREAT | 0o600), Ok(id), "one that is there needs no room");
        assert_eq!(a.shmget(IPC_PRIVATE, 0, 0o600), Err(Errno::INVAL), "EINVAL before ENOSPC");
        a.remove(other).unwrap();
        a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
    }

    /// shmall is checked before memory: the first limit in the kernel's order decides.
    fn shmall_of_zero(world) {
        if !world.limit("shmall", 0) {
            return;
        }
        let a = world.agent();
        assert_eq!(a.shmget(IPC_PRIVATE, 1, 0o600), Err(Errno::NOSPC));
        assert_eq!(a.shmget(IPC_PRIVATE, 0, 0o600), Err(Errno::INVAL));
    }

    /// "ENOMEM": more than the machine's memory.
    fn more_than_memory(world) {
        let a = world.agent();
        assert_eq!(a.shmget(KEY, 1 << 50, IPC_CREAT | 0o600), Err(Errno::NOMEM));
        assert_eq!(a.shmget(KEY, 1, 0), Err(Errno::NOENT), "nothing has been created");
        assert_eq!(a.shm_info().unwrap().used_ids, 0);
    }

    /// "SHM_NORESERVE: Do not reserve swap space for this segment": a segment larger than memory
    /// can be created.
    fn no_reserve(world) {
        let a = world.agent();
        let id = a.shmget(KEY, 1 << 42, IPC_CREAT | SHM_NORESERVE | 0o600).unwrap();
        assert_eq!(a.stat(id).unwrap().size, 1 << 42);
        let at = a.attach(id, 0);
        a.poke(at.plus((1 << 42) - 1), 9).unwrap();
        assert_eq!(a.peek(at.plus((1 << 42) - 1)), Ok(9));
    }

    /// shm_next_id: the requested identifier, once.
    fn next_id(world) {
        let wanted = (77 << 15) | 1234;
        if !world.limit("shm_next_id", wanted) {
            return;
        }
        let a = world.agent();
        let id = a.shmget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        assert_eq!(i128::from(id), wanted);
        assert_eq!(a.stat(id).unwrap().seq, 77);
        assert_eq!(a.stat_index(1234).unwrap().id, id);
        let next = a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_ne!(next & 0x7fff, 1234, "only once");
    }

    /// shm_next_id with an index in use gives another identifier.
    fn next_id_taken(world) {
        if !world.limit("shm_next_id", (5 << 15) | 9) {
            return;
        }
        let a = world.agent();
        assert_eq!(a.shmget(IPC_PRIVATE, 1, 0o600), Ok((5 << 15) | 9));
        assert!(world.limit("shm_next_id", (6 << 15) | 9));
        let id = a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        assert_ne!(id & 0x7fff, 9);
        assert_eq!(a.stat(id).unwrap().nattch, 0);
    }

    /// A key is free as soon as its segment is removed, even if it is still attached.
    fn key_is_free_after_removal(world) {
        let a = world.agent();
        let old = a.shmget(KEY, 100, IPC_CREAT | 0o600).unwrap();
        let at = a.attach(old, 0);
        a.remove(old).unwrap();
        assert_eq!(a.shmget(KEY, 100, 0o600), Err(Errno::NOENT));
        let new = a.shmget(KEY, 200, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_ne!(new, old);
        assert_eq!(a.stat(old).unwrap().key, 0);
        assert_eq!(a.stat(new).unwrap().key, KEY);
        a.shmdt(at).unwrap();
        assert_eq!(a.shmget(KEY, 0, 0), Ok(new), "the end of the old one does not touch the new one's key");
    }

    /// Descriptors, working directory and umask of a process do not matter.
    fn without_descriptors_and_directory(world) {
        let a = world.agent();
        let directory = world.directory().join("gone");
        std::fs::create_dir(&directory).unwrap();
        a.shmget(KEY, 4096, IPC_CREAT | 0o600).unwrap();
        a.ask(format_args!("chdir {}", directory.display())).unwrap();
        std::fs::remove_dir(&directory).unwrap();
        a.close_from(3);
        let id = a.shmget(KEY, 4096, 0o600).unwrap();
        let at = a.attach(id, 0);
        a.close_from(3);
        assert_eq!(a.stat(id).unwrap().nattch, 1);
        a.poke(at, 3).unwrap();
        a.shmdt(at).unwrap();
        assert_eq!(a.stat(id).unwrap().nattch, 0);
    }
}
