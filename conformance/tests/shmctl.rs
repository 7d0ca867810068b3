//! shmctl(2), clause by clause: `IPC_STAT`, `IPC_SET`, `IPC_RMID`, `SHM_LOCK`.
//!
//! Commands by index and for the whole namespace are in `shmctl_linux.rs`.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, SHM_RDONLY};

const SHM_LOCK: i32 = 11;
const SHM_UNLOCK: i32 = 12;
const DEST: u32 = 0o1000;
const LOCKED: u32 = 0o2000;
/// Larger than any structure of shmctl.
const BUFFER: usize = 4096;

fn segment(a: &Agent) -> i32 {
    a.shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600).unwrap()
}

clauses! {
    /// IPC_STAT: "The caller must have read permission on the segment."
    fn stat_needs_read_permission(world) {
        let a = world.ordinary();
        for (mode, readable) in [(0o400, true), (0o600, true), (0o200, false), (0o000, false), (0o044, false)] {
            let id = a.shmget(IPC_PRIVATE, 1, mode).unwrap();
            let expected = if readable { Ok(mode as u32) } else { Err(Errno::ACCES) };
            assert_eq!(a.stat(id).map(|s| s.mode), expected, "{mode:o}");
        }
    }

    /// IPC_STAT on segments of other users.
    fn stat_by_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, NOBODY, &[]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        for (mode, group, others) in [(0o600, false, false), (0o640, true, false), (0o604, false, true), (0o622, false, false)] {
            let id = owner.shmget(IPC_PRIVATE, 1, mode).unwrap();
            for (agent, readable) in [(&member, group), (&other, others)] {
                let expected = if readable { Ok(owner.pid) } else { Err(Errno::ACCES) };
                assert_eq!(agent.stat(id).map(|s| s.cpid), expected, "{mode:o}");
            }
            assert_eq!(world.agent().stat(id).unwrap().uid, NOBODY);
        }
    }

    /// "EINVAL: shmid is not a valid identifier".
    fn invalid_identifiers(world) {
        let a = world.agent();
        let gone = segment(&a);
        a.remove(gone).unwrap();
        let there = segment(&a);
        for id in [-1, i32::MIN, i32::MAX, gone, there ^ (1 << 15), there ^ (1 << 30), there ^ 1] {
            assert_eq!(a.stat(id), Err(Errno::INVAL), "{id}");
            assert_eq!(a.set(id, 0, 0, 0o600), Err(Errno::INVAL), "{id}");
            assert_eq!(a.remove(id), Err(Errno::INVAL), "{id}");
            assert_eq!(a.lock(id), Err(Errno::INVAL), "{id}");
            assert_eq!(a.unlock(id), Err(Errno::INVAL), "{id}");
        }
        assert!(a.stat(there).is_ok());
    }

    /// IPC_SET: "The following fields are updated: shm_perm.uid, shm_perm.gid, and (nine bits of)
    /// shm_perm.mode."
    fn set_updates(world) {
        let a = world.ordinary();
        let id = a.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        let before = a.stat(id).unwrap();
        let start = Clock::tick();
        a.set(id, before.uid, before.gid, 0o177_644).unwrap();
        let after = a.stat(id).unwrap();
        assert!(start.saw(after.ctime), "\"updating also its shm_ctime member\"");
        assert_eq!(after, Stat { mode: 0o644, ctime: after.ctime, ..before });
    }

    /// IPC_SET cannot set the flags above the nine bits.
    fn set_leaves_the_flags(world) {
        let a = world.agent();
        let id = segment(&a);
        let (uid, gid) = world.user();
        a.set(id, uid, gid, 0o3600).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, 0o600);
        a.lock(id).unwrap();
        a.attach(id, 0);
        a.remove(id).unwrap();
        a.set(id, uid, gid, 0o644).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, DEST | LOCKED | 0o644);
    }

    /// IPC_SET gives a segment to another user and group. The creator stays.
    fn set_gives_away(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let id = segment(&root);
        root.set(id, NOBODY, STRANGER, 0o640).unwrap();
        let s = root.stat(id).unwrap();
        assert_eq!((s.uid, s.gid, s.cuid, s.cgid, s.mode), (NOBODY, STRANGER, 0, 0, 0o640));
        let owner = world.agent_as(NOBODY, 1, &[]);
        let member = world.agent_as(7, STRANGER, &[]);
        let other = world.agent_as(7, 7, &[]);
        owner.attach(id, 0);
        member.attach(id, SHM_RDONLY);
        assert_eq!(member.shmat(id, Address::NULL, 0), Err(Errno::ACCES));
        assert_eq!(other.shmat(id, Address::NULL, SHM_RDONLY), Err(Errno::ACCES));
    }

    /// An ordinary user may give a segment away and stays its creator.
    fn set_by_an_ordinary_user(world) {
        if !world.users() {
            return;
        }
        let creator = world.agent_as(NOBODY, NOBODY, &[]);
        let id = creator.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        creator.set(id, STRANGER, STRANGER, 0o640).unwrap();
        let s = creator.stat(id).unwrap();
        assert_eq!((s.uid, s.gid, s.cuid, s.cgid, s.mode), (STRANGER, STRANGER, NOBODY, NOBODY, 0o640));
        creator.set(id, NOBODY, NOBODY, 0o600).unwrap();
        let s = creator.stat(id).unwrap();
        assert_eq!((s.uid, s.gid, s.mode), (NOBODY, NOBODY, 0o600), "and may take it back");
    }

    /// After a segment has been given away, owner and creator have the owner's permissions, and
    /// both groups the group's.
    fn owner_and_creator(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let creator = world.agent_as(NOBODY, NOBODY, &[]);
        let id = creator.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        root.set(id, STRANGER, STRANGER, 0o600).unwrap();
        let owner = world.agent_as(STRANGER, 1, &[]);
        for agent in [&creator, &owner] {
            let s = agent.stat(id).unwrap();
            assert_eq!((s.uid, s.gid, s.cuid, s.cgid), (STRANGER, STRANGER, NOBODY, NOBODY));
            agent.attach(id, 0);
            assert_eq!(agent.shmget(5, 0, 0o600), Ok(id));
        }
        root.set(id, STRANGER, STRANGER, 0o660).unwrap();
        for agent in [&world.agent_as(7, STRANGER, &[]), &world.agent_as(7, NOBODY, &[])] {
            agent.attach(id, 0);
            assert_eq!(agent.set(id, 7, 7, 0o600), Err(Errno::PERM));
            assert_eq!(agent.remove(id), Err(Errno::PERM));
        }
        creator.remove(id).unwrap();
    }

    /// The new owner sets the mode.
    fn set_by_the_new_owner(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let id = segment(&root);
        root.set(id, NOBODY, NOBODY, 0o600).unwrap();
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let set = owner.set(id, NOBODY, NOBODY, 0o644);
        if world.differs("docs/semantics.md: IPC_SET by an owner that is not the creator") {
            assert_eq!(set, Err(Errno::PERM));
            assert_eq!(owner.stat(id).unwrap().mode, 0o600);
        } else {
            assert_eq!(set, Ok(()));
            assert_eq!(owner.stat(id).unwrap().mode, 0o644);
            world.agent_as(STRANGER, STRANGER, &[]).attach(id, SHM_RDONLY);
        }
    }

    /// "the effective UID of the calling process must match the owner or creator".
    fn set_and_remove_by_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let other = world.agent_as(STRANGER, NOBODY, &[]);
        let id = owner.shmget(5, 4096, IPC_CREAT | 0o666).unwrap();
        assert_eq!(other.set(id, STRANGER, STRANGER, 0o666), Err(Errno::PERM));
        assert_eq!(other.remove(id), Err(Errno::PERM));
        assert_eq!(other.lock(id), Err(Errno::PERM));
        assert_eq!(other.unlock(id), Err(Errno::PERM));
        let unreadable = owner.shmget(IPC_PRIVATE, 4096, 0).unwrap();
        assert_eq!(other.set(unreadable, 0, 0, 0), Err(Errno::PERM));
        assert_eq!(other.remove(unreadable), Err(Errno::PERM), "the mode plays no part");
        assert_eq!(owner.remove(unreadable), Ok(()));
        assert_eq!(world.agent().remove(id), Ok(()), "the superuser may");
    }

    /// Ids of -1 are refused: EINVAL, even for a caller without permission.
    fn set_to_id_minus_one(world) {
        let a = world.agent();
        let id = segment(&a);
        let (uid, gid) = world.user();
        assert_eq!(a.set(id, u32::MAX, gid, 0o600), Err(Errno::INVAL));
        assert_eq!(a.set(id, uid, u32::MAX, 0o600), Err(Errno::INVAL));
        let s = a.stat(id).unwrap();
        assert_eq!((s.uid, s.gid), (uid, gid));
        if !world.users() {
            return;
        }
        let other = world.agent_as(NOBODY, NOBODY, &[]);
        assert_eq!(other.set(id, u32::MAX, 0, 0), Err(Errno::PERM));
    }

    /// IPC_RMID of an unattached segment: it ends at once, and so does its identifier.
    fn remove_unattached(world) {
        let a = world.agent();
        let id = a.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        a.remove(id).unwrap();
        assert_eq!(a.stat(id), Err(Errno::INVAL));
        assert_eq!(a.remove(id), Err(Errno::INVAL));
        assert_eq!(a.shmget(5, 0, 0), Err(Errno::NOENT));
        assert_eq!(a.shm_info().unwrap().used_ids, 0);
        let new = a.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        assert_ne!(new, id, "an identifier is not used again at once");
        assert_eq!(a.stat(id), Err(Errno::INVAL));
    }

    /// "The segment will actually be destroyed only after the last process detaches it."
    fn remove_attached(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.shmget(5, 4096, IPC_CREAT | 0o640).unwrap();
        let at = a.attach(id, 0);
        let before = a.stat(id).unwrap();
        b.remove(id).unwrap();
        let after = a.stat(id).unwrap();
        assert_eq!(after, Stat { key: 0, mode: DEST | 0o640, ..before }, "lpid, ctime stay; the key is gone");
        a.poke(at, 1).unwrap();
        assert_eq!(a.remove(id), Ok(()), "removing it again is allowed");
        assert_eq!(a.shmget(5, 0, 0), Err(Errno::NOENT));
        a.shmdt(at).unwrap();
        assert_eq!(a.stat(id), Err(Errno::INVAL));
        assert_eq!(a.shm_info().unwrap().used_ids, 0);
    }

    /// A segment is removed, and its last attached process is killed. The first call after that
    /// finds no segment.
    fn removed_and_its_last_user_killed(world) {
        let other = world.agent();
        let (uid, gid) = world.user();
        let calls: [&dyn Fn(i32) -> Errno; 5] = [
            &|id| other.shmat(id, Address::NULL, 0).unwrap_err(),
            &|id| other.set(id, uid, gid, 0o600).unwrap_err(),
            &|id| other.remove(id).unwrap_err(),
            &|id| other.lock(id).unwrap_err(),
            &|id| other.stat_index(id & 0x7fff).unwrap_err(),
        ];
        for call in calls {
            let (a, id) = (world.agent(), segment(&other));
            a.attach(id, 0);
            other.remove(id).unwrap();
            a.kill(libc::SIGKILL);
            assert_eq!(call(id), Errno::INVAL);
        }
        let (a, id) = (world.agent(), segment(&other));
        a.attach(id, 0);
        other.remove(id).unwrap();
        a.kill(libc::SIGKILL);
        let u = other.shm_info().unwrap();
        assert_eq!((u.used_ids, u.tot), (0, 0));
    }

    /// An owner that is not the creator removes a segment. Its key is then free for every user.
    fn removed_by_the_new_owner(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let id = root.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        root.set(id, NOBODY, NOBODY, 0o600).unwrap();
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        owner.remove(id).unwrap();
        let stranger = world.agent_as(STRANGER, STRANGER, &[]);
        assert_eq!(stranger.shmget(5, 1, 0), Err(Errno::NOENT));
        let new = stranger.shmget(5, 4097, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(stranger.stat(new).unwrap().uid, STRANGER);
        assert_eq!(stranger.shm_info().unwrap().used_ids, 1);
        stranger.remove(new).unwrap();
        assert_eq!(owner.shmget(5, 0, 0), Err(Errno::NOENT));
    }

    /// Permissions that IPC_SET has granted end with the segment. The next one has only its own.
    fn permission_ends_with_the_segment(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        for (uid, gid) in [(0, NOBODY), (STRANGER, NOBODY), (STRANGER, STRANGER)] {
            let creator = world.agent_as(NOBODY, NOBODY, &[]);
            let old = creator.shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0o200).unwrap();
            root.set(old, uid, gid, 0o604).unwrap();
            creator.exit_immediately(0);
            root.remove(old).unwrap();
            let creator = world.agent_as(NOBODY, NOBODY, &[]);
            let (member, other) = (world.agent_as(7, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
            let public = creator.shmget(IPC_PRIVATE, 1, IPC_CREAT | 0o666).unwrap();
            for agent in [&creator, &member, &other] {
                agent.attach(public, 0);
            }
            root.set(public, uid, gid, 0o666).unwrap();
            creator.remove(public).unwrap();
            drop((member, other, creator));
            let creator = world.agent_as(NOBODY, NOBODY, &[]);
            let private = creator.shmget(IPC_PRIVATE, 1, IPC_CREAT | 0o600).unwrap();
            for agent in [world.agent_as(7, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[])] {
                assert_eq!(agent.shmat(private, Address::NULL, SHM_RDONLY), Err(Errno::ACCES));
            }
            root.remove(private).unwrap();
        }
    }

    /// A removed segment supports fork, IPC_SET and SHM_STAT until its end.
    fn removed_but_attached(world) {
        let a = world.agent();
        let id = segment(&a);
        let at = a.attach(id, 0);
        a.remove(id).unwrap();
        let child = a.fork();
        assert_eq!(a.stat(id).unwrap().nattch, 2);
        assert_eq!(a.stat_index(id & 0x7fff).unwrap().id, id);
        let (uid, gid) = world.user();
        child.set(id, uid, gid, 0o400).unwrap();
        a.shmdt(at).unwrap();
        assert_eq!(child.stat(id).unwrap().mode, DEST | 0o400);
        child.exit(0);
        assert_eq!(a.stat(id), Err(Errno::INVAL));
    }

    /// Stale identifiers stay stale, however often an index is reused.
    fn stale_identifiers(world) {
        let a = world.agent();
        let mut observed = Vec::new();
        for _ in 0..20 {
            let id = segment(&a);
            assert!(!observed.contains(&id));
            a.remove(id).unwrap();
            observed.push(id);
            assert!(observed.iter().all(|&id| a.stat(id) == Err(Errno::INVAL)));
        }
    }

    /// "If a segment has been locked, then the SHM_LOCKED flag of shm_perm.mode will be set."
    fn locking(world) {
        let a = world.ordinary();
        let id = segment(&a);
        let before = a.stat(id).unwrap();
        a.lock(id).unwrap();
        assert_eq!(a.stat(id).unwrap(), Stat { mode: LOCKED | 0o600, ..before }, "no other field changes");
        assert_eq!(a.lock(id), Ok(()));
        let at = a.attach(id, 0);
        a.poke(at, 1).unwrap();
        a.unlock(id).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, 0o600);
        assert_eq!(a.unlock(id), Ok(()));
        assert_eq!(a.peek(at), Ok(1));
    }

    /// SHM_LOCK: "the amount of memory to be locked falls within the RLIMIT_MEMLOCK resource
    /// limit".
    fn locking_within_limits(world) {
        let a = world.ordinary();
        let (small, large) = (segment(&a), a.shmget(IPC_PRIVATE, 40960, 0o600).unwrap());
        a.ask("memlock 8192").unwrap();
        assert_eq!(a.lock(large), Err(Errno::NOMEM));
        assert_eq!(a.lock(small), Ok(()));
        assert_eq!(a.stat(large).unwrap().mode, 0o600);
        a.unlock(small).unwrap();
        a.ask("memlock 0").unwrap();
        assert_eq!(a.lock(small), Err(Errno::PERM), "\"this error can also occur if the RLIMIT_MEMLOCK is 0\"");
        assert_eq!(a.unlock(small), Ok(()));
    }

    /// SHM_LOCK by the new owner, which has attached the segment before.
    fn locking_by_the_new_owner(world) {
        if !world.users() {
            return;
        }
        let (root, owner) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = root.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        assert_eq!(owner.shmget(5, 0, 0), Ok(id));
        root.set(id, NOBODY, STRANGER, 0o400).unwrap();
        assert_eq!(owner.lock(id), Ok(()));
        assert_eq!(owner.stat(id).unwrap().mode, LOCKED | 0o400);
        assert_eq!(owner.unlock(id), Ok(()));
    }

    /// SHM_LOCK ignores the mode and requires owner or creator. The superuser has no limit.
    fn locking_permission(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let id = owner.shmget(5, 40960, IPC_CREAT).unwrap();
        owner.lock(id).unwrap();
        let root = world.agent();
        root.ask("memlock 0").unwrap();
        assert_eq!(root.unlock(id), Ok(()));
        assert_eq!(root.lock(id), Ok(()));
        assert_eq!(root.stat(id).unwrap().mode, LOCKED);
    }
}

