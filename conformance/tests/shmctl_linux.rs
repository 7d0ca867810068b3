//! shmctl(2): commands that only Linux has, by index and for the whole namespace.

use conformance::*;
use libc::{IPC_CREAT, IPC_PRIVATE};

const IPC_INFO: i32 = 3;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

fn index(id: i32) -> i32 {
    id & 0x7fff
}

clauses! {
    /// SHM_STAT: "the shmid argument is not a segment identifier, but instead an index"; returns
    /// the identifier.
    fn stat_by_index(world) {
        let a = world.agent();
        let id = a.shmget(5, 4096, IPC_CREAT | 0o640).unwrap();
        let s = a.stat(id).unwrap();
        assert_eq!(a.stat_index(index(id)), Ok(s));
        assert_eq!(a.stat_any(index(id)), Ok(s));
    }

    /// "EINVAL: the index value referred to an array slot that is currently unused."
    fn unused_index(world) {
        let a = world.agent();
        assert_eq!(a.stat_index(0), Err(Errno::INVAL));
        let id = a.shmget(5, 4096, IPC_CREAT | 0o640).unwrap();
        for unused in [index(id) + 1, 32767, -1, i32::MIN] {
            assert_eq!(a.stat_index(unused), Err(Errno::INVAL), "{unused}");
            assert_eq!(a.stat_any(unused), Err(Errno::INVAL), "{unused}");
        }
        a.remove(id).unwrap();
        assert_eq!(a.stat_index(index(id)), Err(Errno::INVAL));
    }

    /// Only the low 15 bits of an index count, so an identifier, even a stale one, serves as an
    /// index.
    fn index_of_15_bits(world) {
        let a = world.agent();
        let id = a.shmget(5, 4096, IPC_CREAT | 0o640).unwrap();
        for other in [id, index(id) | 1 << 15, index(id) | 1 << 30] {
            assert_eq!(a.stat_index(other).map(|s| s.id), Ok(id), "{other}");
            assert_eq!(a.stat_any(other).map(|s| s.id), Ok(id), "{other}");
        }
    }

    /// SHM_STAT requires read permission. "SHM_STAT_ANY ... is not checked for read access".
    fn stat_any_needs_no_permission(world) {
        let a = world.ordinary();
        let id = a.shmget(5, 4096, IPC_CREAT).unwrap();
        assert_eq!(a.stat_index(index(id)), Err(Errno::ACCES));
        assert_eq!(a.stat(id), Err(Errno::ACCES));
        let s = a.stat_any(index(id)).unwrap();
        assert_eq!((s.id, s.mode, s.size, s.cpid), (id, 0, 4096, a.pid));
    }

    /// The segment of another user.
    fn stat_any_of_other_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        a.attach(id, 0);
        assert_eq!(b.stat_index(index(id)), Err(Errno::ACCES));
        assert_eq!(b.stat_any(index(id)), Ok(a.stat(id).unwrap()));
    }

    /// Walking the indexes up to the highest finds all segments, as ipcs(1) does.
    fn walk(world) {
        let a = world.agent();
        let mut ids: Vec<i32> = (1..=10).map(|key| a.shmget(key, 1, IPC_CREAT | 0o600).unwrap()).collect();
        for _ in 0..5 {
            a.remove(ids.remove(2)).unwrap();
        }
        let max = a.shm_info().unwrap().max_index;
        let mut found: Vec<i32> = (0..=max).filter_map(|i| a.stat_index(i).ok()).map(|s| s.id).collect();
        found.sort_unstable();
        ids.sort_unstable();
        assert_eq!(found, ids);
        assert_eq!(ids.iter().map(|&id| index(id)).max(), Some(max));
    }

    /// IPC_INFO: "information about system-wide shared memory limits".
    fn limits(world) {
        let a = world.agent();
        let unlimited = u64::MAX - (1 << 24);
        let info = Info { max_index: 0, shmmax: unlimited, shmmin: 1, shmmni: 4096, shmseg: 4096, shmall: unlimited };
        assert_eq!(a.ipc_info(), Ok(info));
    }

    /// "The shmmni, shmmax, and shmall settings can be changed".
    fn changed_limits(world) {
        if !world.limit("shmmax", 1 << 20) {
            return;
        }
        assert!(world.limit("shmmni", 17) && world.limit("shmall", 1000));
        let a = world.agent();
        let info = Info { max_index: 0, shmmax: 1 << 20, shmmin: 1, shmmni: 17, shmseg: 17, shmall: 1000 };
        assert_eq!(a.ipc_info(), Ok(info));
    }

    /// "returns the index of the highest used entry"; 0 if there is none.
    fn highest_index(world) {
        let a = world.agent();
        assert_eq!((a.ipc_info().unwrap().max_index, a.shm_info().unwrap().max_index), (0, 0));
        let ids: Vec<i32> = (0..4).map(|_| a.shmget(IPC_PRIVATE, 1, 0o600).unwrap()).collect();
        let max = ids.iter().map(|&id| index(id)).max().unwrap();
        assert_eq!((a.ipc_info().unwrap().max_index, a.shm_info().unwrap().max_index), (max, max));
        let highest = ids.iter().copied().max_by_key(|&id| index(id)).unwrap();
        a.remove(highest).unwrap();
        assert_eq!(a.shm_info().unwrap().max_index, max - 1);
    }

    /// SHM_INFO: "used_ids: # of currently existing segments; shm_tot: Total number of shared
    /// memory pages".
    fn usage(world) {
        let a = world.agent();
        let no_usage = Usage { max_index: 0, used_ids: 0, tot: 0, rss: 0, swp: 0, swap_attempts: 0, swap_successes: 0 };
        assert_eq!(a.shm_info(), Ok(no_usage));
        let id = a.shmget(IPC_PRIVATE, 4097, 0o600).unwrap();
        a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        let u = a.shm_info().unwrap();
        assert_eq!((u.used_ids, u.tot, u.swp, u.swap_attempts, u.swap_successes), (2, 3, 0, 0, 0));
        let at = a.attach(id, 0);
        a.remove(id).unwrap();
        let u = a.shm_info().unwrap();
        assert_eq!((u.used_ids, u.tot), (2, 3), "those marked for removal count");
        a.shmdt(at).unwrap();
        let u = a.shm_info().unwrap();
        assert_eq!((u.used_ids, u.tot), (1, 1));
    }

    /// "shm_rss: # of resident shared memory pages": pages that have been touched.
    fn resident(world) {
        let a = world.agent();
        let id = a.shmget(IPC_PRIVATE, 5 * 4096, 0o600).unwrap();
        let at_once = world.differs("docs/semantics.md: memory of a new segment");
        assert_eq!(a.shm_info().unwrap().rss, if at_once { 5 } else { 0 });
        let at = a.attach(id, 0);
        a.poke(at, 1).unwrap();
        a.poke(at.plus(3 * 4096), 1).unwrap();
        assert_eq!(a.shm_info().unwrap().rss, if at_once { 5 } else { 2 });
    }

    /// Both require no permission and count the segments of other users.
    fn usage_of_other_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        a.shmget(IPC_PRIVATE, 8192, 0o600).unwrap();
        b.shmget(IPC_PRIVATE, 1, 0).unwrap();
        let u = b.shm_info().unwrap();
        assert_eq!((u.used_ids, u.tot), (2, 3));
    }
}

