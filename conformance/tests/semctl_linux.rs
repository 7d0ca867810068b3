//! semctl(2): commands that only Linux has, by index and for the whole namespace; limits.

use conformance::*;
use libc::{IPC_CREAT, IPC_PRIVATE, PROT_READ, PROT_WRITE};

const IPC_INFO: i32 = 3;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;
const SEMMNS: i32 = 1_024_000_000;

fn index(id: i32) -> i32 {
    id & 0x7fff
}

clauses! {
    /// SEM_STAT: "the semid argument is not a semaphore set identifier, but instead an index";
    /// returns the identifier.
    fn stat_by_index(world) {
        let a = world.agent();
        let id = a.semget(5, 3, IPC_CREAT | 0o640).unwrap();
        let s = a.sem_stat(id).unwrap();
        assert_eq!(a.sem_stat_index(index(id)), Ok(s));
        assert_eq!(a.sem_stat_any(index(id)), Ok(s));
    }

    /// "EINVAL: ... the index value ... referred to an array slot that is currently unused."
    fn unused_index(world) {
        let a = world.agent();
        assert_eq!(a.sem_stat_index(0), Err(Errno::INVAL));
        let id = a.semget(5, 1, IPC_CREAT | 0o640).unwrap();
        for unused in [index(id) + 1, 32767, -1, i32::MIN] {
            assert_eq!(a.sem_stat_index(unused), Err(Errno::INVAL), "{unused}");
            assert_eq!(a.sem_stat_any(unused), Err(Errno::INVAL), "{unused}");
        }
        a.sem_remove(id).unwrap();
        assert_eq!(a.sem_stat_index(index(id)), Err(Errno::INVAL));
    }

    /// Only the low 15 bits of an index count, so an identifier, even a stale one, serves as an
    /// index.
    fn index_of_15_bits(world) {
        let a = world.agent();
        let id = a.semget(5, 1, IPC_CREAT | 0o640).unwrap();
        for other in [id, index(id) | 1 << 15, index(id) | 1 << 30] {
            assert_eq!(a.sem_stat_index(other).map(|s| s.id), Ok(id), "{other}");
            assert_eq!(a.sem_stat_any(other).map(|s| s.id), Ok(id), "{other}");
        }
    }

    /// SEM_STAT requires read permission, SEM_STAT_ANY none.
    fn stat_any_needs_no_permission(world) {
        let a = world.ordinary();
        let id = a.semget(5, 7, IPC_CREAT).unwrap();
        assert_eq!(a.sem_stat_index(index(id)), Err(Errno::ACCES));
        assert_eq!(a.sem_stat(id), Err(Errno::ACCES));
        let s = a.sem_stat_any(index(id)).unwrap();
        assert_eq!((s.id, s.mode, s.nsems, s.key), (id, 0, 7, 5));
    }

    /// The set of another user.
    fn stat_any_of_other_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.semget(5, 2, IPC_CREAT | 0o600).unwrap();
        assert_eq!(b.sem_stat_index(index(id)), Err(Errno::ACCES));
        assert_eq!(b.sem_stat_any(index(id)), Ok(a.sem_stat(id).unwrap()));
    }

    /// Walking the indexes up to the highest finds all sets, as ipcs(1) does.
    fn walk(world) {
        let a = world.agent();
        let mut ids: Vec<i32> = (1..=10).map(|key| a.semget(key, 1, IPC_CREAT | 0o600).unwrap()).collect();
        for _ in 0..5 {
            a.sem_remove(ids.remove(2)).unwrap();
        }
        let max = a.sem_usage().unwrap().max_index;
        let mut found: Vec<i32> = (0..=max).filter_map(|i| a.sem_stat_index(i).ok()).map(|s| s.id).collect();
        found.sort_unstable();
        ids.sort_unstable();
        assert_eq!(found, ids);
        assert_eq!(ids.iter().map(|&id| index(id)).max(), Some(max));
    }

    /// IPC_INFO: "information about system-wide semaphore limits".
    fn limits(world) {
        let a = world.agent();
        let info = SemLimits { max_index: 0, semmsl: 32000, semmns: SEMMNS, semopm: 500, semmni: 32000 };
        assert_eq!(a.sem_limits(), Ok(info));
    }

    /// "The semmsl, semmns, semopm, and semmni settings can be changed".
    fn changed_limits(world) {
        if !world.limit("semmsl", 10) {
            return;
        }
        assert!(world.limit("semmns", 100) && world.limit("semopm", 5) && world.limit("semmni", 7));
        let info = SemLimits { max_index: 0, semmsl: 10, semmns: 100, semopm: 5, semmni: 7 };
        assert_eq!(world.agent().sem_limits(), Ok(info));
    }

    /// "returns the index of the highest used entry"; 0 if there is none.
    fn highest_index(world) {
        let a = world.agent();
        assert_eq!((a.sem_limits().unwrap().max_index, a.sem_usage().unwrap().max_index), (0, 0));
        let ids: Vec<i32> = (0..4).map(|_| a.semget(IPC_PRIVATE, 1, 0o600).unwrap()).collect();
        let max = ids.iter().map(|&id| index(id)).max().unwrap();
        assert_eq!((a.sem_limits().unwrap().max_index, a.sem_usage().unwrap().max_index), (max, max));
        let highest = ids.iter().copied().max_by_key(|&id| index(id)).unwrap();
        a.sem_remove(highest).unwrap();
        assert_eq!(a.sem_usage().unwrap().max_index, max - 1);
    }

    /// SEM_INFO: "semusz: the number of semaphore sets that currently exist; semaem: the total
    /// number of semaphores in all".
    fn usage(world) {
        let a = world.agent();
        assert_eq!(a.sem_usage(), Ok(SemUsed { max_index: 0, sets: 0, semaphores: 0 }));
        let id = a.semget(IPC_PRIVATE, 7, 0o600).unwrap();
        a.semget(IPC_PRIVATE, 2, 0o600).unwrap();
        a.shmget(IPC_PRIVATE, 4096, 0o600).unwrap();
        assert_eq!(a.sem_usage().map(|u| (u.sets, u.semaphores)), Ok((2, 9)));
        a.sem_remove(id).unwrap();
        assert_eq!(a.sem_usage().map(|u| (u.sets, u.semaphores)), Ok((1, 2)));
    }

    /// Both require no permission and count the sets of other users.
    fn usage_of_other_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        a.semget(IPC_PRIVATE, 2, 0o600).unwrap();
        b.semget(IPC_PRIVATE, 1, 0).unwrap();
        assert_eq!(b.sem_usage().map(|u| (u.sets, u.semaphores)), Ok((2, 3)));
    }
}