clauses! { in C:
    /// "EFAULT: The argument cmd has value IPC_SET or IPC_STAT but the address pointed to by buf
    /// isn't accessible."
    fn inaccessible_buffer(world) {
        let a = world.agent();
        let id = segment(&a);
        let before = a.stat(id).unwrap();
        let read_only = a.reserve(BUFFER, libc::PROT_READ);
        for bad in [Address::NULL, Address(1), PAD, Address(usize::MAX - 7)] {
            assert_eq!(a.shmctl(id, IPC_STAT, bad), Err(Errno::FAULT), "{bad:?}");
            assert_eq!(a.shmctl(id, IPC_SET, bad), Err(Errno::FAULT), "{bad:?}");
        }
        assert_eq!(a.shmctl(id, IPC_STAT, read_only), Err(Errno::FAULT));
        assert_eq!(a.shmctl(id, IPC_STAT, read_only.plus(BUFFER - 8)), Err(Errno::FAULT));
        assert_eq!(a.stat(id), Ok(before));
    }

    /// A buffer with an inaccessible second half.
    fn half_a_buffer(world) {
        let a = world.agent();
        let id = segment(&a);
        let two = a.reserve(2 * BUFFER, libc::PROT_READ | libc::PROT_WRITE);
        a.munmap(two.plus(BUFFER), BUFFER).unwrap();
        assert_eq!(a.shmctl(id, IPC_STAT, two), Ok(0));
        assert_eq!(a.shmctl(id, IPC_STAT, two.plus(BUFFER - 16)), Err(Errno::FAULT));
        assert_eq!(a.shmctl(id, IPC_SET, two.plus(BUFFER - 16)), Err(Errno::FAULT));
    }

    /// IPC_STAT checks the identifier first, IPC_SET the buffer.
    fn precedence_of_a_bad_buffer(world) {
        let a = world.ordinary();
        let unreadable = a.shmget(IPC_PRIVATE, 1, 0).unwrap();
        assert_eq!(a.shmctl(-1, IPC_STAT, Address::NULL), Err(Errno::INVAL));
        assert_eq!(a.shmctl(unreadable ^ (1 << 15), IPC_STAT, Address::NULL), Err(Errno::INVAL));
        assert_eq!(a.shmctl(unreadable, IPC_STAT, Address::NULL), Err(Errno::ACCES));
        assert_eq!(a.shmctl(unreadable ^ (1 << 15), IPC_SET, Address::NULL), Err(Errno::FAULT));
        assert_eq!(a.shmctl(-1, IPC_SET, Address::NULL), Err(Errno::INVAL), "but a negative identifier before all");
    }

    /// IPC_RMID, SHM_LOCK and SHM_UNLOCK: "The buf argument is ignored."
    fn ignored_buffer(world) {
        let a = world.agent();
        let id = segment(&a);
        for command in [SHM_LOCK, SHM_UNLOCK, IPC_RMID] {
            assert_eq!(a.shmctl(id, command, Address(1)), Ok(0));
        }
    }

    /// "EINVAL: ... or cmd is not a valid command", for any identifier.
    fn unknown_commands(world) {
        let a = world.agent();
        let id = segment(&a);
        let buffer = a.reserve(BUFFER, libc::PROT_READ | libc::PROT_WRITE);
        for command in [-1, 4, 5, 10, 16, 100, i32::MAX, i32::MIN] {
            assert_eq!(a.shmctl(id, command, buffer), Err(Errno::INVAL), "{command}");
            assert_eq!(a.shmctl(-1, command, Address::NULL), Err(Errno::INVAL), "{command}");
        }
    }

    /// Fields that the system does not use are zero.
    fn unused_bits_are_zero(world) {
        let a = world.agent();
        let id = segment(&a);
        let buffer = a.reserve(BUFFER, libc::PROT_READ | libc::PROT_WRITE);
        let size = std::mem::size_of::<libc::shmid_ds>();
        for offset in 0..size + 8 {
            a.poke(buffer.plus(offset), 0xee).unwrap();
        }
        a.shmctl(id, IPC_STAT, buffer).unwrap();
        let unused = std::mem::offset_of!(libc::shmid_ds, shm_nattch) + 8..size;
        assert!(unused.clone().all(|offset| a.peek(buffer.plus(offset)) == Ok(0)));
        assert!((size..size + 8).all(|offset| a.peek(buffer.plus(offset)) == Ok(0xee)), "and nothing is written beyond it");
    }
}
