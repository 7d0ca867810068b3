//! msgctl(2): IPC_STAT, IPC_SET and IPC_RMID.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, PROT_READ, PROT_WRITE};

const PAGE: usize = 4096;
/// The default capacity, and the largest without privilege.
const MSGMNB: u64 = 16384;

fn queue(a: &Agent) -> i32 {
    a.msgget(IPC_PRIVATE, 0o600).unwrap()
}

/// Returns the address of two pages, followed by inaccessible memory.
fn two_pages(a: &Agent) -> Address {
    let at = a.reserve(3 * PAGE, PROT_READ | PROT_WRITE);
    a.mprotect(at.plus(2 * PAGE), PAGE, libc::PROT_NONE).unwrap();
    at.plus(PAGE)
}

/// Returns `true` if the tests have CAP_SYS_RESOURCE, which not every superuser has.
fn may_exceed() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & 1 << 24 != 0
}

clauses! {
    /// IPC_STAT: "Copy information ... The caller must have read permission on the message queue."
    fn stat_permission(world) {
        let a = world.ordinary();
        let readable = a.msgget(IPC_PRIVATE, 0o400).unwrap();
        assert_eq!(a.msg_stat(readable).map(|q| q.mode), Ok(0o400));
        let unreadable = a.msgget(IPC_PRIVATE, 0o277).unwrap();
        assert_eq!(a.msg_stat(unreadable), Err(Errno::ACCES));
        a.msgsnd(unreadable, 1, b"x", TRY).unwrap();
        let mode = if world.users() { world.agent().msg_stat(unreadable).map(|q| q.mode) } else { return };
        assert_eq!(mode, Ok(0o277), "the superuser may");
    }

    /// Only the bit of the caller's own class counts.
    fn permission_for_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, STRANGER, &[7, NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        for (mode, expected) in [
            (0o400, [true, false, false]),
            (0o040, [false, true, false]),
            (0o004, [false, false, true]),
            (0o744, [true, true, true]),
            (0o333, [false, false, false]),
        ] {
            let id = owner.msgget(IPC_PRIVATE, mode).unwrap();
            assert_eq!([&owner, &member, &other].map(|a| a.msg_stat(id).is_ok()), expected, "{mode:#o}");
        }
    }

    /// "EINVAL: Invalid value for ... msqid", stale ones too.
    fn invalid_identifiers(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msg_remove(id).unwrap();
        for bad in [id, id + 1, -1, i32::MIN, i32::MAX, 12345] {
            assert_eq!(a.msg_stat(bad), Err(Errno::INVAL), "{bad}");
            assert_eq!(a.msg_set(bad, 0, 0, 0o600, 100), Err(Errno::INVAL), "{bad}");
            assert_eq!(a.msg_remove(bad), Err(Errno::INVAL), "{bad}");
        }
    }

    /// Segments and sets have identifiers of their own.
    fn identifiers_of_other_classes(world) {
        let a = world.agent();
        for _ in 0..3 {
            a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
            a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        }
        let id = queue(&a);
        assert_eq!(a.msg_usage().map(|u| u.queues), Ok(1));
        a.msg_remove(id).unwrap();
        assert_eq!((a.shm_info().map(|u| u.used_ids), a.sem_usage().map(|u| u.sets)), (Ok(3), Ok(3)));
    }

    /// IPC_SET: "Write the values of some members of the msqid_ds structure ...: msg_qbytes,
    /// msg_perm.uid, msg_perm.gid, and (the least significant 9 bits of) msg_perm.mode ... updating
    /// also its msg_ctime member." Nothing else changes.
    fn set_updates(world) {
        let a = world.agent();
        let id = a.msgget(5, IPC_CREAT | 0o600).unwrap();
        a.msgsnd(id, 3, b"kept", TRY).unwrap();
        let before = a.msg_stat(id).unwrap();
        let start = Clock::tick();
        a.msg_set(id, before.uid, before.gid, 0o7123 | 0o400, 77).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert!(start.saw(q.ctime));
        assert_eq!(q, Queue { mode: 0o523, qbytes: 77, ctime: q.ctime, ..before });
        assert_eq!(a.messages(id), Ok(vec![message(3, b"kept")]));
    }

    /// The capacity can be anything up to MSGMNB, including 0 and less than the current content.
    fn capacities(world) {
        let a = world.ordinary();
        let id = queue(&a);
        a.msgsnd(id, 1, &[1; 100], TRY).unwrap();
        for qbytes in [0, 1, 99, MSGMNB - 1, MSGMNB] {
            a.msg_set_capacity(id, qbytes).unwrap();
            assert_eq!(a.msg_stat(id).map(|q| (q.qbytes, q.counts())), Ok((qbytes, (1, 100))));
        }
    }

    /// "EPERM: An attempt (IPC_SET) was made to increase msg_qbytes beyond the system parameter
    /// MSGMNB, but the caller is not privileged (Linux: does not have the CAP_SYS_RESOURCE
    /// capability)." Nothing is set then.
    fn more_than_msgmnb(world) {
        let a = world.ordinary();
        let id = queue(&a);
        let before = a.msg_stat(id).unwrap();
        for qbytes in [MSGMNB + 1, i32::MAX as u64, u64::from(u32::MAX)] {
            assert_eq!(a.msg_set(id, before.uid, before.gid, 0o666, qbytes), Err(Errno::PERM), "{qbytes}");
        }
        assert_eq!(a.msg_stat(id), Ok(before));
    }

    /// The current MSGMNB counts. A capacity above it stays, but cannot be set again.
    fn lowered_msgmnb(world) {
        let a = world.ordinary();
        let id = queue(&a);
        if !world.limit("msgmnb", 100) {
            return;
        }
        assert_eq!(a.msg_set_capacity(id, MSGMNB), Err(Errno::PERM));
        assert_eq!(a.msg_set_capacity(id, 101), Err(Errno::PERM));
        assert_eq!(a.msg_stat(id).map(|q| q.qbytes), Ok(MSGMNB));
        a.msgsnd(id, 1, &[1; 8192], TRY).unwrap();
        a.msg_set_capacity(id, 100).unwrap();
        assert!(world.limit("msgmnb", 1 << 20));
        a.msg_set_capacity(id, 1 << 20).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.qbytes), Ok(1 << 20));
    }

    /// A process with CAP_SYS_RESOURCE may exceed MSGMNB.
    fn privileged_capacity(world) {
        let a = world.agent();
        let id = queue(&a);
        let expected = if may_exceed() { Ok(()) } else { Err(Errno::PERM) };
        assert_eq!(a.msg_set_capacity(id, 100_000), expected);
        assert_eq!(a.msg_stat(id).map(|q| q.qbytes), Ok(if may_exceed() { 100_000 } else { MSGMNB }));
        if !may_exceed() {
            world.skip("the tests have no CAP_SYS_RESOURCE");
        }
    }

    /// "The effective user ID of the calling process must match the owner (msg_perm.uid) or creator
    /// (msg_perm.cuid)": the creator may give it away, and take it back.
    fn owner_and_creator(world) {
        if !world.users() {
            return;
        }
        let creator = world.agent_as(NOBODY, NOBODY, &[]);
        let id = creator.msgget(5, IPC_CREAT | 0o600).unwrap();
        creator.msg_set(id, STRANGER, STRANGER, 0o600, 100).unwrap();
        let owner = world.agent_as(STRANGER, 1, &[]);
        for agent in [&creator, &owner] {
            let q = agent.msg_stat(id).unwrap();
            assert_eq!((q.uid, q.gid, q.cuid, q.cgid), (STRANGER, STRANGER, NOBODY, NOBODY));
            assert_eq!(agent.msgsnd(id, 1, b"x", TRY), Ok(()));
            assert_eq!(agent.msgget(5, 0o600), Ok(id));
        }
        creator.msg_set(id, STRANGER, STRANGER, 0o660, 100).unwrap();
        for agent in [&world.agent_as(7, STRANGER, &[]), &world.agent_as(7, NOBODY, &[])] {
            assert_eq!(agent.msgsnd(id, 1, b"x", TRY), Ok(()));
            assert_eq!(agent.msg_set(id, 7, 7, 0o600, 100), Err(Errno::PERM));
            assert_eq!(agent.msg_remove(id), Err(Errno::PERM));
        }
        assert_eq!(creator.msg_stat(id).map(|q| q.qnum), Ok(4));
        creator.msg_set(id, NOBODY, NOBODY, 0o600, 100).unwrap();
        assert_eq!(owner.msg_stat(id), Err(Errno::ACCES), "and may take it back");
        creator.msg_remove(id).unwrap();
    }

    /// The new owner sets the mode and the capacity, and may remove it.
    fn set_by_the_new_owner(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let id = queue(&root);
        root.msg_set(id, NOBODY, NOBODY, 0o600, 100).unwrap();
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let set = owner.msg_set(id, NOBODY, NOBODY, 0o644, 50);
        if world.differs("docs/semantics.md: IPC_SET by an owner that is not the creator") {
            assert_eq!(set, Err(Errno::PERM));
            assert_eq!(owner.msg_stat(id).map(|q| (q.mode, q.qbytes)), Ok((0o600, 100)));
        } else {
            assert_eq!(set, Ok(()));
            assert_eq!(owner.msg_stat(id).map(|q| (q.mode, q.qbytes)), Ok((0o644, 50)));
        }
        assert_eq!(owner.msg_remove(id), Ok(()));
    }

    /// "EPERM: ... the effective user ID of the calling process is not the creator ... or the
    /// owner".
    fn set_and_remove_by_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let other = world.agent_as(STRANGER, NOBODY, &[]);
        let id = owner.msgget(5, IPC_CREAT | 0o666).unwrap();
        assert_eq!(other.msg_set(id, STRANGER, STRANGER, 0o666, 10), Err(Errno::PERM));
        assert_eq!(other.msg_set(id, u32::MAX, STRANGER, 0o666, 10), Err(Errno::PERM));
        assert_eq!(other.msg_remove(id), Err(Errno::PERM));
        let unreadable = owner.msgget(IPC_PRIVATE, 0).unwrap();
        assert_eq!(other.msg_set(unreadable, 0, 0, 0, 0), Err(Errno::PERM));
        assert_eq!(other.msg_remove(unreadable), Err(Errno::PERM), "the mode plays no part");
        assert_eq!(owner.msg_remove(unreadable), Ok(()));
        assert_eq!(world.agent().msg_remove(id), Ok(()), "the superuser may");
    }

    /// Ids of -1 are refused, but a capacity that is too large is found first.
    fn set_to_id_minus_one(world) {
        let a = world.ordinary();
        let id = queue(&a);
        let before = a.msg_stat(id).unwrap();
        assert_eq!(a.msg_set(id, u32::MAX, before.gid, 0o644, 10), Err(Errno::INVAL));
        assert_eq!(a.msg_set(id, before.uid, u32::MAX, 0o644, 10), Err(Errno::INVAL));
        assert_eq!(a.msg_set(id, u32::MAX, u32::MAX, 0o644, MSGMNB + 1), Err(Errno::PERM));
        assert_eq!(a.msg_stat(id), Ok(before));
    }

    /// IPC_RMID: "Immediately remove the message queue". The key is free at once, and the messages
    /// are gone.
    fn remove(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.msgget(5, IPC_CREAT | 0o600).unwrap();
        b.msgsnd(id, 1, b"gone", TRY).unwrap();
        assert_eq!(a.msg_remove(id), Ok(()));
        assert_eq!(b.msgget(5, 0), Err(Errno::NOENT));
        assert_eq!(b.msgrcv(id, 10, 0, TRY), Err(Errno::INVAL));
        assert_eq!(a.msg_remove(id), Err(Errno::INVAL));
        let again = b.msgget(5, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_ne!(again, id);
        assert_eq!(b.messages(again), Ok(Vec::new()));
        assert_eq!(b.msg_usage().map(|u| (u.queues, u.messages, u.bytes)), Ok((1, 0, 0)));
    }

    /// msg_lspid and msg_lrpid keep the ids of processes that have exited.
    fn pids_of_exited_processes(world) {
        let (a, b, c) = (world.agent(), world.agent(), world.agent());
        let id = queue(&a);
        b.msgsnd(id, 1, b"x", TRY).unwrap();
        c.msgrcv(id, 1, 0, TRY).unwrap();
        let pids = (b.pid, c.pid);
        b.exit(0);
        c.kill_from_outside(libc::SIGKILL);
        assert_eq!(a.msg_stat(id).map(|q| (q.lspid, q.lrpid)), Ok(pids));
    }
}