clauses! { in C:
    /// `struct seminfo` including its constants.
    fn seminfo(world) {
        let a = world.agent();
        a.semget(IPC_PRIVATE, 7, 0o600).unwrap();
        let limits = SemInfo {
            ret: 0,
            semmsl: 32000,
            semmns: SEMMNS,
            semopm: 500,
            semmni: 32000,
            semvmx: 32767,
            semmap: SEMMNS,
            semmnu: SEMMNS,
            semume: 500,
            semusz: 20,
            semaem: 32767,
        };
        assert_eq!(a.seminfo(IPC_INFO), Ok(limits));
        assert_eq!(a.seminfo(SEM_INFO), Ok(SemInfo { semusz: 1, semaem: 7, ..limits }));
    }

    /// Commands that only report check the buffer last.
    fn inaccessible_buffer(world) {
        let a = world.agent();
        let id = a.semget(5, 1, IPC_CREAT | 0o640).unwrap();
        for bad in [Address::NULL, Address(1), PAD] {
            assert_eq!(a.semctl(0, 0, IPC_INFO, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(0, 0, SEM_INFO, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(index(id), 0, SEM_STAT, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(index(id), 0, SEM_STAT_ANY, bad), Err(Errno::FAULT));
            assert_eq!(a.semctl(index(id) + 1, 0, SEM_STAT, bad), Err(Errno::INVAL));
        }
    }

    /// IPC_INFO and SEM_INFO ignore identifier and number, unless the identifier is negative.
    fn identifier_of_reports(world) {
        let a = world.agent();
        let buffer = a.reserve(4096, PROT_READ | PROT_WRITE);
        for command in [IPC_INFO, SEM_INFO] {
            assert_eq!(a.semctl(12345, -7, command, buffer), Ok(0));
            assert_eq!(a.semctl(-1, 0, command, buffer), Err(Errno::INVAL));
        }
    }

    /// proc(5): one file holds the limits.
    fn limits_as_a_file(world) {
        let a = world.agent();
        let read = ["semmsl", "semmns", "semopm", "semmni", "sem_next_id"].map(|name| a.sysctl(name));
        assert_eq!(read, [Ok(32000), Ok(i128::from(SEMMNS)), Ok(500), Ok(32000), Ok(-1)]);
        if let Err(e) = a.set_sysctl("semmni", 3) {
            assert!(world.subject.is_kernel(), "{e}");
            world.skip("/proc/sys/kernel cannot be written");
            return;
        }
        assert_eq!((a.sysctl("semmni"), a.sysctl("semopm")), (Ok(3), Ok(500)));
        assert_eq!(a.sem_limits().map(|l| l.semmni), Ok(3));
    }

    /// proc(5): `/proc/sysvipc/sem` lists the sets.
    fn list_as_a_file(world) {
        let a = world.agent();
        let id = a.semget(0x1234, 7, IPC_CREAT | 0o640).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        let listed = a.sysvipc("sem");
        assert_eq!(listed.len(), 2, "a headline and a set");
        let fields: Vec<&str> = listed[1].split_ascii_whitespace().collect();
        let s = a.sem_stat(id).unwrap();
        let numbers = [u64::from(s.uid), u64::from(s.gid), u64::from(s.cuid), u64::from(s.cgid), s.otime as u64, s.ctime as u64];
        let expected = [0x1234.to_string(), id.to_string(), "640".to_owned(), "7".to_owned()];
        assert_eq!(fields[..4], expected);
        assert_eq!(fields[4..], numbers.map(|n| n.to_string()));
    }
}
