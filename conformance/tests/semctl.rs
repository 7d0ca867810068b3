//! semctl(2), clause by clause: values, counts, `IPC_STAT`, `IPC_SET`, `IPC_RMID`.
//!
//! Commands by index and for the whole namespace are in `semctl_linux.rs`.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, PROT_NONE, PROT_READ, PROT_WRITE};

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const PAGE: usize = 4096;

fn set(a: &Agent, values: &[u16]) -> i32 {
    let id = a.semget(IPC_PRIVATE, values.len() as i32, 0o600).unwrap();
    a.setall(id, values).unwrap();
    id
}

/// Returns the address of a readable and writable page, followed by an inaccessible one.
fn two_pages(a: &Agent) -> Address {
    let at = a.reserve(2 * PAGE, PROT_READ | PROT_WRITE);
    a.mprotect(at.plus(PAGE), PAGE, PROT_NONE).unwrap();
    at
}

fn put(a: &Agent, at: Address, values: &[u16]) {
    a.write(at, &values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>());
}

fn got(a: &Agent, at: Address, count: usize) -> Vec<u16> {
    let byte = |i: usize| a.peek(at.plus(i)).unwrap();
    (0..count).map(|i| u16::from_ne_bytes([byte(2 * i), byte(2 * i + 1)])).collect()
}

