//! msgop(2), clause by clause: msgsnd without waiting.

use conformance::*;
use libc::{IPC_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE};

const PAGE: usize = 4096;

fn queue(a: &Agent) -> i32 {
    a.msgget(IPC_PRIVATE, 0o600).unwrap()
}

/// Creates a queue with this capacity.
fn small(a: &Agent, qbytes: u64) -> i32 {
    let id = queue(a);
    a.msg_set_capacity(id, qbytes).unwrap();
    id
}

clauses! {
    /// "appends a copy of the message ... to the message queue": at its end, for any type.
    fn appends(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        a.msgsnd(id, 3, b"one", WAIT).unwrap();
        b.msgsnd(id, 1, b"two", TRY).unwrap();
        a.msgsnd(id, i64::MAX, &[0, 255, 10], WAIT).unwrap();
        a.msgsnd(id, 3, b"one", WAIT).unwrap();
        let all = vec![message(3, b"one"), message(1, b"two"), message(i64::MAX, &[0, 255, 10]), message(3, b"one")];
        assert_eq!(a.messages(id), Ok(all));
    }

    /// "Upon successful completion the message queue data structure is updated as follows:
    /// msg_lspid is set to the process ID of the calling process; msg_qnum is incremented by 1;
    /// msg_stime is set to the current time." cbytes grows by the length. Nothing else changes.
    fn fields(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        let new = a.msg_stat(id).unwrap();
        let start = Clock::tick();
        b.msgsnd(id, 1, b"12345", WAIT).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert!(start.saw(q.stime));
        assert_eq!(q, Queue { stime: q.stime, cbytes: 5, qnum: 1, lspid: b.pid, ..new });
        a.msgsnd(id, 2, b"", WAIT).unwrap();
        a.msgsnd(id, 1, b"678", WAIT).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert_eq!((q.counts(), q.lspid, q.lrpid, q.rtime), ((3, 8), a.pid, 0, 0));
    }

    /// A call that fails changes no field.
    fn failures_change_nothing(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = small(&a, 4);
        a.msgsnd(id, 1, b"abc", WAIT).unwrap();
        let before = a.msg_stat(id).unwrap();
        assert_eq!(b.msgsnd(id, 1, b"xy", TRY), Err(Errno::AGAIN));
        assert_eq!(b.msgsnd(id, 0, b"x", TRY), Err(Errno::INVAL));
        assert_eq!(b.msgsnd(id, 1, &[7; 8193], TRY), Err(Errno::INVAL));
        assert_eq!(a.msg_stat(id), Ok(before));
        assert_eq!(a.messages(id), Ok(vec![message(1, b"abc")]));
    }

    /// "EINVAL: ... nonpositive mtype value".
    fn types(world) {
        let a = world.agent();
        let id = queue(&a);
        for bad in [0, -1, i64::MIN] {
            assert_eq!(a.msgsnd(id, bad, b"x", WAIT), Err(Errno::INVAL), "{bad}");
        }
        for good in [1, 1 << 31, 1 << 32, i64::MAX] {
            a.msgsnd(id, good, b"x", WAIT).unwrap();
            assert_eq!(a.msgrcv(id, 10, good, TRY), Ok(message(good, b"x")));
        }
    }

    /// "EINVAL: ... invalid msgsz value (less than 0 or greater than the system value MSGMAX)".
    fn longest(world) {
        let a = world.agent();
        let id = queue(&a);
        let most: Vec<u8> = (0..8192u32).map(|i| ((i * 31) >> 3) as u8).collect();
        a.msgsnd(id, 1, &most, WAIT).unwrap();
        assert_eq!(a.msgsnd(id, 2, &[&most[..], &[0]].concat(), WAIT), Err(Errno::INVAL));
        assert_eq!(a.msgrcv(id, 8192, 0, TRY), Ok(message(1, &most)));
        if !world.limit("msgmax", 10) {
            return;
        }
        assert_eq!(a.msgsnd(id, 1, &[1; 11], WAIT), Err(Errno::INVAL));
        a.msgsnd(id, 1, &[1; 10], WAIT).unwrap();
        assert!(world.limit("msgmax", 0));
        assert_eq!(a.msgsnd(id, 1, &[1], WAIT), Err(Errno::INVAL));
        a.msgsnd(id, 1, &[], WAIT).unwrap();
        assert_eq!(a.msgrcv(id, 10, 0, TRY), Ok(message(1, &[1; 10])), "what is there may be longer");
    }

    /// Longer messages arrive whole if the limits permit them.
    fn long_messages(world) {
        let long: Vec<u8> = (0..70_000u32).map(|i| ((i * 7) ^ (i >> 8)) as u8).collect();
        if !world.limit("msgmax", 100_000) {
            return;
        }
        assert!(world.limit("msgmnb", 200_000));
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        for length in [4048, 4049, 4096, 65_535, 65_536, 70_000] {
            a.msgsnd(id, 5, &long[..length], WAIT).unwrap();
            assert_eq!(b.msgrcv(id, 100_000, 0, TRY), Ok(message(5, &long[..length])), "{length}");
        }
        a.msgsnd(id, 5, &long, WAIT).unwrap();
        assert_eq!(b.msgrcv(id, 69_999, 0, NOERROR), Ok(message(5, &long[..69_999])));
    }

    /// "msgsz ... (Messages of zero length (i.e., no mtext field) are permitted.)"
    fn empty(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msgsnd(id, 9, b"", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((1, 0)));
        assert_eq!(a.msgrcv(id, 0, 0, WAIT), Ok(message(9, b"")));
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((0, 0)));
    }

    /// "EAGAIN: The message can't be sent due to the msg_qbytes limit for the queue and IPC_NOWAIT
    /// was specified": "adding a new message to the queue would cause the total number of bytes in
    /// the queue to exceed the queue's maximum size".
    fn bytes(world) {
        let a = world.agent();
        let id = small(&a, 10);
        assert_eq!(a.msgsnd(id, 1, &[0; 11], TRY), Err(Errno::AGAIN), "also of an empty queue");
        a.msgsnd(id, 1, &[0; 6], TRY).unwrap();
        assert_eq!(a.msgsnd(id, 1, &[0; 5], TRY), Err(Errno::AGAIN));
        a.msgsnd(id, 1, &[0; 4], TRY).unwrap();
        assert_eq!(a.msgsnd(id, 1, &[0; 1], TRY), Err(Errno::AGAIN));
        a.msgsnd(id, 1, b"", TRY).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((3, 10)));
        a.msgrcv(id, 100, 0, TRY).unwrap();
        assert_eq!(a.msgsnd(id, 1, &[0; 7], TRY), Err(Errno::AGAIN));
        a.msgsnd(id, 1, &[0; 6], TRY).unwrap();
    }

    /// The default capacity: 16384 bytes, which is two messages of the largest size.
    fn default_capacity(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msgsnd(id, 1, &[1; 8192], TRY).unwrap();
        a.msgsnd(id, 1, &[2; 8192], TRY).unwrap();
        assert_eq!(a.msgsnd(id, 1, &[3; 1], TRY), Err(Errno::AGAIN));
    }

    /// "Adding another message to the queue would cause the total number of messages in the queue
    /// to exceed the queue's maximum size (the msg_qbytes field). This check is necessary to
    /// prevent an unlimited number of zero-length messages being placed on the queue."
    fn number(world) {
        let a = world.agent();
        let id = small(&a, 3);
        for _ in 0..3 {
            a.msgsnd(id, 1, b"", TRY).unwrap();
        }
        assert_eq!(a.msgsnd(id, 1, b"", TRY), Err(Errno::AGAIN));
        a.msgrcv(id, 0, 0, TRY).unwrap();
        a.msgsnd(id, 1, b"", TRY).unwrap();
        assert_eq!(a.msgsnd(id, 1, b"", TRY), Err(Errno::AGAIN));
        let zero_capacity = small(&a, 0);
        assert_eq!(a.msgsnd(zero_capacity, 1, b"", TRY), Err(Errno::AGAIN));
    }

    /// The default capacity also limits the number of empty messages.
    fn many_empty(world) {
        let a = world.agent();
        let id = small(&a, 1000);
        for i in 0..1000 {
            a.msgsnd(id, 1 + i % 7, b"", TRY).unwrap();
        }
        assert_eq!(a.msgsnd(id, 1, b"", TRY), Err(Errno::AGAIN));
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((1000, 0)));
        for i in (0..1000).filter(|i| i % 7 == 3) {
            assert_eq!(a.msgrcv(id, 0, 4, TRY), Ok(message(4, b"")), "{i}");
        }
        assert_eq!(a.msgrcv(id, 0, 4, TRY), Err(Errno::NOMSG));
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((857, 0)));
    }

    /// A lowered capacity removes nothing. No message fits until the content is smaller.
    fn lowered_capacity(world) {
        let a = world.agent();
        let id = small(&a, 10);
        a.msgsnd(id, 1, &[1; 6], TRY).unwrap();
        a.msgsnd(id, 2, &[2; 4], TRY).unwrap();
        a.msg_set_capacity(id, 5).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert_eq!((q.counts(), q.qbytes), ((2, 10), 5));
        assert_eq!(a.msgsnd(id, 3, b"", TRY), Err(Errno::AGAIN));
        a.msgrcv(id, 100, 0, TRY).unwrap();
        a.msgsnd(id, 3, b"x", TRY).unwrap();
        assert_eq!(a.msgsnd(id, 3, b"x", TRY), Err(Errno::AGAIN));
    }

    /// "EINVAL: Invalid msqid value": negative, unused and stale.
    fn identifiers(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msg_remove(id).unwrap();
        for bad in [id, -1, i32::MIN, id + 1, 12345, i32::MAX] {
            assert_eq!(a.msgsnd(bad, 1, b"x", WAIT), Err(Errno::INVAL), "{bad}");
        }
    }

    /// "EACCES: The calling process does not have write permission on the message queue". Only the
    /// bit of the caller's own class counts.
    fn permission(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, STRANGER, &[7, NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let root = world.agent();
        let (no, yes) = (Err(Errno::ACCES), Ok(()));
        for (mode, expected) in [
            (0o200, [yes, no, no]),
            (0o020, [no, yes, no]),
            (0o002, [no, no, yes]),
            (0o557, [no, no, yes]),
            (0o727, [yes, yes, yes]),
            (0o000, [no, no, no]),
            (0o222, [yes, yes, yes]),
        ] {
            let id = owner.msgget(IPC_PRIVATE, mode).unwrap();
            assert_eq!([&owner, &member, &other].map(|a| a.msgsnd(id, 1, b"x", TRY)), expected, "{mode:#o}");
            assert_eq!(root.msgsnd(id, 1, b"x", TRY), yes);
        }
    }

    /// Owner and creator have the bits of the first class, their groups those of the second.
    fn owner_and_creator(world) {
        if !world.users() {
            return;
        }
        let root = world.agent();
        let creator = world.agent_as(NOBODY, NOBODY, &[]);
        let owner = world.agent_as(STRANGER, STRANGER, &[]);
        let of_creators_group = world.agent_as(7, NOBODY, &[]);
        let of_owners_group = world.agent_as(7, 7, &[STRANGER]);
        let other = world.agent_as(7, 7, &[]);
        let id = creator.msgget(IPC_PRIVATE, 0o600).unwrap();
        let try_all = || [&creator, &owner, &of_creators_group, &of_owners_group, &other].map(|a| a.msgsnd(id, 1, b"", TRY).is_ok());
        root.msg_set(id, STRANGER, STRANGER, 0o600, 16384).unwrap();
        assert_eq!(try_all(), [true, true, false, false, false]);
        root.msg_set(id, STRANGER, STRANGER, 0o060, 16384).unwrap();
        assert_eq!(try_all(), [false, false, true, true, false]);
        root.msg_set(id, STRANGER, STRANGER, 0o006, 16384).unwrap();
        assert_eq!(try_all(), [false, false, false, false, true]);
    }

    /// The order of errors: size, sign of the identifier and type; then the identifier, permission,
    /// and room.
    fn order_of_errors(world) {
        let a = world.ordinary();
        let id = a.msgget(IPC_PRIVATE, 0o400).unwrap();
        a.msg_set_capacity(id, 4).unwrap();
        assert_eq!(a.msgsnd(id, 1, b"12345", TRY), Err(Errno::ACCES), "before the room");
        assert_eq!(a.msgsnd(id, 0, b"12345", TRY), Err(Errno::INVAL), "the type before the permissions");
        assert_eq!(a.msgsnd(id, 1, &[0; 8193], TRY), Err(Errno::INVAL), "the size before the permissions");
    }

    /// Permissions are checked at each call: IPC_SET can remove and restore them in between.
    fn permission_changes(world) {
        if !world.users() {
            return;
        }
        let (root, a) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = root.msgget(IPC_PRIVATE, 0o666).unwrap();
        let mode = |mode| root.msg_set(id, 0, 0, mode, 16384).unwrap();
        for _ in 0..3 {
            assert_eq!((a.msgsnd(id, 1, b"x", TRY), a.msgrcv(id, 1, 0, TRY)), (Ok(()), Ok(message(1, b"x"))));
            mode(0o664);
            assert_eq!((a.msgsnd(id, 1, b"x", TRY), a.msgrcv(id, 1, 0, TRY)), (Err(Errno::ACCES), Err(Errno::NOMSG)));
            mode(0o662);
            assert_eq!((a.msgsnd(id, 1, b"x", TRY), a.msgrcv(id, 1, 0, TRY)), (Ok(()), Err(Errno::ACCES)));
            mode(0o660);
            assert_eq!((a.msgsnd(id, 1, b"x", TRY), a.msgrcv(id, 1, 0, TRY)), (Err(Errno::ACCES), Err(Errno::ACCES)));
            mode(0o666);
            assert_eq!(a.msgrcv(id, 1, 0, TRY), Ok(message(1, b"x")));
        }
    }

    /// A process that changes its user has that user's permissions from then on.
    fn users_change(world) {
        if !world.users() {
            return;
        }
        let a = world.agent();
        let (readable, writable, neither) =
            (a.msgget(IPC_PRIVATE, 0o604).unwrap(), a.msgget(IPC_PRIVATE, 0o602).unwrap(), a.msgget(IPC_PRIVATE, 0o600).unwrap());
        for id in [readable, writable, neither] {
            a.msgsnd(id, 1, b"x", TRY).unwrap();
            a.msgsnd(id, 1, b"y", TRY).unwrap();
            a.msgrcv(id, 1, 0, TRY).unwrap();
        }
        a.become_user(NOBODY, NOBODY, &[]);
        let all = [readable, writable, neither];
        assert_eq!(all.map(|id| a.msgsnd(id, 1, b"z", TRY)), [Err(Errno::ACCES), Ok(()), Err(Errno::ACCES)]);
        assert_eq!(all.map(|id| a.msgrcv(id, 1, 0, TRY)), [Ok(message(1, b"y")), Err(Errno::ACCES), Err(Errno::ACCES)]);
        assert_eq!(all.map(|id| a.msg_stat(id).map(|q| q.qnum)), [Ok(0), Err(Errno::ACCES), Err(Errno::ACCES)]);
    }

    /// A private queue of a user, which the superuser uses, too.
    fn the_superuser_sends(world) {
        if !world.users() {
            return;
        }
        let (root, a) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = a.msgget(IPC_PRIVATE, 0).unwrap();
        for _ in 0..3 {
            root.msgsnd(id, 1, b"x", TRY).unwrap();
            assert_eq!(a.msgrcv(id, 1, 0, TRY), Err(Errno::ACCES));
            a.msg_set(id, NOBODY, NOBODY, 0o400, 16384).unwrap();
            assert_eq!((a.msgsnd(id, 1, b"y", TRY), a.msgrcv(id, 1, 0, TRY)), (Err(Errno::ACCES), Ok(message(1, b"x"))));
            a.msg_set(id, NOBODY, NOBODY, 0, 16384).unwrap();
        }
        assert_eq!(root.msg_stat(id).map(|q| (q.lspid, q.lrpid, q.cuid)), Ok((root.pid, a.pid, NOBODY)));
    }

    /// Several megabytes in one queue.
    fn a_large_queue(world) {
        if !world.limit("msgmax", 1 << 20) {
            return;
        }
        assert!(world.limit("msgmnb", 24 << 20));
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        let text = |i: usize| (0..(1 << 20) - i * 5000).map(|j| (i * 31 + j * 7 + (j >> 12)) as u8).collect::<Vec<u8>>();
        for round in 0..2 {
            for i in 0..12 {
                let sender = if i % 2 == round { &a } else { &b };
                sender.msgsnd(id, 1 + i as i64 % 5, &text(i), TRY).unwrap();
            }
            for (receiver, mtype, i) in [(&b, 3, 2), (&a, 3, 7), (&a, 5, 4)] {
                assert!(receiver.msgrcv(id, 1 << 20, mtype, TRY) == Ok(message(mtype, &text(i))), "{i}");
            }
            let left: Vec<usize> = (0..12).filter(|i| ![2, 7, 4].contains(i)).collect();
            for &i in &left {
                let receiver = if i % 3 == 0 { &a } else { &b };
                assert!(receiver.msgrcv(id, 1 << 20, 0, TRY) == Ok(message(1 + i as i64 % 5, &text(i))), "{i}");
            }
            assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((0, 0)));
        }
    }

    /// Unknown flags, and the flags of msgrcv, are ignored.
    fn flags(world) {
        let a = world.agent();
        let id = small(&a, 1);
        let others = MsgFlags::from_bits_retain(!MsgFlags::NOWAIT.bits());
        a.msgsnd(id, 1, b"x", others).unwrap();
        assert_eq!(a.msgsnd(id, 1, b"x", others | TRY), Err(Errno::AGAIN));
    }

    /// Children send under their own id. An exec changes nothing.
    fn fork_and_exec(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msgsnd(id, 1, b"before", WAIT).unwrap();
        let child = a.fork();
        child.msgsnd(id, 2, b"child", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.lspid), Ok(child.pid));
        child.exec();
        child.msgsnd(id, 3, b"other image", WAIT).unwrap();
        let second = child.vfork();
        second.msgsnd(id, 4, b"vforked", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| (q.lspid, q.qnum)), Ok((second.pid, 4)));
        let all = a.messages(id).unwrap();
        assert_eq!(all.iter().map(|m| m.mtype).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}