clauses! { in C:
    /// The commands by number.
    fn by_number(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = two_pages(&a);
        assert_eq!(a.msgctl(id, IPC_STAT, at), Ok(0));
        assert_eq!(a.msgctl(id, IPC_SET, at), Ok(0));
        assert_eq!(a.msgctl(id, IPC_RMID, Address(1)), Ok(0), "the buffer means nothing");
    }

    /// Only the low 32 bits of the capacity count.
    fn capacity_of_32_bits(world) {
        let a = world.ordinary();
        let id = queue(&a);
        let at = two_pages(&a);
        a.msgctl(id, IPC_STAT, at).unwrap();
        let qbytes = at.plus(std::mem::offset_of!(libc::msqid_ds, msg_qbytes));
        a.write(qbytes, &((1u64 << 32) + 5).to_ne_bytes());
        assert_eq!(a.msgctl(id, IPC_SET, at), Ok(0));
        assert_eq!(a.msg_stat(id).map(|q| q.qbytes), Ok(5));
        a.write(qbytes, &u64::MAX.to_ne_bytes());
        assert_eq!(a.msgctl(id, IPC_SET, at), Err(Errno::PERM));
    }

    /// IPC_STAT writes its buffer last, IPC_SET reads it first.
    fn bad_buffers(world) {
        let a = world.ordinary();
        let id = queue(&a);
        let untouchable = a.msgget(IPC_PRIVATE, 0).unwrap();
        for bad in [Address::NULL, Address(1), PAD] {
            assert_eq!(a.msgctl(id, IPC_STAT, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(untouchable, IPC_STAT, bad), Err(Errno::ACCES));
            assert_eq!(a.msgctl(id ^ (1 << 15), IPC_STAT, bad), Err(Errno::INVAL));
            assert_eq!(a.msgctl(id, IPC_SET, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(id ^ (1 << 15), IPC_SET, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(-1, IPC_SET, bad), Err(Errno::INVAL), "but a negative identifier before all");
        }
    }

    /// Buffers at the end of accessible memory.
    fn buffers_at_the_edge(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = two_pages(&a);
        let size = std::mem::size_of::<libc::msqid_ds>();
        assert_eq!(a.msgctl(id, IPC_STAT, at.plus(PAGE - size)), Ok(0));
        assert_eq!(a.msgctl(id, IPC_SET, at.plus(PAGE - size)), Ok(0));
        assert_eq!(a.msgctl(id, IPC_STAT, at.plus(PAGE - size + 1)), Err(Errno::FAULT));
        assert_eq!(a.msgctl(id, IPC_SET, at.plus(PAGE - size + 1)), Err(Errno::FAULT));
        assert_eq!(a.msgctl(id, IPC_STAT, at.plus(1)), Ok(0), "unaligned");
        assert_eq!(a.msgctl(id, IPC_SET, at.plus(1)), Ok(0));
    }

    /// Fields that the system does not use are zero, and nothing is written beyond the structure.
    fn unused_bits_are_zero(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = a.reserve(PAGE, PROT_READ | PROT_WRITE);
        let size = std::mem::size_of::<libc::msqid_ds>();
        a.write(at, &vec![0xee; size + 8]);
        a.msgctl(id, IPC_STAT, at).unwrap();
        let after = std::mem::offset_of!(libc::msqid_ds, msg_lrpid) + 4;
        assert!((after..size).all(|offset| a.peek(at.plus(offset)) == Ok(0)));
        assert!((size..size + 8).all(|offset| a.peek(at.plus(offset)) == Ok(0xee)));
    }

    /// "EINVAL: Invalid value for cmd", for any identifier.
    fn unknown_commands(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = two_pages(&a);
        for command in [-1, 4, 10, 14, 15, 18, 100, i32::MAX, i32::MIN] {
            assert_eq!(a.msgctl(id, command, at), Err(Errno::INVAL), "{command}");
            assert_eq!(a.msgctl(-1, command, Address::NULL), Err(Errno::INVAL), "{command}");
        }
    }
}