clauses! {
    /// SETVAL: "Set the semaphore value (semval) to arg.val for the semnum-th semaphore of the set,
    /// updating also the sem_ctime member".
    fn setval(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.semget(IPC_PRIVATE, 3, 0o600).unwrap();
        let before = a.sem_stat(id).unwrap();
        let start = Clock::tick();
        assert_eq!(b.setval(id, 1, 32767), Ok(()));
        let after = a.sem_stat(id).unwrap();
        assert!(start.saw(after.ctime));
        assert_eq!(after, Set { ctime: after.ctime, ..before });
        assert_eq!(a.semaphores(id).map(|l| (l.values, l.pids)), Ok((vec![0, 32767, 0], vec![0, b.pid, 0])), "it counts as sempid");
        assert_eq!(a.getval(id, 1), Ok(32767));
        assert_eq!(a.setval(id, 1, 0), Ok(()));
        assert_eq!((a.getval(id, 1), a.getpid(id, 1)), (Ok(0), Ok(a.pid)));
    }

    /// SETALL: "Set the semval values for all semaphores of the set".
    fn setall(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.semget(IPC_PRIVATE, 3, 0o600).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        let before = a.sem_stat(id).unwrap();
        let start = Clock::tick();
        assert_eq!(b.setall(id, &[1, 32767, 0]), Ok(()));
        let after = a.sem_stat(id).unwrap();
        assert!(start.saw(after.ctime));
        assert_eq!(after, Set { ctime: after.ctime, ..before });
        assert_eq!(a.semaphores(id).map(|l| (l.values, l.pids)), Ok((vec![1, 32767, 0], vec![b.pid; 3])));
        assert_eq!(a.getall(id), Ok(vec![1, 32767, 0]));
    }

    /// "ERANGE: The argument cmd has the value SETALL or SETVAL and the value ... is less than 0 or
    /// greater than the implementation limit SEMVMX".
    fn values_out_of_range(world) {
        let a = world.agent();
        let id = set(&a, &[1, 2]);
        let before = (a.semaphores(id), a.sem_stat(id));
        for value in [-1, 32768, i32::MAX, i32::MIN] {
            assert_eq!(a.setval(id, 0, value), Err(Errno::RANGE), "{value}");
            assert_eq!(a.setval(id, 7, value), Err(Errno::RANGE), "before the number");
            assert_eq!(a.setval(id ^ (1 << 15), 0, value), Err(Errno::RANGE), "before the identifier");
            assert_eq!(a.setval(-1, 0, value), Err(Errno::INVAL), "but for a negative one");
        }
        for values in [[32768, 0], [0, 32768], [0, 65535]] {
            assert_eq!(a.setall(id, &values), Err(Errno::RANGE), "{values:?}");
        }
        assert_eq!((a.semaphores(id), a.sem_stat(id)), before);
    }

    /// "EINVAL: ... for a GETVAL, SETVAL, ... the semnum argument is less than 0 or greater than or
    /// equal to the number of semaphores".
    fn numbers(world) {
        let a = world.agent();
        let id = set(&a, &[1, 2]);
        for num in [-1, 2, 3, 65536, i32::MAX, i32::MIN] {
            assert_eq!(a.getval(id, num), Err(Errno::INVAL), "{num}");
            assert_eq!(a.getpid(id, num), Err(Errno::INVAL), "{num}");
            assert_eq!(a.getncnt(id, num), Err(Errno::INVAL), "{num}");
            assert_eq!(a.getzcnt(id, num), Err(Errno::INVAL), "{num}");
            assert_eq!(a.setval(id, num, 1), Err(Errno::INVAL), "{num}");
        }
        assert_eq!(a.getall(id), Ok(vec![1, 2]));
    }

    /// Reading requires read permission, setting write permission. Reading checks permission before
    /// the number, SETVAL after it.
    fn permission(world) {
        let a = world.ordinary();
        for (mode, reads, writes) in [(0o600, true, true), (0o400, true, false), (0o200, false, true), (0, false, false), (0o066, false, false)] {
            let id = a.semget(IPC_PRIVATE, 1, mode).unwrap();
            let reading = if reads { Ok(0) } else { Err(Errno::ACCES) };
            let writing = if writes { Ok(()) } else { Err(Errno::ACCES) };
            assert_eq!(a.getval(id, 0), reading, "{mode:o}");
            assert_eq!(a.getpid(id, 0), reading, "{mode:o}");
            assert_eq!(a.getncnt(id, 0), reading, "{mode:o}");
            assert_eq!(a.getzcnt(id, 0), reading, "{mode:o}");
            assert_eq!(a.getval(id, 1), reading.and(Err(Errno::INVAL)), "{mode:o}");
            assert_eq!(a.getncnt(id, -1), reading.and(Err(Errno::INVAL)), "{mode:o}");
            assert_eq!(a.getall(id), reading.map(|_| vec![0]), "{mode:o}");
            assert_eq!(a.sem_stat(id).map(|s| s.mode), reading.map(|_| mode as u32), "{mode:o}");
            assert_eq!(a.setval(id, 0, 0), writing, "{mode:o}");
            assert_eq!(a.setval(id, 1, 0), Err(Errno::INVAL), "{mode:o}");
            assert_eq!(a.setall(id, &[0]), writing, "{mode:o}");
            assert_eq!(a.setall(id, &[32768]), writing.and(Err(Errno::RANGE)), "{mode:o}");
        }
    }

    /// The same for sets of other users.
    fn permission_for_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, STRANGER, &[NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        for (mode, group, others) in [(0o600, 0, 0), (0o640, 4, 0), (0o604, 0, 4), (0o620, 2, 0), (0o602, 0, 2), (0o666, 6, 6)] {
            let id = owner.semget(IPC_PRIVATE, 1, mode).unwrap();
            for (agent, bits) in [(&member, group), (&other, others)] {
                let granted = |bit| if bits & bit != 0 { Ok(()) } else { Err(Errno::ACCES) };
                assert_eq!(agent.getval(id, 0).map(drop), granted(4), "{mode:o}");
                assert_eq!(agent.getall(id).map(drop), granted(4), "{mode:o}");
                assert_eq!(agent.sem_stat(id).map(|s| assert_eq!(s.cuid, NOBODY)), granted(4), "{mode:o}");
                assert_eq!(agent.setval(id, 0, 1), granted(2), "{mode:o}");
                assert_eq!(agent.setall(id, &[1]), granted(2), "{mode:o}");
            }
            assert_eq!(world.agent().setval(id, 0, 1), Ok(()), "the superuser may");
        }
    }

    /// A process with read permission only sees the values that other users set.
    fn reading_without_alter_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.semget(IPC_PRIVATE, 2, 0o644).unwrap();
        for values in [[3, 0], [0, 32767], [7, 8]] {
            a.setall(id, &values).unwrap();
            assert_eq!(b.getall(id), Ok(values.to_vec()));
            assert_eq!((b.getval(id, 0), b.getpid(id, 0)), (Ok(i32::from(values[0])), Ok(a.pid)));
        }
        a.semop(id, &[op(1, -3).flags(UNDO)]).unwrap();
        assert_eq!(b.getall(id), Ok(vec![7, 5]));
        world.wait_in(&a, id, &[op(0, -20)]);
        assert_eq!((b.getncnt(id, 0), b.getzcnt(id, 0), b.getall(id)), (Ok(1), Ok(0), Ok(vec![7, 5])));
        assert_eq!(b.sem_stat(id).map(|s| (s.nsems, s.mode)), Ok((2, 0o644)));
        let pid = a.pid;
        a.kill_from_outside(libc::SIGKILL);
        assert_eq!((world.values(id), world.observer().getpid(id, 1)), (vec![7, 8], Ok(pid)));
        assert_eq!((b.getall(id), b.getncnt(id, 0)), (Ok(vec![7, 8]), Ok(0)));
    }

    /// "EINVAL: Invalid value for cmd or semid". "EIDRM: The semaphore set was removed" is only for
    /// calls that were waiting.
    fn invalid_identifiers(world) {
        let a = world.agent();
        let gone = set(&a, &[1]);
        a.sem_remove(gone).unwrap();
        let there = set(&a, &[1]);
        for id in [-1, i32::MIN, i32::MAX, gone, there ^ (1 << 15), there ^ (1 << 30), there ^ 1] {
            for asked in [a.getval(id, 0), a.getpid(id, 0), a.getncnt(id, 0), a.getzcnt(id, 0)] {
                assert_eq!(asked, Err(Errno::INVAL), "{id}");
            }
            assert_eq!(a.getall(id), Err(Errno::INVAL), "{id}");
            assert_eq!(a.setval(id, 0, 1), Err(Errno::INVAL), "{id}");
            assert_eq!(a.setall(id, &[1]), Err(Errno::INVAL), "{id}");
            assert_eq!(a.sem_stat(id), Err(Errno::INVAL), "{id}");
            assert_eq!(a.sem_set(id, 0, 0, 0o600), Err(Errno::INVAL), "{id}");
            assert_eq!(a.sem_remove(id), Err(Errno::INVAL), "{id}");
        }
        assert_eq!(a.getall(there), Ok(vec![1]));
    }

    /// The identifier of a segment is not valid for sets.
    fn identifiers_of_segments(world) {
        let a = world.agent();
        let segment = a.shmget(IPC_PRIVATE, 4096, 0o600).unwrap();
        assert_eq!(a.sem_remove(segment), Err(Errno::INVAL));
        let id = set(&a, &[1]);
        a.sem_remove(id).unwrap();
        assert!(a.stat(segment).is_ok());
    }

    /// IPC_SET: "sem_perm.uid, sem_perm.gid, and (the least significant 9 bits of) sem_perm.mode",
    /// and sem_ctime.
    fn set_updates(world) {
        let a = world.ordinary();
        let id = a.semget(5, 2, IPC_CREAT | 0o600).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        let before = a.sem_stat(id).unwrap();
        let start = Clock::tick();
        a.sem_set(id, before.uid, before.gid, 0o177_644).unwrap();
        let after = a.sem_stat(id).unwrap();
        assert!(start.saw(after.ctime));
        assert_eq!(after, Set { mode: 0o644, ctime: after.ctime, ..before });
        a.sem_set(id, before.uid, before.gid, 0).unwrap();
        assert_eq!(a.sem_stat(id), Err(Errno::ACCES));
        assert_eq!(a.semop(id, &[op(0, 1)]), Err(Errno::ACCES));
        a.sem_set(id, before.uid, before.gid, 0o600).unwrap();
        assert_eq!(a.getall(id), Ok(vec![1, 0]));
    }

    /// IPC_SET gives a set to another user and group. The creator stays.
    fn set_gives_away(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let id = set(&root, &[5]);
        root.sem_set(id, NOBODY, STRANGER, 0o640).unwrap();
        let s = root.sem_stat(id).unwrap();
        assert_eq!((s.uid, s.gid, s.cuid, s.cgid, s.mode), (NOBODY, STRANGER, 0, 0, 0o640));
        let owner = world.agent_as(NOBODY, 1, &[]);
        let member = world.agent_as(7, STRANGER, &[]);
        let other = world.agent_as(7, 7, &[]);
        assert_eq!(owner.semop(id, &[op(0, -1)]), Ok(()));
        assert_eq!((member.getval(id, 0), member.setval(id, 0, 1)), (Ok(4), Err(Errno::ACCES)));
        assert_eq!(other.getval(id, 0), Err(Errno::ACCES));
    }

    /// An ordinary user may give a set away. Owner and creator then have the owner's permissions,
    /// both groups the group's.
    fn owner_and_creator(world) {
        if !world.users() {
            return;
        }
        let creator = world.agent_as(NOBODY, NOBODY, &[]);
        let id = creator.semget(5, 1, IPC_CREAT | 0o600).unwrap();
        creator.sem_set(id, STRANGER, STRANGER, 0o600).unwrap();
        let owner = world.agent_as(STRANGER, 1, &[]);
        for agent in [&creator, &owner] {
            let s = agent.sem_stat(id).unwrap();
            assert_eq!((s.uid, s.gid, s.cuid, s.cgid), (STRANGER, STRANGER, NOBODY, NOBODY));
            assert_eq!(agent.semop(id, &[op(0, 1)]), Ok(()));
            assert_eq!(agent.semget(5, 1, 0o600), Ok(id));
        }
        creator.sem_set(id, STRANGER, STRANGER, 0o660).unwrap();
        for agent in [&world.agent_as(7, STRANGER, &[]), &world.agent_as(7, NOBODY, &[])] {
            assert_eq!(agent.semop(id, &[op(0, 1)]), Ok(()));
            assert_eq!(agent.sem_set(id, 7, 7, 0o600), Err(Errno::PERM));
            assert_eq!(agent.sem_remove(id), Err(Errno::PERM));
        }
        assert_eq!(creator.getval(id, 0), Ok(4));
        creator.sem_set(id, NOBODY, NOBODY, 0o600).unwrap();
        assert_eq!(owner.getval(id, 0), Err(Errno::ACCES), "and may take it back");
        creator.sem_remove(id).unwrap();
    }

    /// The new owner sets the mode.
    fn set_by_the_new_owner(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let id = set(&root, &[1]);
        root.sem_set(id, NOBODY, NOBODY, 0o600).unwrap();
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let set = owner.sem_set(id, NOBODY, NOBODY, 0o644);
        if world.differs("docs/semantics.md: IPC_SET by an owner that is not the creator") {
            assert_eq!(set, Err(Errno::PERM));
            assert_eq!(owner.sem_stat(id).unwrap().mode, 0o600);
        } else {
            assert_eq!(set, Ok(()));
            assert_eq!(owner.sem_stat(id).unwrap().mode, 0o644);
        }
    }

    /// "EPERM: ... the effective user ID of the calling process is not the creator ... or the
    /// owner".
    fn set_and_remove_by_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let other = world.agent_as(STRANGER, NOBODY, &[]);
        let id = owner.semget(5, 1, IPC_CREAT | 0o666).unwrap();
        assert_eq!(other.sem_set(id, STRANGER, STRANGER, 0o666), Err(Errno::PERM));
        assert_eq!(other.sem_set(id, u32::MAX, STRANGER, 0o666), Err(Errno::PERM));
        assert_eq!(other.sem_remove(id), Err(Errno::PERM));
        let unreadable = owner.semget(IPC_PRIVATE, 1, 0).unwrap();
        assert_eq!(other.sem_set(unreadable, 0, 0, 0), Err(Errno::PERM));
        assert_eq!(other.sem_remove(unreadable), Err(Errno::PERM), "the mode plays no part");
        assert_eq!(owner.sem_remove(unreadable), Ok(()));
        assert_eq!(world.agent().sem_remove(id), Ok(()), "the superuser may");
    }

    /// Ids of -1 are refused.
    fn set_to_id_minus_one(world) {
        let a = world.agent();
        let id = set(&a, &[1]);
        let (uid, gid) = world.user();
        let before = a.sem_stat(id);
        assert_eq!(a.sem_set(id, u32::MAX, gid, 0o644), Err(Errno::INVAL));
        assert_eq!(a.sem_set(id, uid, u32::MAX, 0o644), Err(Errno::INVAL));
        assert_eq!(a.sem_stat(id), before);
    }

    /// IPC_RMID: "Immediately remove the semaphore set"; its key is free at once.
    fn remove(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.semget(5, 1, IPC_CREAT | 0o600).unwrap();
        b.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(a.sem_remove(id), Ok(()));
        assert_eq!(b.semget(5, 1, 0), Err(Errno::NOENT));
        assert_eq!(b.semop(id, &[op(0, 1)]), Err(Errno::INVAL));
        assert_eq!(a.sem_remove(id), Err(Errno::INVAL));
        let again = b.semget(5, 1, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_ne!(again, id);
        assert_eq!((b.getval(again, 0), b.getpid(again, 0)), (Ok(0), Ok(0)));
    }

    /// GETPID reports processes that have exited.
    fn pid_of_an_exited_process(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0]);
        b.semop(id, &[op(0, 1)]).unwrap();
        let pid = b.pid;
        b.exit(0);
        assert_eq!(a.getpid(id, 0), Ok(pid));
    }

    /// A set outlives its creator.
    fn outlives_its_creator(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = b.semget(5, 2, IPC_CREAT | 0o600).unwrap();
        b.setall(id, &[3, 4]).unwrap();
        b.kill_from_outside(libc::SIGKILL);
        assert_eq!((a.semget(5, 2, 0), a.getall(id)), (Ok(id), Ok(vec![3, 4])));
    }
}

