//! msgop(2), clause by clause: msgrcv without waiting.

use conformance::*;
use libc::{IPC_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE};

const PAGE: usize = 4096;

fn queue(a: &Agent) -> i32 {
    a.msgget(IPC_PRIVATE, 0o600).unwrap()
}

/// Creates a queue with messages of these types. The text of each is its position.
fn filled(a: &Agent, types: &[i64]) -> i32 {
    let id = queue(a);
    for (place, mtype) in types.iter().enumerate() {
        a.msgsnd(id, *mtype, &[place as u8], TRY).unwrap();
    }
    id
}

/// Returns the positions of messages that calls with this type receive, until there is none.
fn taken(a: &Agent, id: i32, mtype: i64, flags: MsgFlags) -> Vec<u8> {
    let one = || a.msgrcv(id, 1, mtype, flags | TRY);
    let all: Vec<u8> = std::iter::from_fn(|| one().ok()).map(|m| m.text[0]).collect();
    assert_eq!(one(), Err(Errno::NOMSG));
    all
}

clauses! {
    /// "removes a message from the queue specified by msqid and places it in the buffer".
    fn takes(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        a.msgsnd(id, 3, b"hello", WAIT).unwrap();
        assert_eq!(b.msgrcv(id, 100, 0, WAIT), Ok(message(3, b"hello")));
        assert_eq!(b.msgrcv(id, 100, 0, TRY), Err(Errno::NOMSG));
    }

    /// "If msgtyp is 0, then the first message in the queue is read": in the order of sending.
    fn first_in_first_out(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 1, 3, 1, 9, 1 << 40]);
        assert_eq!(taken(&a, id, 0, WAIT), [0, 1, 2, 3, 4, 5]);
    }

    /// "If msgtyp is greater than 0, then the first message in the queue of type msgtyp is read".
    fn of_a_type(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 1, 3, 1, 9, 1]);
        assert_eq!(taken(&a, id, 1, WAIT), [1, 3, 5]);
        assert_eq!(taken(&a, id, 2, WAIT), []);
        assert_eq!(taken(&a, id, 9, WAIT), [4]);
        assert_eq!(taken(&a, id, 0, WAIT), [0, 2]);
        let id = filled(&a, &[i64::MAX, i64::MAX - 1, (1 << 32) | 7, 7]);
        assert_eq!(taken(&a, id, 7, WAIT), [3], "all 64 bits count");
        assert_eq!(taken(&a, id, i64::MAX, WAIT), [0]);
    }

    /// "unless MSG_EXCEPT was specified in msgflg, in which case the first message in the queue of
    /// type not equal to msgtyp will be read".
    fn except_a_type(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 1, 3, 5, 1]);
        assert_eq!(taken(&a, id, 5, EXCEPT), [1, 2, 4]);
        assert_eq!(taken(&a, id, 5, WAIT), [0, 3]);
    }

    /// MSG_EXCEPT applies to positive types only.
    fn except_without_a_type(world) {
        let a = world.agent();
        let id = filled(&a, &[3, 1, 2]);
        assert_eq!(a.msgrcv(id, 1, 0, EXCEPT | TRY), Ok(message(3, &[0])));
        assert_eq!(a.msgrcv(id, 1, -2, EXCEPT | TRY), Ok(message(1, &[1])));
        assert_eq!(a.msgrcv(id, 1, -1, EXCEPT | TRY), Err(Errno::NOMSG));
    }

    /// "If msgtyp is less than 0, then the first message in the queue with the lowest type less
    /// than or equal to the absolute value of msgtyp will be read."
    fn of_the_lowest_type(world) {
        let a = world.agent();
        let types = [5, 4, 2, 4, 2, 1, 6, 1];
        assert_eq!(taken(&a, filled(&a, &types), -4, WAIT), [5, 7, 2, 4, 1, 3]);
        assert_eq!(taken(&a, filled(&a, &types), -1, WAIT), [5, 7]);
        assert_eq!(taken(&a, filled(&a, &types), -100, WAIT), [5, 7, 2, 4, 1, 3, 0, 6]);
        assert_eq!(taken(&a, filled(&a, &[3, 2]), -1, WAIT), []);
    }

    /// The lowest number has no absolute value. It counts as the highest type, so all types are low
    /// enough.
    fn of_the_lowest_number(world) {
        let a = world.agent();
        for mtype in [i64::MIN, -i64::MAX] {
            let id = filled(&a, &[i64::MAX, 7, i64::MAX, 1]);
            assert_eq!(taken(&a, id, mtype, WAIT), [3, 1, 0, 2], "{mtype}");
        }
        let id = filled(&a, &[i64::MAX]);
        assert_eq!(taken(&a, id, 1 - i64::MAX, WAIT), []);
    }

    /// "msg_lrpid is set to the process ID of the calling process; msg_qnum is decremented by 1;
    /// msg_rtime is set to the current time". cbytes drops by the length. Nothing else changes.
    fn fields(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        a.msgsnd(id, 1, b"12345", WAIT).unwrap();
        a.msgsnd(id, 2, b"678", WAIT).unwrap();
        let before = a.msg_stat(id).unwrap();
        let start = Clock::tick();
        b.msgrcv(id, 100, 2, WAIT).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert!(start.saw(q.rtime));
        assert_eq!(q, Queue { rtime: q.rtime, cbytes: 5, qnum: 1, lrpid: b.pid, ..before });
    }

    /// A call that fails changes no field.
    fn failures_change_nothing(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        a.msgsnd(id, 2, b"12345", WAIT).unwrap();
        let before = a.msg_stat(id).unwrap();
        assert_eq!(b.msgrcv(id, 4, 0, TRY), Err(Errno::TOOBIG));
        assert_eq!(b.msgrcv(id, 100, 1, TRY), Err(Errno::NOMSG));
        assert_eq!(b.msgrcv(id, 100, 0, COPY), Err(Errno::INVAL));
        assert_eq!(a.msg_stat(id), Ok(before));
        assert_eq!(a.messages(id), Ok(vec![message(2, b"12345")]));
    }

    /// "E2BIG: The message text length is greater than msgsz and MSG_NOERROR isn't specified": "the
    /// message isn't removed from the queue".
    fn too_long(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msgsnd(id, 2, b"12345", WAIT).unwrap();
        a.msgsnd(id, 3, b"1", WAIT).unwrap();
        for mtype in [0, 2, -2, -9] {
            assert_eq!(a.msgrcv(id, 4, mtype, TRY), Err(Errno::TOOBIG), "{mtype}: no shorter one is looked for");
            assert_eq!(a.msgrcv(id, 0, mtype, WAIT), Err(Errno::TOOBIG));
        }
        assert_eq!(a.msgrcv(id, 4, 3, TRY), Ok(message(3, b"1")));
        assert_eq!(a.msgrcv(id, 5, 0, TRY), Ok(message(2, b"12345")));
    }

    /// "If MSG_NOERROR is specified, then the message text will be truncated (and the truncated
    /// part will be lost)".
    fn truncated(world) {
        let a = world.agent();
        let id = queue(&a);
        for (size, expected) in [(3, &b"123"[..]), (0, b""), (5, b"12345"), (6, b"12345")] {
            a.msgsnd(id, 2, b"12345", WAIT).unwrap();
            assert_eq!(a.msgrcv(id, size, 0, NOERROR), Ok(message(2, expected)));
            assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((0, 0)), "the bytes that were truncated, too");
        }
    }

    /// "MSG_COPY (since Linux 3.8): Nondestructively fetch a copy of the message at the ordinal
    /// position in the queue specified by msgtyp (messages are considered to be numbered starting
    /// at 0)."
    fn copies(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        for (mtype, text) in [(5, &b"zero"[..]), (1, b"one"), (5, b""), (2, b"three")] {
            a.msgsnd(id, mtype, text, WAIT).unwrap();
        }
        let before = a.msg_stat(id).unwrap();
        assert_eq!(b.msgrcv(id, 10, 1, COPY | TRY), Ok(message(1, b"one")));
        assert_eq!(b.msgrcv(id, 10, 0, COPY | TRY), Ok(message(5, b"zero")));
        assert_eq!(b.msgrcv(id, 0, 2, COPY | TRY), Ok(message(5, b"")));
        assert_eq!(b.msgrcv(id, 10, 3, COPY | TRY), Ok(message(2, b"three")));
        assert_eq!(a.msg_stat(id), Ok(before), "no field changes");
        assert_eq!(a.messages(id).map(|all| all.len()), Ok(4));
        a.msgrcv(id, 10, 1, TRY).unwrap();
        assert_eq!(b.msgrcv(id, 10, 1, COPY | TRY), Ok(message(5, b"")), "positions move up");
    }

    /// "ENOMSG: IPC_NOWAIT and MSG_COPY were specified in msgflg and the queue contains less than
    /// msgtyp messages."
    fn copies_of_none(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 6]);
        for position in [2, 3, i64::MAX, -1, -2, i64::MIN, 1 << 32] {
            assert_eq!(a.msgrcv(id, 10, position, COPY | TRY), Err(Errno::NOMSG), "{position}");
        }
    }

    /// "This flag must be specified in conjunction with IPC_NOWAIT, with the result that, if there
    /// is no message available at the given position, the call fails immediately"; "MSG_COPY and
    /// MSG_EXCEPT may not both be specified".
    fn flags_with_copy(world) {
        let a = world.agent();
        let id = filled(&a, &[5]);
        for flags in [COPY, COPY | NOERROR, COPY | EXCEPT, COPY | EXCEPT | TRY] {
            assert_eq!(a.msgrcv(id, 10, 0, flags), Err(Errno::INVAL), "{flags:?}");
            assert_eq!(a.msgrcv(id + 1, 10, 0, flags), Err(Errno::INVAL), "{flags:?}");
        }
    }

    /// A copy that does not fit gives E2BIG. MSG_NOERROR refuses it and does not truncate.
    fn copies_that_are_too_long(world) {
        let a = world.agent();
        let id = queue(&a);
        a.msgsnd(id, 5, b"12345", WAIT).unwrap();
        assert_eq!(a.msgrcv(id, 4, 0, COPY | TRY), Err(Errno::TOOBIG));
        assert_eq!(a.msgrcv(id, 4, 0, COPY | TRY | NOERROR), Err(Errno::INVAL));
        assert_eq!(a.msgrcv(id, 5, 0, COPY | TRY | NOERROR), Ok(message(5, b"12345")));
        if !world.limit("msgmax", 4) {
            return;
        }
        assert_eq!(a.msgrcv(id, 5, 0, COPY | TRY), Err(Errno::INVAL), "the buffer counts only as far as msgmax");
        assert_eq!(a.msgrcv(id, 4, 0, COPY | TRY), Err(Errno::TOOBIG));
        assert_eq!(a.msgrcv(id, 5, 0, TRY), Ok(message(5, b"12345")));
    }

    /// "ENOMSG: IPC_NOWAIT was specified in msgflg and no message of the requested type existed on
    /// the message queue."
    fn no_message(world) {
        let a = world.agent();
        let id = filled(&a, &[5]);
        for (mtype, flags) in [(1, WAIT), (-4, WAIT), (5, EXCEPT), (4, NOERROR)] {
            assert_eq!(a.msgrcv(id, 10, mtype, flags | TRY), Err(Errno::NOMSG), "{mtype} {flags:?}");
        }
        assert_eq!(a.msgrcv(queue(&a), 10, 0, TRY), Err(Errno::NOMSG));
    }

    /// "EINVAL: msqid was invalid": negative, unused and stale.
    fn identifiers(world) {
        let a = world.agent();
        let id = filled(&a, &[5]);
        a.msg_remove(id).unwrap();
        for bad in [id, -1, i32::MIN, id + 1, 12345, i32::MAX] {
            assert_eq!(a.msgrcv(bad, 10, 0, WAIT), Err(Errno::INVAL), "{bad}");
            assert_eq!(a.msgrcv(bad, 10, 0, COPY | TRY), Err(Errno::INVAL), "{bad}");
        }
    }

    /// "EACCES: The calling process does not have read permission on the message queue". Only the
    /// bit of the caller's own class counts.
    fn permission(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, STRANGER, &[7, NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let root = world.agent();
        for (mode, expected) in [
            (0o400, [true, false, false]),
            (0o040, [false, true, false]),
            (0o004, [false, false, true]),
            (0o337, [false, false, true]),
            (0o747, [true, true, true]),
            (0o000, [false, false, false]),
            (0o222, [false, false, false]),
        ] {
            let id = owner.msgget(IPC_PRIVATE, mode).unwrap();
            for flags in [TRY, TRY | COPY] {
                for (agent, may) in [&owner, &member, &other].into_iter().zip(expected) {
                    let received = agent.msgrcv(id, 1, 0, flags);
                    assert_eq!(received, Err(if may { Errno::NOMSG } else { Errno::ACCES }), "{mode:#o} {flags:?}");
                }
            }
            root.msgsnd(id, 1, b"x", TRY).unwrap();
            assert_eq!(root.msgrcv(id, 1, 0, TRY), Ok(message(1, b"x")));
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
        root.msgsnd(id, 1, b"x", TRY).unwrap();
        let try_all = || {
            [&creator, &owner, &of_creators_group, &of_owners_group, &other].map(|a| a.msgrcv(id, 1, 0, TRY | COPY).is_ok())
        };
        root.msg_set(id, STRANGER, STRANGER, 0o400, 16384).unwrap();
        assert_eq!(try_all(), [true, true, false, false, false]);
        root.msg_set(id, STRANGER, STRANGER, 0o040, 16384).unwrap();
        assert_eq!(try_all(), [false, false, true, true, false]);
        root.msg_set(id, STRANGER, STRANGER, 0o004, 16384).unwrap();
        assert_eq!(try_all(), [false, false, false, false, true]);
    }

    /// Sending requires no read permission, and receiving no write permission.
    fn one_way(world) {
        if !world.users() {
            return;
        }
        let (sender, receiver) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = sender.msgget(IPC_PRIVATE, 0o204).unwrap();
        sender.msgsnd(id, 3, b"one way", WAIT).unwrap();
        assert_eq!(sender.msgrcv(id, 10, 0, TRY), Err(Errno::ACCES));
        assert_eq!(receiver.msgsnd(id, 3, b"back", TRY), Err(Errno::ACCES));
        assert_eq!(receiver.msgrcv(id, 10, 0, WAIT), Ok(message(3, b"one way")));
    }

    /// The order of errors: identifier, permission, then the content of the queue.
    fn order_of_errors(world) {
        let a = world.ordinary();
        let id = a.msgget(IPC_PRIVATE, 0o200).unwrap();
        a.msgsnd(id, 1, b"12345", WAIT).unwrap();
        assert_eq!(a.msgrcv(id, 1, 0, TRY), Err(Errno::ACCES), "before its length");
        assert_eq!(a.msgrcv(id, 1, 7, TRY), Err(Errno::ACCES));
        assert_eq!(a.msgrcv(id, 1, 7, WAIT), Err(Errno::ACCES), "before it would wait");
        assert_eq!(a.msgrcv(id, 1, 7, COPY), Err(Errno::INVAL), "the companions before the permissions");
    }

    /// Unknown flags are ignored.
    fn flags(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 6]);
        let known = MsgFlags::NOWAIT | NOERROR | EXCEPT | COPY;
        let unknown = MsgFlags::from_bits_retain(!known.bits());
        assert_eq!(a.msgrcv(id, 1, 5, unknown), Ok(message(5, &[0])));
        assert_eq!(a.msgrcv(id, 1, 5, unknown | TRY), Err(Errno::NOMSG));
    }

    /// Messages come and go, and each arrives as it was sent.
    fn whole(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = queue(&a);
        let text = |i: usize| (0..i * 37 % 700).map(|j| (i * 13 + j * 7) as u8).collect::<Vec<u8>>();
        let mut sent = std::collections::VecDeque::new();
        for i in 0..400 {
            let (sender, receiver) = if i % 3 == 0 { (&a, &b) } else { (&b, &a) };
            while sent.len() > i * 7 % 20 {
                let next = sent.pop_front();
                assert_eq!(receiver.msgrcv(id, 700, 0, TRY).ok(), next, "{i}");
            }
            let m = message(1 + (i % 5) as i64, &text(i));
            sender.msgsnd(id, m.mtype, &m.text, TRY).unwrap();
            sent.push_back(m);
        }
        assert_eq!(a.messages(id), Ok(sent.into()));
    }

    /// msg_lrpid is the process, not the thread, if the message was in the queue.
    fn lrpid(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 5]);
        let child = a.fork();
        child.msgrcv(id, 1, 0, TRY).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.lrpid), Ok(child.pid));
        let tid = a.start_thread_msgrcv(id, 1, 0);
        assert_eq!(a.join_message(tid), Ok(message(5, &[1])));
        assert_eq!(a.msg_stat(id).map(|q| q.lrpid), Ok(a.pid));
        let tid = a.start_thread_msgsnd(id, 1, b"x");
        assert_eq!((a.join(tid), a.msg_stat(id).map(|q| q.lspid)), (Ok(()), Ok(a.pid)));
    }
}