clauses! { in C:
    /// Commands that only report check the buffer last.
    fn inaccessible_buffer(world) {
        let a = world.agent();
        let id = a.shmget(5, 4096, IPC_CREAT | 0o640).unwrap();
        for bad in [Address::NULL, Address(1), PAD] {
            assert_eq!(a.shmctl(0, IPC_INFO, bad), Err(Errno::FAULT));
            assert_eq!(a.shmctl(0, SHM_INFO, bad), Err(Errno::FAULT));
            assert_eq!(a.shmctl(index(id), SHM_STAT, bad), Err(Errno::FAULT));
            assert_eq!(a.shmctl(index(id), SHM_STAT_ANY, bad), Err(Errno::FAULT));
            assert_eq!(a.shmctl(index(id) + 1, SHM_STAT, bad), Err(Errno::INVAL));
        }
    }

    /// IPC_INFO and SHM_INFO ignore the identifier unless it is negative.
    fn identifier_of_reports(world) {
        let a = world.agent();
        let buffer = a.reserve(4096, libc::PROT_READ | libc::PROT_WRITE);
        for command in [IPC_INFO, SHM_INFO] {
            assert_eq!(a.shmctl(12345, command, buffer), Ok(0));
            assert_eq!(a.shmctl(-1, command, buffer), Err(Errno::INVAL));
        }
    }

    /// proc(5): files hold the limits.
    fn limits_as_files(world) {
        let a = world.agent();
        assert_eq!(a.sysctl("shmmni"), Ok(4096));
        assert_eq!(a.sysctl("shmmax"), Ok(i128::from(u64::MAX - (1 << 24))));
        assert_eq!(a.sysctl("shm_next_id"), Ok(-1));
        assert_eq!(a.sysctl("shm_rmid_forced"), Ok(0));
        if let Err(e) = a.set_sysctl("shmmni", 3) {
            assert!(world.subject.is_kernel(), "{e}");
            world.skip("/proc/sys/kernel cannot be written");
            return;
        }
        assert_eq!(a.sysctl("shmmni"), Ok(3));
        assert_eq!(a.ipc_info().unwrap().shmmni, 3);
    }

    /// Every user can read the lists, whatever the mode of an object. The limits cannot be written
    /// by every user.
    fn files_for_every_user(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        a.shmget(IPC_PRIVATE, 4096, 0).unwrap();
        a.semget(IPC_PRIVATE, 1, 0).unwrap();
        a.msgget(IPC_PRIVATE, 0).unwrap();
        for name in ["shm", "sem", "msg"] {
            assert_eq!((b.sysvipc(name).len(), b.sysvipc(name)), (2, a.sysvipc(name)));
        }
        assert_eq!((b.set_sysctl("shmmni", 3), b.sysctl("shmmni")), (Err(Errno::ACCES), Ok(4096)));
    }

    /// proc(5): `/proc/sysvipc/shm` lists the segments.
    fn list_as_a_file(world) {
        let a = world.agent();
        let id = a.shmget(0x1234, 4097, IPC_CREAT | 0o640).unwrap();
        a.attach(id, 0);
        let listed = a.sysvipc("shm");
        assert_eq!(listed.len(), 2, "a headline and a segment");
        let fields: Vec<&str> = listed[1].split_ascii_whitespace().collect();
        let s = a.stat(id).unwrap();
        let expected = [0x1234.to_string(), id.to_string(), "640".to_owned(), "4097".to_owned(), a.pid.to_string()];
        assert_eq!(fields[..5], expected);
        assert_eq!(fields[6], s.nattch.to_string());
        assert_eq!(fields[7..14], [s.uid, s.gid, s.cuid, s.cgid, s.atime as u32, s.dtime as u32, s.ctime as u32].map(|n| n.to_string()));
        let at_once = world.differs("docs/semantics.md: memory of a new segment");
        assert_eq!(fields[14..], [if at_once { "8192" } else { "0" }, "0"]);
    }
}