clauses! { in C:
    /// The commands by number. `semnum` and `arg` are ignored where they have no meaning.
    fn by_number(world) {
        let a = world.agent();
        let id = set(&a, &[3, 4]);
        a.semop(id, &[op(1, 1)]).unwrap();
        let arg = Address(1);
        assert_eq!(a.semctl(id, 1, GETVAL, arg), Ok(5));
        assert_eq!(a.semctl(id, 1, GETPID, arg), Ok(a.pid));
        assert_eq!(a.semctl(id, 1, GETNCNT, arg), Ok(0));
        assert_eq!(a.semctl(id, 1, GETZCNT, arg), Ok(0));
        let at = two_pages(&a);
        for num in [0, 7, -1, i32::MIN] {
            assert_eq!(a.semctl(id, num, GETALL, at), Ok(0));
            assert_eq!(got(&a, at, 2), [3, 5]);
            assert_eq!(a.semctl(id, num, SETALL, at), Ok(0));
            assert_eq!(a.semctl(id, num, IPC_STAT, at), Ok(0));
            assert_eq!(a.semctl(id, num, IPC_SET, at), Ok(0));
        }
        assert_eq!(a.semctl(id, -1, IPC_RMID, arg), Ok(0));
    }

    /// SETVAL uses the low 32 bits of its argument.
    fn setval_takes_an_int(world) {
        let a = world.agent();
        let id = set(&a, &[3]);
        assert_eq!(a.semctl(id, 0, SETVAL, Address(0xdead_0000_0000 + 7)), Ok(0));
        assert_eq!(a.getval(id, 0), Ok(7));
        assert_eq!(a.semctl(id, 0, SETVAL, Address(0xffff_ffff)), Err(Errno::RANGE));
    }

    /// "EFAULT: The address pointed to by arg.buf or arg.array isn't accessible". Identifier and
    /// permission are checked first.
    fn bad_arrays(world) {
        let a = world.ordinary();
        let id = set(&a, &[3, 4]);
        let untouchable = a.semget(IPC_PRIVATE, 2, 0).unwrap();
        for bad in [Address::NULL, Address(1), PAD] {
            for command in [GETALL, SETALL] {
                assert_eq!(a.semctl(id, 0, command, bad), Err(Errno::FAULT));
                assert_eq!(a.semctl(untouchable, 0, command, bad), Err(Errno::ACCES));
                assert_eq!(a.semctl(id ^ (1 << 15), 0, command, bad), Err(Errno::INVAL));
                assert_eq!(a.semctl(-1, 0, command, bad), Err(Errno::INVAL));
            }
        }
        assert_eq!(a.getall(id), Ok(vec![3, 4]));
    }

    /// Arrays may be at any address, aligned or not. The call reads or writes exactly one value per
    /// semaphore.
    fn arrays_anywhere(world) {
        let a = world.agent();
        let id = set(&a, &[3, 4, 5]);
        let at = two_pages(&a);
        for place in [at, at.plus(1), at.plus(PAGE - 6), at.plus(PAGE - 7)] {
            put(&a, at.plus(PAGE - 14), &[9; 7]);
            assert_eq!(a.semctl(id, 0, GETALL, place), Ok(0));
            assert_eq!(got(&a, place, 3), [3, 4, 5]);
            assert_eq!(a.semctl(id, 0, SETALL, place), Ok(0));
        }
        put(&a, at, &[0xeeee; 5]);
        a.semctl(id, 0, GETALL, at.plus(2)).unwrap();
        assert_eq!(got(&a, at, 5), [0xeeee, 3, 4, 5, 0xeeee]);
        let before = a.semaphores(id);
        for place in [PAGE - 5, PAGE - 4, PAGE - 1] {
            assert_eq!(a.semctl(id, 0, SETALL, at.plus(place)), Err(Errno::FAULT), "{place}");
            assert_eq!(a.semctl(id, 0, GETALL, at.plus(place)), Err(Errno::FAULT), "{place}");
        }
        assert_eq!(a.semaphores(id), before);
        put(&a, at, &[1, 40000, 2]);
        assert_eq!(a.semctl(id, 0, SETALL, at), Err(Errno::RANGE));
        assert_eq!(a.semaphores(id), before, "nothing is set");
        a.mprotect(at, PAGE, PROT_READ).unwrap();
        put_fails(&a, at);
        assert_eq!(a.semctl(id, 0, GETALL, at), Err(Errno::FAULT));
    }

    /// More semaphores than a small array in the kernel holds.
    fn large_arrays(world) {
        let a = world.agent();
        let id = a.semget(IPC_PRIVATE, 1000, 0o600).unwrap();
        let values: Vec<u16> = (0..1000).map(|i| i * 7).collect();
        a.setall(id, &values).unwrap();
        assert_eq!(a.getall(id), Ok(values));
        let at = two_pages(&a);
        assert_eq!(a.semctl(id, 0, GETALL, at.plus(PAGE - 2000)), Ok(0));
        assert_eq!(a.semctl(id, 0, GETALL, at.plus(PAGE - 1999)), Err(Errno::FAULT));
        assert_eq!(a.semctl(id, 0, SETALL, at.plus(PAGE - 1998)), Err(Errno::FAULT));
    }

    /// IPC_STAT writes its buffer last, IPC_SET reads it first.
    fn bad_buffers(world) {
        let a = world.ordinary();
        let id = set(&a, &[3]);
        let untouchable = a.semget(IPC_PRIVATE, 2, 0).unwrap();
        for bad in [Address::NULL, Address(1), PAD] {
            assert_eq!(a.semctl(id, 0, IPC_STAT, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(untouchable, 0, IPC_STAT, bad), Err(Errno::ACCES));
            assert_eq!(a.semctl(id ^ (1 << 15), 0, IPC_STAT, bad), Err(Errno::INVAL));
            assert_eq!(a.semctl(id, 0, IPC_SET, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(id ^ (1 << 15), 0, IPC_SET, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(-1, 0, IPC_SET, bad), Err(Errno::INVAL), "but a negative identifier before all");
        }
    }

    /// Buffers at the end of accessible memory.
    fn buffers_at_the_edge(world) {
        let a = world.agent();
        let id = set(&a, &[3]);
        let at = two_pages(&a);
        let size = std::mem::size_of::<libc::semid_ds>();
        assert_eq!(a.semctl(id, 0, IPC_STAT, at.plus(PAGE - size)), Ok(0));
        assert_eq!(a.semctl(id, 0, IPC_SET, at.plus(PAGE - size)), Ok(0));
        assert_eq!(a.semctl(id, 0, IPC_STAT, at.plus(PAGE - size + 1)), Err(Errno::FAULT));
        assert_eq!(a.semctl(id, 0, IPC_SET, at.plus(PAGE - size + 1)), Err(Errno::FAULT));
        assert_eq!(a.semctl(id, 0, IPC_STAT, at.plus(1)), Ok(0), "unaligned");
        assert_eq!(a.semctl(id, 0, IPC_SET, at.plus(1)), Ok(0));
    }

    /// Fields that the system does not use are zero, and nothing is written beyond the structure.
    fn unused_bits_are_zero(world) {
        let a = world.agent();
        let id = set(&a, &[3]);
        let at = a.reserve(PAGE, PROT_READ | PROT_WRITE);
        let size = std::mem::size_of::<libc::semid_ds>();
        a.write(at, &vec![0xee; size + 8]);
        a.semctl(id, 0, IPC_STAT, at).unwrap();
        let after = std::mem::offset_of!(libc::semid_ds, sem_nsems) + 8;
        assert!((after..size).all(|offset| a.peek(at.plus(offset)) == Ok(0)));
        assert!((size..size + 8).all(|offset| a.peek(at.plus(offset)) == Ok(0xee)));
    }

    /// "EINVAL: Invalid value for cmd", for any identifier.
    fn unknown_commands(world) {
        let a = world.agent();
        let id = set(&a, &[3]);
        let at = two_pages(&a);
        for command in [-1, 4, 10, 21, 22, 100, 256, i32::MAX, i32::MIN] {
            assert_eq!(a.semctl(id, 0, command, at), Err(Errno::INVAL), "{command}");
            assert_eq!(a.semctl(-1, 0, command, Address::NULL), Err(Errno::INVAL), "{command}");
        }
        assert_eq!(a.getall(id), Ok(vec![3]));
    }
}

fn put_fails(a: &Agent, at: Address) {
    assert_eq!(a.poke(at, 1), Err(Errno::FAULT));
}