clauses! { in C:
    /// "EINVAL: ... msgsz was less than 0." A negative size is checked first.
    fn negative_sizes(world) {
        let a = world.agent();
        let id = filled(&a, &[5]);
        let at = a.reserve(PAGE, PROT_READ | PROT_WRITE);
        for size in [usize::MAX, 1 << 63] {
            assert_eq!(a.msgrcv_at(id, at, size, 0, WAIT), Err(Errno::INVAL), "{size:#x}");
            assert_eq!(a.msgrcv_at(id, at, size, 7, TRY), Err(Errno::INVAL), "{size:#x}");
        }
        assert_eq!(a.msgrcv_at(id, at, isize::MAX as usize, 0, WAIT), Ok(1), "a buffer may be said to be larger than any message");
        assert_eq!(a.peek(at.plus(8)), Ok(0));
        assert_eq!(a.msgrcv_at(-1, at, 10, 0, TRY), Err(Errno::INVAL));
    }

    /// "EFAULT: The address pointed to by msgp isn't accessible". It is found only when a message
    /// is copied.
    fn inaccessible(world) {
        let a = world.agent();
        let id = queue(&a);
        for bad in [Address::NULL, Address(1), PAD, Address(usize::MAX - 3)] {
            assert_eq!(a.msgrcv_at(id, bad, 4, 0, TRY), Err(Errno::NOMSG), "{bad:?}");
            assert_eq!(a.msgrcv_at(-1, bad, 4, 0, TRY), Err(Errno::INVAL));
        }
        a.msgsnd(id, 5, b"12345", WAIT).unwrap();
        assert_eq!(a.msgrcv_at(id, PAD, 4, 0, TRY), Err(Errno::TOOBIG), "the length first");
        assert_eq!(a.msgrcv_at(id, PAD, 5, 0, TRY), Err(Errno::FAULT));
    }

    /// The kernel removes the message before it finds that it cannot be copied, so the message is
    /// lost.
    fn lost(world) {
        let a = world.agent();
        let id = filled(&a, &[5, 6]);
        assert_eq!(a.msgrcv_at(id, PAD, 1, 0, TRY), Err(Errno::FAULT));
        if world.differs("docs/semantics.md: a buffer that cannot be written") {
            assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lrpid)), Ok(((2, 2), 0)));
            assert_eq!(a.messages(id), Ok(vec![message(5, &[0]), message(6, &[1])]));
            return;
        }
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lrpid)), Ok(((1, 1), a.pid)));
        assert_eq!(a.messages(id), Ok(vec![message(6, &[1])]));
    }

    /// The call writes no more of the buffer than the message needs.
    fn at_the_edge(world) {
        let a = world.agent();
        let id = queue(&a);
        let at = a.reserve(2 * PAGE, PROT_READ | PROT_WRITE);
        a.mprotect(at.plus(PAGE), PAGE, PROT_NONE).unwrap();
        for offset in [PAGE - 12, PAGE - 15] {
            a.msgsnd(id, 0x0102_0304_0506_0708, b"1234", WAIT).unwrap();
            assert_eq!(a.msgrcv_at(id, at.plus(offset), 100, 0, TRY), Ok(4));
            assert_eq!(a.peek(at.plus(offset + 1)), Ok(7));
            assert_eq!(a.peek(at.plus(offset + 11)), Ok(b'4'));
        }
        a.msgsnd(id, 1, b"12345", WAIT).unwrap();
        assert_eq!(a.msgrcv_at(id, at.plus(PAGE - 12), 4, 0, NOERROR), Ok(4));
    }

    /// MSG_COPY first reads its buffer from the type on, up to its stated size or msgmax.
    fn inaccessible_for_copies(world) {
        let a = world.agent();
        let id = filled(&a, &[5]);
        let at = a.reserve(4 * PAGE, PROT_READ | PROT_WRITE);
        a.mprotect(at.plus(2 * PAGE), 2 * PAGE, PROT_NONE).unwrap();
        assert_eq!(a.msgrcv_at(id, at, 8192, 0, COPY | TRY), Ok(1));
        assert_eq!(a.msgrcv_at(id, at, 1 << 40, 0, COPY | TRY), Ok(1));
        assert_eq!(a.msgrcv_at(id, PAD, 4, 0, COPY | TRY), Err(Errno::FAULT));
        assert_eq!(a.messages(id), Ok(vec![message(5, &[0])]));
        assert_eq!(a.msgrcv_at(id, at.plus(1), 8192, 0, COPY | TRY), Err(Errno::FAULT));
        assert_eq!(a.msgrcv_at(id, PAD, 4, 9, COPY | TRY), Err(Errno::FAULT), "before the queue is found to be empty");
        assert_eq!(a.msgrcv_at(id + 1, PAD, 4, 0, COPY | TRY), Err(Errno::FAULT), "and before the identifier");
        assert_eq!(a.msgrcv_at(-1, PAD, 4, 0, COPY | TRY), Err(Errno::INVAL));
        assert_eq!(a.msgrcv_at(id, PAD, 4, 0, COPY), Err(Errno::INVAL));
    }
}