clauses! { in C:
    /// "EFAULT: The address pointed to by msgp isn't accessible". The type is read first; the text
    /// is read before the identifier is looked up.
    fn inaccessible(world) {
        let a = world.agent();
        let id = queue(&a);
        for bad in [Address::NULL, Address(1), PAD, Address(usize::MAX - 3)] {
            assert_eq!(a.msgsnd_at(id, bad, 4, WAIT), Err(Errno::FAULT), "{bad:?}");
            assert_eq!(a.msgsnd_at(id, bad, 0, WAIT), Err(Errno::FAULT), "an empty message has a type");
            assert_eq!(a.msgsnd_at(-1, bad, usize::MAX, WAIT), Err(Errno::FAULT), "before size and identifier");
        }
        let at = a.reserve(2 * PAGE, PROT_READ | PROT_WRITE);
        a.mprotect(at.plus(PAGE), PAGE, PROT_NONE).unwrap();
        let edge = at.plus(PAGE - 16);
        a.write_message(edge, 1, b"12345678");
        assert_eq!(a.msgsnd_at(id, edge, 8, WAIT), Ok(()));
        assert_eq!(a.msgsnd_at(id, edge, 9, WAIT), Err(Errno::FAULT));
        assert_eq!(a.msgsnd_at(id, edge, 8192, WAIT), Err(Errno::FAULT));
        assert_eq!(a.msgsnd_at(id, edge, 8193, WAIT), Err(Errno::INVAL), "the size before the bytes");
        assert_eq!(a.msgsnd_at(-1, edge, 9, WAIT), Err(Errno::INVAL), "a negative identifier, too");
        assert_eq!(a.msgsnd_at(id + 1, edge, 9, WAIT), Err(Errno::FAULT), "but not an invalid one");
        a.write_message(edge, 0, b"");
        assert_eq!(a.msgsnd_at(id, edge, 9, WAIT), Err(Errno::INVAL), "the type before the bytes");
        assert_eq!(a.messages(id), Ok(vec![message(1, b"12345678")]));
    }

    /// The text is read before permission and room are checked.
    fn inaccessible_and_refused(world) {
        let a = world.ordinary();
        let at = a.reserve(2 * PAGE, PROT_READ | PROT_WRITE);
        a.mprotect(at.plus(PAGE), PAGE, PROT_NONE).unwrap();
        let edge = at.plus(PAGE - 8);
        a.write_message(edge, 1, b"");
        let unwritable = a.msgget(IPC_PRIVATE, 0o400).unwrap();
        assert_eq!(a.msgsnd_at(unwritable, edge, 1, TRY), Err(Errno::FAULT));
        assert_eq!(a.msgsnd_at(unwritable, edge, 0, TRY), Err(Errno::ACCES));
        let full = small(&a, 0);
        assert_eq!(a.msgsnd_at(full, edge, 1, TRY), Err(Errno::FAULT));
        assert_eq!(a.msgsnd_at(full, edge, 0, TRY), Err(Errno::AGAIN));
    }

    /// "msgsz ... less than 0".
    fn negative_sizes(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = a.reserve(PAGE, PROT_READ | PROT_WRITE);
        a.write_message(at, 1, b"");
        for size in [usize::MAX, 1 << 63, (1 << 32) + 1, 1 << 31] {
            assert_eq!(a.msgsnd_at(id, at, size, WAIT), Err(Errno::INVAL), "{size:#x}");
        }
    }

    /// A message at any address, aligned or not, in read-only memory.
    fn where_it_lies(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = a.reserve(2 * PAGE, PROT_READ | PROT_WRITE);
        for offset in [0, 1, 7, PAGE - 9, PAGE - 3] {
            a.write_message(at.plus(offset), 0x0102_0304_0506_0708, b"wherever");
            a.mprotect(at, 2 * PAGE, PROT_READ).unwrap();
            assert_eq!(a.msgsnd_at(id, at.plus(offset), 8, WAIT), Ok(()));
            assert_eq!(a.msgrcv(id, 8, 0, TRY), Ok(message(0x0102_0304_0506_0708, b"wherever")), "{offset}");
            a.mprotect(at, 2 * PAGE, PROT_READ | PROT_WRITE).unwrap();
        }
    }

    /// Through syscall(2).
    fn bare(world) {
        let a = world.agent();
        a.set_bare(true);
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        a.msgsnd(id, 2, b"bare", WAIT).unwrap();
        assert_eq!(a.msgsnd(id, 0, b"bare", WAIT), Err(Errno::INVAL));
        assert_eq!(a.msgrcv(id, 10, 0, TRY), Ok(message(2, b"bare")));
        assert_eq!(a.msgrcv(id, 10, 0, TRY), Err(Errno::NOMSG));
        assert_eq!(a.msg_stat(id).map(|q| q.lrpid), Ok(a.pid));
        a.msg_remove(id).unwrap();
    }
}
