//! msgop(2), clause by clause: calls that wait, what ends the wait, and in which order.

use conformance::*;
use libc::{IPC_PRIVATE, SIGCONT, SIGKILL, SIGSTOP, SIGUSR1};

fn queue(a: &Agent) -> i32 {
    a.msgget(IPC_PRIVATE, 0o600).unwrap()
}

/// Creates a queue with capacity `qbytes` and one message of type 1 with `held` bytes.
fn full(a: &Agent, qbytes: u64, held: usize) -> i32 {
    let id = queue(a);
    a.msg_set_capacity(id, qbytes).unwrap();
    a.msgsnd(id, 1, &vec![b'-'; held], TRY).unwrap();
    id
}

fn agents<const N: usize>(world: &World) -> [Agent; N] {
    std::array::from_fn(|_| world.agent())
}

/// Receives the message of type 1 that `full` has sent.
fn make_room(a: &Agent, id: i32) {
    a.msgrcv(id, 8192, 1, TRY).unwrap();
}

clauses! {
    /// "If no message of the requested type is available and IPC_NOWAIT isn't specified in msgflg,
    /// the calling process is blocked until ... A message of the desired type is placed in the
    /// queue." When msgsnd returns, the receiver has the message.
    fn waits_for_a_message(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        let new = a.msg_stat(id).unwrap();
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        assert_eq!(a.msg_stat(id), Ok(new), "waiting changes no field");
        let start = Clock::tick();
        a.msgsnd(id, 3, b"hello", WAIT).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert!(start.saw(q.stime) && start.saw(q.rtime));
        assert_eq!(q, Queue { stime: q.stime, rtime: q.rtime, lspid: a.pid, lrpid: b.pid, ..new });
        assert_eq!(b.answer_message(), Ok(message(3, b"hello")));
    }

    /// Only a message of the requested type ends the wait. Other messages stay in the queue.
    fn waits_for_a_type(world) {
        let [a, b] = agents(world);
        let cases = [(7, WAIT, Some(9), 7), (-7, WAIT, Some(8), 7), (9, EXCEPT, Some(9), 1), (-7, EXCEPT, Some(8), 6)];
        for (asked, flags, other, fitting) in cases.into_iter().chain([(i64::MIN, WAIT, None, i64::MAX), (0, EXCEPT, None, 1)]) {
            let id = queue(&a);
            if let Some(other) = other {
                a.msgsnd(id, other, b"before", WAIT).unwrap();
            }
            world.wait_to_receive(&b, id, 10, asked, flags);
            if let Some(other) = other {
                a.msgsnd(id, other, b"while", WAIT).unwrap();
                assert_eq!((a.msg_stat(id).map(|q| q.qnum), b.has_answered()), (Ok(2), false));
            }
            a.msgsnd(id, fitting, b"fits", WAIT).unwrap();
            assert_eq!(b.answer_message(), Ok(message(fitting, b"fits")), "{asked} {flags:?}");
        }
    }

    /// A receiver of the lowest type gets the first message that is low enough, although a lower
    /// one may follow.
    fn lowest_type(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, -7, WAIT);
        a.msgsnd(id, 6, b"six", WAIT).unwrap();
        a.msgsnd(id, 1, b"one", WAIT).unwrap();
        assert_eq!(b.answer_message(), Ok(message(6, b"six")));
        assert_eq!(a.messages(id), Ok(vec![message(1, b"one")]));
    }

    /// Among receivers that a message suits, the one that has waited longest gets it.
    fn first_come_first_served(world) {
        let waiting: [Agent; 4] = agents(world);
        let a = world.agent();
        let id = queue(&a);
        for b in &waiting {
            world.wait_to_receive(b, id, 10, 0, WAIT);
        }
        for (i, b) in waiting.iter().enumerate() {
            a.msgsnd(id, 5, &[i as u8], WAIT).unwrap();
            assert_eq!(a.msg_stat(id).map(|q| (q.lrpid, q.qnum)), Ok((b.pid, 0)));
            assert_eq!(b.answer_message(), Ok(message(5, &[i as u8])));
        }
    }

    /// Receivers that it does not suit are passed over and keep their places.
    fn passed_over(world) {
        let [a, seven, low, any, not_seven] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&seven, id, 10, 7, WAIT);
        world.wait_to_receive(&low, id, 10, -3, WAIT);
        world.wait_to_receive(&not_seven, id, 10, 7, EXCEPT);
        world.wait_to_receive(&any, id, 10, 0, WAIT);
        a.msgsnd(id, 4, b"a", WAIT).unwrap();
        assert_eq!(not_seven.answer_message(), Ok(message(4, b"a")));
        a.msgsnd(id, 4, b"b", WAIT).unwrap();
        assert_eq!(any.answer_message(), Ok(message(4, b"b")));
        a.msgsnd(id, 4, b"c", WAIT).unwrap();
        a.msgsnd(id, 3, b"d", WAIT).unwrap();
        a.msgsnd(id, 7, b"e", WAIT).unwrap();
        assert_eq!((seven.answer_message(), low.answer_message()), (Ok(message(7, b"e")), Ok(message(3, b"d"))));
        assert_eq!(a.messages(id), Ok(vec![message(4, b"c")]));
    }

    /// A receiver with too small a buffer gets E2BIG, and the next one is tried. The message
    /// stays in the queue only if no receiver takes it.
    fn too_long_for_a_receiver(world) {
        let [a, b, c, d] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 2, 0, WAIT);
        world.wait_to_receive(&c, id, 0, 5, WAIT);
        world.wait_to_receive(&d, id, 5, 0, WAIT);
        a.msgsnd(id, 5, b"12345", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lrpid)), Ok(((0, 0), d.pid)));
        assert_eq!((b.answer_message(), c.answer_message()), (Err(Errno::TOOBIG), Err(Errno::TOOBIG)));
        assert_eq!(d.answer_message(), Ok(message(5, b"12345")));
        world.wait_to_receive(&b, id, 2, 0, WAIT);
        world.wait_to_receive(&c, id, 2, 6, WAIT);
        let before = a.msg_stat(id).unwrap();
        a.msgsnd(id, 5, b"12345", WAIT).unwrap();
        assert_eq!(b.answer_message(), Err(Errno::TOOBIG));
        let q = a.msg_stat(id).unwrap();
        assert_eq!((q.counts(), q.lrpid, q.rtime), ((1, 5), d.pid, before.rtime));
        a.msgsnd(id, 6, b"12", WAIT).unwrap();
        assert_eq!(c.answer_message(), Ok(message(6, b"12")), "a receiver of another type is passed over");
    }

    /// With MSG_NOERROR the message is truncated.
    fn truncated_for_a_receiver(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        for (size, expected) in [(2, &b"12"[..]), (0, b""), (10, b"12345")] {
            world.wait_to_receive(&b, id, size, 0, NOERROR);
            a.msgsnd(id, 5, b"12345", WAIT).unwrap();
            assert_eq!((b.answer_message(), a.msg_stat(id).map(|q| q.counts())), (Ok(message(5, expected)), Ok((0, 0))));
        }
    }

    /// Long messages are handed over whole.
    fn long_messages(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        let long: Vec<u8> = (0..8192u32).map(|i| ((i * 7) ^ (i >> 5)) as u8).collect();
        world.wait_to_receive(&b, id, 8192, 0, WAIT);
        a.msgsnd(id, 5, &long, WAIT).unwrap();
        assert_eq!(b.answer_message(), Ok(message(5, &long)));
        world.wait_to_receive(&b, id, 5000, 0, NOERROR);
        a.msgsnd(id, 5, &long, WAIT).unwrap();
        assert_eq!(b.answer_message(), Ok(message(5, &long[..5000])));
    }

    /// A message must fit the queue even if a receiver waits for it: a full queue blocks the
    /// sender.
    fn a_full_queue_hands_nothing_over(world) {
        let [a, receiver, sender] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_receive(&receiver, id, 10, 7, WAIT);
        assert_eq!(sender.msgsnd(id, 7, b"x", TRY), Err(Errno::AGAIN));
        world.wait_to_send(&sender, id, 7, b"x");
        assert!(!receiver.has_answered());
        make_room(&a, id);
        assert_eq!((sender.answer(), receiver.answer_message()), (Ok(()), Ok(message(7, b"x"))));
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lspid, q.lrpid)), Ok(((0, 0), sender.pid, receiver.pid)));
        world.wait_to_receive(&receiver, id, 10, 7, WAIT);
        a.msg_set_capacity(id, 0).unwrap();
        assert_eq!(sender.msgsnd(id, 7, b"", TRY), Err(Errno::AGAIN), "though nothing is in it");
        a.msg_remove(id).unwrap();
        assert_eq!(receiver.answer_message(), Err(Errno::IDRM));
    }

    /// msg_lrpid of a message that is handed over is the thread; of a message from the queue, the
    /// process.
    fn lrpid(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        let tid = world.wait_to_receive_in_a_thread(&b, id, 10, 0);
        assert_ne!(tid, b.pid);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        let lrpid = a.msg_stat(id).unwrap().lrpid;
        assert_eq!(b.join_message(tid), Ok(message(5, b"x")));
        assert_eq!(lrpid, tid);
    }

    /// "If sufficient space is not available in the queue, then the default behavior of msgsnd() is
    /// to block until space becomes available."
    fn waits_for_room(world) {
        let [a, b] = agents(world);
        let id = full(&a, 10, 8);
        let before = a.msg_stat(id).unwrap();
        world.wait_to_send(&b, id, 2, b"123");
        assert_eq!(a.msg_stat(id), Ok(before), "waiting changes no field");
        let start = Clock::tick();
        make_room(&a, id);
        assert_eq!(b.answer(), Ok(()));
        let q = a.msg_stat(id).unwrap();
        assert!(start.saw(q.stime) && start.saw(q.rtime));
        assert_eq!(q, Queue { stime: q.stime, rtime: q.rtime, cbytes: 3, qnum: 1, lspid: b.pid, lrpid: a.pid, ..before });
        assert_eq!(a.messages(id), Ok(vec![message(2, b"123")]));
    }

    /// The same for the number of messages.
    fn waits_for_message_count(world) {
        let [a, b, c] = agents(world);
        let id = full(&a, 1, 0);
        world.wait_to_send(&b, id, 2, b"");
        make_room(&a, id);
        assert_eq!((b.answer(), a.msg_stat(id).map(|q| q.counts())), (Ok(()), Ok((1, 0))));
        world.wait_to_send(&c, id, 3, b"x");
        assert_eq!(a.msgrcv(id, 10, 2, TRY), Ok(message(2, b"")));
        assert_eq!((c.answer(), a.messages(id)), (Ok(()), Ok(vec![message(3, b"x")])));
    }

    /// A message longer than the capacity waits until the capacity is raised.
    fn longer_than_capacity(world) {
        let [a, b] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"12345");
        make_room(&a, id);
        assert_eq!((a.msg_stat(id).map(|q| q.counts()), b.has_answered()), (Ok((0, 0)), false));
        a.msgsnd(id, 3, b"1234", TRY).unwrap();
        a.msg_set_capacity(id, 8).unwrap();
        assert!(!b.has_answered());
        a.msg_set_capacity(id, 9).unwrap();
        assert_eq!((b.answer(), a.messages(id)), (Ok(()), Ok(vec![message(3, b"1234"), message(2, b"12345")])));
    }

    /// A new sender need not queue: it sends if there is room.
    fn overtaken_by_a_new_sender(world) {
        let [a, large, late] = agents(world);
        let id = full(&a, 10, 6);
        world.wait_to_send(&large, id, 2, b"12345");
        assert_eq!(late.msgsnd(id, 3, b"1234", TRY), Ok(()));
        assert_eq!(late.msgsnd(id, 3, b"1", TRY), Err(Errno::AGAIN));
        assert!(!large.has_answered());
        make_room(&a, id);
        assert_eq!(large.answer(), Ok(()));
        assert_eq!(a.messages(id), Ok(vec![message(3, b"1234"), message(2, b"12345")]));
    }

    /// A waiting small message overtakes a waiting large one.
    fn overtaken_by_a_waiting_sender(world) {
        let [a, large, small] = agents(world);
        let id = full(&a, 10, 4);
        a.msgsnd(id, 9, b"123456", TRY).unwrap();
        world.wait_to_send(&large, id, 2, b"12345");
        world.wait_to_send(&small, id, 3, b"123");
        make_room(&a, id);
        assert_eq!(small.answer(), Ok(()));
        assert_eq!((large.has_answered(), a.msg_stat(id).map(|q| q.counts())), (false, Ok((2, 9))));
        a.msgrcv(id, 10, 3, TRY).unwrap();
        assert!(!large.has_answered());
        a.msgrcv(id, 10, 9, TRY).unwrap();
        assert_eq!((large.answer(), a.messages(id)), (Ok(()), Ok(vec![message(2, b"12345")])));
    }

    /// Room for several messages lets several senders proceed.
    fn several_at_once(world) {
        let [a, b, c, d] = agents(world);
        let id = full(&a, 10, 10);
        world.wait_to_send(&b, id, 2, b"12");
        world.wait_to_send(&c, id, 3, &[0; 11]);
        world.wait_to_send(&d, id, 4, b"1234");
        make_room(&a, id);
        assert_eq!((b.answer(), d.answer(), c.has_answered()), (Ok(()), Ok(()), false));
        let mut all = a.messages(id).unwrap();
        all.sort_by_key(|m| m.mtype);
        assert_eq!(all, [message(2, b"12"), message(4, b"1234")], "in whichever order they came to it");
        a.msg_remove(id).unwrap();
        assert_eq!(c.answer(), Err(Errno::IDRM));
    }

    /// If several senders would each fit, as many proceed as there is room for. Their order is not
    /// defined, and none is forgotten.
    fn as_many_as_fit(world) {
        let senders: [Agent; 5] = agents(world);
        let a = world.agent();
        let id = full(&a, 10, 10);
        for (i, sender) in senders.iter().enumerate() {
            world.wait_to_send(sender, id, 1, &[i as u8; 6]);
        }
        let mut observed = Vec::new();
        for round in 1..=senders.len() {
            make_room(&a, id);
            world.await_value(|| senders.iter().filter(|s| s.has_answered()).count(), round);
            let held = a.messages(id).unwrap();
            assert_eq!(held.len(), 1);
            let sender = usize::from(held[0].text[0]);
            assert_eq!((&held[0], observed.contains(&sender)), (&message(1, &[sender as u8; 6]), false));
            assert!(senders[sender].has_answered());
            assert_eq!(a.msg_stat(id).map(|q| q.lspid), Ok(senders[sender].pid));
            observed.push(sender);
        }
        assert!(senders.iter().all(|sender| sender.answer() == Ok(())));
    }

    /// A message of a sender that waited may be handed over at once.
    fn from_waiting_sender_to_waiting_receiver(world) {
        let [a, b, c, d] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 5, b"1234");
        world.wait_to_receive(&c, id, 2, 5, WAIT);
        world.wait_to_receive(&d, id, 2, 1, EXCEPT | NOERROR);
        make_room(&a, id);
        assert_eq!((b.answer(), c.answer_message(), d.answer_message()), (Ok(()), Err(Errno::TOOBIG), Ok(message(5, b"12"))));
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lspid, q.lrpid)), Ok(((0, 0), b.pid, d.pid)));
    }

    /// IPC_SET makes waiting calls check again. With the same permissions they go on waiting.
    fn changed_while_waiting(world) {
        let [a, receiver, sender] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_receive(&receiver, id, 10, 7, WAIT);
        world.wait_to_send(&sender, id, 6, b"x");
        a.msg_set_capacity(id, 2).unwrap();
        a.msg_set_capacity(id, 4).unwrap();
        assert!(!receiver.has_answered() && !sender.has_answered());
        a.msg_set_capacity(id, 5).unwrap();
        assert_eq!(sender.answer(), Ok(()));
        a.msgrcv(id, 10, 0, TRY).unwrap();
        a.msgsnd(id, 7, b"y", WAIT).unwrap();
        assert_eq!(receiver.answer_message(), Ok(message(7, b"y")));
    }

    /// A receiver that loses read permission while it waits gets EACCES at once.
    fn receiver_loses_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b, c) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.msgget(IPC_PRIVATE, 0o666).unwrap();
        let (uid, gid) = world.user();
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        world.wait_to_receive(&c, id, 10, 0, WAIT);
        a.msg_set(id, STRANGER, gid, 0o600, 16384).unwrap();
        assert_eq!(b.answer_message(), Err(Errno::ACCES));
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        assert_eq!(c.answer_message(), Ok(message(5, b"x")), "its owner now");
        world.wait_to_receive(&c, id, 10, 0, WAIT);
        a.msg_set(id, uid, gid, 0o622, 16384).unwrap();
        assert_eq!(c.answer_message(), Err(Errno::ACCES));
        a.msgsnd(id, 5, b"y", WAIT).unwrap();
        assert_eq!(a.messages(id), Ok(vec![message(5, b"y")]));
    }

    /// A sender that loses write permission while it waits gets EACCES when there is room, and not
    /// before.
    fn sender_loses_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b, c) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.msgget(IPC_PRIVATE, 0o666).unwrap();
        let (uid, gid) = world.user();
        a.msg_set_capacity(id, 4).unwrap();
        a.msgsnd(id, 1, b"1234", TRY).unwrap();
        world.wait_to_send(&b, id, 2, b"12");
        world.wait_to_send(&c, id, 3, b"1234");
        a.msg_set(id, uid, gid, 0o644, 4).unwrap();
        assert!(!b.has_answered() && !c.has_answered());
        a.msg_set(id, uid, gid, 0o644, 6).unwrap();
        assert_eq!((b.answer(), c.has_answered()), (Err(Errno::ACCES), false));
        make_room(&a, id);
        assert_eq!(c.answer(), Err(Errno::ACCES));
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lspid)), Ok(((0, 0), a.pid)));
    }

    /// Permissions that are removed and restored during the wait do not matter.
    fn sender_regains_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = a.msgget(IPC_PRIVATE, 0o666).unwrap();
        let (uid, gid) = world.user();
        a.msg_set_capacity(id, 4).unwrap();
        a.msgsnd(id, 1, b"1234", TRY).unwrap();
        world.wait_to_send(&b, id, 2, b"12");
        a.msg_set(id, uid, gid, 0o600, 4).unwrap();
        a.msg_set(id, uid, gid, 0o602, 4).unwrap();
        make_room(&a, id);
        assert_eq!((b.answer(), a.messages(id)), (Ok(()), Ok(vec![message(2, b"12")])));
    }

    /// "EIDRM: The message queue was removed": all waiting calls get it. Later calls get EINVAL.
    fn removed(world) {
        let [a, b, c, d, e] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"1");
        world.wait_to_send(&c, id, 2, b"12345");
        world.wait_to_receive(&d, id, 10, 7, WAIT);
        world.wait_to_receive(&e, id, 0, 8, NOERROR);
        a.msg_remove(id).unwrap();
        assert_eq!((b.answer(), c.answer()), (Err(Errno::IDRM), Err(Errno::IDRM)));
        assert_eq!((d.answer_message(), e.answer_message()), (Err(Errno::IDRM), Err(Errno::IDRM)));
        for agent in [b, c, d, e] {
            assert_eq!(agent.msgsnd(id, 1, b"", WAIT), Err(Errno::INVAL));
            assert_eq!(agent.msgrcv(id, 10, 0, WAIT), Err(Errno::INVAL));
        }
    }

    /// The same for senders of long messages, which are copied to the queue's memory before they
    /// are sent.
    fn removed_with_long_messages(world) {
        let [a, b, c, d] = agents(world);
        for _ in 0..20 {
            let id = full(&a, 8, 8);
            for (sender, len) in [(&b, 8192), (&c, 4096), (&d, 8000)] {
                world.wait_to_send(sender, id, 2, &vec![1; len]);
            }
            a.msg_remove(id).unwrap();
            assert_eq!([&b, &c, &d].map(Agent::answer), [Err(Errno::IDRM); 3]);
        }
    }

    /// Long messages of waiting senders arrive as they were when the call began.
    fn long_messages_that_wait(world) {
        let senders: [Agent; 4] = agents(world);
        let a = world.agent();
        let id = full(&a, 16384, 8192);
        a.msgsnd(id, 1, &[0; 8192], TRY).unwrap();
        let text = |i: usize| (0..8000).map(|j| (i * 31 + j * 7) as u8).collect::<Vec<u8>>();
        for (i, sender) in senders.iter().enumerate() {
            world.wait_to_send(sender, id, 2 + i as i64, &text(i));
        }
        make_room(&a, id);
        make_room(&a, id);
        let mut observed: Vec<Message> = senders.iter().map(|_| a.msgrcv(id, 8192, 0, WAIT).unwrap()).collect();
        observed.sort_by_key(|m| m.mtype);
        assert_eq!(observed, (0..4).map(|i| message(2 + i as i64, &text(i))).collect::<Vec<_>>());
        assert!(senders.iter().all(|sender| sender.answer() == Ok(())));
    }

    /// The same for a caller that has lost its permissions.
    fn removed_after_losing_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = a.msgget(IPC_PRIVATE, 0o666).unwrap();
        let (uid, gid) = world.user();
        a.msg_set_capacity(id, 0).unwrap();
        world.wait_to_send(&b, id, 2, b"12");
        a.msg_set(id, uid, gid, 0, 0).unwrap();
        a.msg_remove(id).unwrap();
        assert_eq!(b.answer(), Err(Errno::IDRM));
    }

    /// "EINTR: While sleeping ... the process caught a signal": "msgsnd() and msgrcv() are never
    /// automatically restarted after being interrupted by a signal handler, regardless of the
    /// setting of the SA_RESTART flag".
    fn interrupted(world) {
        let [a, b] = agents(world);
        let id = full(&a, 4, 4);
        for (nth, restart) in [(1, false), (2, true)] {
            b.handle(SIGUSR1, restart);
            world.wait_to_send(&b, id, 2, b"x");
            b.signal(SIGUSR1);
            assert_eq!((b.answer(), b.handled()), (Err(Errno::INTR), 2 * nth - 1));
            world.wait_to_receive(&b, id, 10, 7, WAIT);
            b.signal(SIGUSR1);
            assert_eq!(b.answer_message(), Err(Errno::INTR));
        }
        a.msgrcv(id, 10, 0, TRY).unwrap();
        a.msgsnd(id, 7, b"x", TRY).unwrap();
        assert_eq!(a.messages(id), Ok(vec![message(7, b"x")]), "no call waits any longer");
    }

    /// An ignored signal does not interrupt.
    fn ignored_signals(world) {
        let [a, b, c] = agents(world);
        let id = full(&a, 4, 4);
        b.ignore(SIGUSR1);
        c.ignore(SIGUSR1);
        world.wait_to_send(&b, id, 2, b"x");
        world.wait_to_receive(&c, id, 10, 2, WAIT);
        for signal in [SIGUSR1, libc::SIGCHLD, libc::SIGWINCH] {
            b.signal(signal);
            c.signal(signal);
        }
        make_room(&a, id);
        assert_eq!((b.answer(), c.answer_message()), (Ok(()), Ok(message(2, b"x"))));
    }

    /// The signal handler runs when the call no longer waits: its message goes to the next
    /// receiver.
    fn a_handler_that_sends(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        b.handle(SIGUSR1, true);
        b.handle_with_msgsnd(id, 5, b"from the handler");
        world.wait_to_receive(&b, id, 100, 5, WAIT);
        b.signal(SIGUSR1);
        assert_eq!((b.answer_message(), b.handled()), (Err(Errno::INTR), 1));
        assert_eq!(a.messages(id), Ok(vec![message(5, b"from the handler")]));
    }

    /// A stop signal ends a receiver's wait until SIGCONT. The call then starts again at the end of
    /// the queue. Messages that arrive meanwhile stay.
    fn stopped_receiver(world) {
        let [a, b, c] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        a.msgsnd(id, 5, b"meanwhile", WAIT).unwrap();
        let q = a.msg_stat(id).unwrap();
        if world.differs("docs/semantics.md: a stop signal while waiting (SIGSTOP)") {
            assert_eq!((q.counts(), q.lrpid), ((0, 0), b.pid), "it still waits, and is served");
            b.signal(SIGCONT);
            assert_eq!(b.answer_message(), Ok(message(5, b"meanwhile")));
            return;
        }
        assert_eq!((q.counts(), q.lrpid), ((1, 9), 0));
        b.signal(SIGCONT);
        assert_eq!(b.answer_message(), Ok(message(5, b"meanwhile")));
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        world.wait_to_receive(&c, id, 10, 0, WAIT);
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        b.signal(SIGCONT);
        world.await_value(|| b.sleeps(), true);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.lrpid), Ok(c.pid));
        a.msgsnd(id, 5, b"y", WAIT).unwrap();
        assert_eq!((b.answer_message(), c.answer_message()), (Ok(message(5, b"y")), Ok(message(5, b"x"))));
    }

    /// A sender that is stopped while it waits for room sends after SIGCONT, and not before.
    fn stopped_sender(world) {
        let [a, b] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"x");
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        make_room(&a, id);
        let served = world.differs("docs/semantics.md: a stop signal while waiting (SIGSTOP)");
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok(if served { (1, 1) } else { (0, 0) }));
        b.signal(SIGCONT);
        assert_eq!((b.answer(), a.messages(id)), (Ok(()), Ok(vec![message(2, b"x")])));
    }

    /// A receiver that is killed while it waits takes no message. The next one gets it.
    fn killed_receiver(world) {
        let [a, b, c] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        world.wait_to_receive(&c, id, 10, 0, WAIT);
        b.kill_from_outside(SIGKILL);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        assert_eq!(c.answer_message(), Ok(message(5, b"x")));
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lrpid)), Ok(((0, 0), c.pid)));
        for signal in [SIGKILL, libc::SIGTERM, libc::SIGSEGV] {
            let victim = world.agent();
            world.wait_to_receive(&victim, id, 0, 0, WAIT);
            victim.kill_from_outside(signal);
            a.msgsnd(id, 5, b"x", WAIT).unwrap();
            assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lrpid)), Ok(((1, 1), c.pid)));
            assert_eq!(c.msgrcv(id, 10, 0, TRY), Ok(message(5, b"x")));
        }
    }

    /// It leaves no trace: msg_lrpid and rtime stay.
    fn killed_receiver_leaves_no_trace(world) {
        let [a, b, c, d] = agents(world);
        let id = queue(&a);
        let received = |queue: Queue| (queue.rtime, queue.lrpid);
        for (victim, text) in [(b, &[1; 4][..]), (c, &[2; 3000]), (d, &[3; 4])] {
            let before = a.msg_stat(id).map(received);
            world.wait_to_receive(&victim, id, 8192, 0, WAIT);
            victim.kill_from_outside(SIGKILL);
            a.msgsnd(id, 1, text, WAIT).unwrap();
            assert_eq!(a.msg_stat(id).map(received), before, "{} bytes", text.len());
            assert_eq!(a.msgrcv(id, 8192, 0, TRY), Ok(message(1, text)));
        }
    }

    /// A sender that is killed while it waits sends nothing and holds no other sender up.
    fn killed_sender(world) {
        let [a, b, c] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"1234");
        world.wait_to_send(&c, id, 3, b"1234");
        b.kill_from_outside(SIGKILL);
        make_room(&a, id);
        assert_eq!(c.answer(), Ok(()));
        assert_eq!(a.messages(id), Ok(vec![message(3, b"1234")]));
        let victim = world.agent();
        world.wait_to_send(&victim, id, 1, b"1234");
        victim.kill_from_outside(SIGKILL);
        a.msgrcv(id, 10, 0, TRY).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lspid)), Ok(((0, 0), c.pid)));
    }

    /// A message that was handed to a process that died before it ran is lost.
    fn killed_after_being_served(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        let pid = b.pid;
        b.kill_from_outside(SIGKILL);
        assert_eq!(a.msg_stat(id).map(|q| (q.counts(), q.lrpid)), Ok(((0, 0), pid)));
        assert_eq!(a.msgrcv(id, 10, 0, TRY), Err(Errno::NOMSG));
    }

    /// Each thread of a process waits on its own.
    fn threads(world) {
        let [a, b] = agents(world);
        let id = full(&a, 4, 4);
        let first = world.wait_to_receive_in_a_thread(&b, id, 10, 5);
        let second = world.wait_to_receive_in_a_thread(&b, id, 10, 5);
        let sender = world.wait_to_send_in_a_thread(&b, id, 5, b"one");
        b.msgrcv(id, 10, 1, TRY).unwrap();
        assert_eq!((b.join(sender), b.join_message(first)), (Ok(()), Ok(message(5, b"one"))));
        b.msgsnd(id, 5, b"two", WAIT).unwrap();
        assert_eq!(b.join_message(second), Ok(message(5, b"two")), "also from its own process");
    }

    /// When a process exits or execs, its threads stop waiting.
    fn threads_end_with_their_process(world) {
        let [a, b, c, d] = agents(world);
        let id = full(&a, 4, 4);
        for agent in [&b, &c, &d] {
            world.wait_to_receive_in_a_thread(agent, id, 10, 5);
            world.wait_to_send_in_a_thread(agent, id, 1, b"x");
        }
        b.exit_immediately(0);
        c.kill_from_outside(SIGKILL);
        d.exec();
        make_room(&a, id);
        a.msgsnd(id, 5, b"y", WAIT).unwrap();
        assert_eq!(a.messages(id), Ok(vec![message(5, b"y")]));
    }

    /// A fork while another thread waits: the child does not wait.
    fn fork_beside_a_waiting_thread(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        let tid = world.wait_to_receive_in_a_thread(&b, id, 10, 0);
        let child = b.fork();
        child.msgsnd(id, 5, b"x", WAIT).unwrap();
        assert_eq!((b.join_message(tid), a.msg_stat(id).map(|q| q.lspid)), (Ok(message(5, b"x")), Ok(child.pid)));
        child.exit(0);
        a.msgsnd(id, 5, b"y", WAIT).unwrap();
        assert_eq!(a.messages(id), Ok(vec![message(5, b"y")]));
    }

    /// Many receivers wait, and each gets its message.
    fn many_receivers(world) {
        let a = world.agent();
        let id = queue(&a);
        let waiting: Vec<Agent> = (0..40).map(|_| world.agent()).collect();
        for (i, b) in waiting.iter().enumerate() {
            world.wait_to_receive(b, id, 10, 1 + (i % 4) as i64, WAIT);
        }
        for i in 0..40u8 {
            a.msgsnd(id, i64::from(4 - i % 4), &[i], WAIT).unwrap();
        }
        assert_eq!(a.msg_stat(id).map(|q| q.qnum), Ok(0));
        for (i, b) in waiting.iter().enumerate() {
            let mtype = 1 + i % 4;
            assert_eq!(b.answer_message(), Ok(message(mtype as i64, &[(i / 4 * 4 + 4 - mtype) as u8])), "{i}");
        }
    }

    /// Many senders wait, and each sends.
    fn many_senders(world) {
        let a = world.agent();
        let id = full(&a, 10, 10);
        let waiting: Vec<Agent> = (0..40).map(|_| world.agent()).collect();
        for (i, b) in waiting.iter().enumerate() {
            world.wait_to_send(b, id, 2, &[i as u8; 3][..1 + i % 3]);
        }
        make_room(&a, id);
        let mut observed: Vec<Message> = (0..40).map(|_| a.msgrcv(id, 10, 2, WAIT).unwrap()).collect();
        observed.sort_by_key(|m| m.text[0]);
        let all: Vec<Message> = (0..40).map(|i| message(2, &[i as u8; 3][..1 + i % 3])).collect();
        assert_eq!((observed, a.msg_stat(id).map(|q| q.counts())), (all, Ok((0, 0))));
        assert!(waiting.iter().all(|b| b.answer() == Ok(())));
    }

    /// Two processes take turns, each waiting for the other one.
    fn turns(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        for i in 0..200u8 {
            b.start_msgrcv(id, 10, 1, WAIT);
            a.start_msgsnd(id, 1, &[i], WAIT);
            assert_eq!((a.answer(), b.answer_message()), (Ok(()), Ok(message(1, &[i]))));
            a.start_msgrcv(id, 10, 2, WAIT);
            b.start_msgsnd(id, 2, &[i, i], WAIT);
            assert_eq!((b.answer(), a.answer_message()), (Ok(()), Ok(message(2, &[i, i]))));
        }
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((0, 0)));
    }

    /// Many senders and receivers share a small queue: no message is lost, doubled or mixed up.
    fn crowd(world) {
        let senders: [Agent; 4] = agents(world);
        let receivers: [Agent; 4] = agents(world);
        let a = world.agent();
        let id = queue(&a);
        a.msg_set_capacity(id, 30).unwrap();
        for round in 0..60u8 {
            let text = |i: usize| vec![round * 4 + i as u8; (usize::from(round) * 5 + i * 7) % 30];
            for (i, (sender, receiver)) in senders.iter().zip(&receivers).enumerate() {
                let mtype = [0, -9, 1 + (i % 2) as i64, 0][usize::from(round) % 4];
                receiver.start_msgrcv(id, 30, mtype, WAIT);
                sender.start_msgsnd(id, 1 + (i % 2) as i64, &text(i), WAIT);
            }
            let mut sent: Vec<Message> = (0..4).map(|i| message(1 + (i % 2) as i64, &text(i))).collect();
            let mut received: Vec<Message> = receivers.iter().map(|r| r.answer_message().unwrap()).collect();
            assert!(senders.iter().all(|sender| sender.answer() == Ok(())));
            sent.sort_by(|x, y| (x.mtype, &x.text).cmp(&(y.mtype, &y.text)));
            received.sort_by(|x, y| (x.mtype, &x.text).cmp(&(y.mtype, &y.text)));
            assert_eq!(received, sent, "{round}");
        }
        assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((0, 0)));
    }
}

clauses! {
    /// Processes send and receive as fast as they can while one after another is killed. The queue
    /// stays intact, and the other processes go on.
    fn killed_at_any_moment(world) {
        let a = world.agent();
        let id = storm_queue(&a);
        let mut crowd: Vec<Agent> = agents::<3>(world).into();
        for (i, agent) in crowd.iter().enumerate() {
            agent.start_msg_storm(id, i as u64);
        }
        for round in 0..300 {
            let next = world.agent();
            next.start_msg_storm(id, 1000 + round);
            crowd.push(next);
            pass(round);
            crowd.remove(0).kill_from_outside(SIGKILL);
            await_activity(&a, id);
            assert_running(&crowd);
        }
        drain_and_check(world, &a, id, crowd);
    }

    /// Signals arrive at any moment, and their handler sends, too.
    fn interrupted_at_any_moment(world) {
        let a = world.agent();
        let id = storm_queue(&a);
        let crowd: Vec<Agent> = agents::<3>(world).into();
        for (i, agent) in crowd.iter().enumerate() {
            agent.handle(SIGUSR1, i == 0);
            agent.handle_with_msgsnd(id, 9, &storm_text(33));
            agent.start_msg_storm(id, i as u64);
        }
        for round in 0..1000 {
            crowd[round as usize % crowd.len()].signal(SIGUSR1);
            pass(round);
            await_activity(&a, id);
            assert_running(&crowd);
        }
        drain_and_check(world, &a, id, crowd);
    }

    /// The capacity changes at any moment.
    fn changed_at_any_moment(world) {
        let a = world.agent();
        let id = storm_queue(&a);
        let crowd: Vec<Agent> = agents::<3>(world).into();
        for (i, agent) in crowd.iter().enumerate() {
            agent.start_msg_storm(id, i as u64);
        }
        for round in 0..1000 {
            a.msg_set_capacity(id, [3000, 0, 500, 10_000][round as usize % 4]).unwrap();
            pass(round);
            await_activity(&a, id);
            assert_running(&crowd);
        }
        a.msg_set_capacity(id, 3000).unwrap();
        drain_and_check(world, &a, id, crowd);
    }

    /// The queue is removed at any moment: waiting calls get EIDRM, new calls EINVAL, and nothing
    /// else happens.
    fn removed_at_any_moment(world) {
        let crowd: [Agent; 4] = agents(world);
        let a = world.agent();
        for round in 0..100 {
            let id = storm_queue(&a);
            for (i, agent) in crowd.iter().enumerate() {
                agent.start_msg_storm(id, round * 10 + i as u64);
            }
            await_activity(&a, id);
            pass(round);
            a.msg_remove(id).unwrap();
            for agent in &crowd {
                let answer = agent.answer();
                assert!(matches!(answer, Err(Errno::IDRM | Errno::INVAL)), "{answer:?}");
            }
            assert_eq!(a.msg_usage().map(|u| (u.queues, u.messages, u.bytes)), Ok((0, 0, 0)));
        }
    }
}

/// Creates a queue for the storm tests.
fn storm_queue(a: &Agent) -> i32 {
    let id = queue(a);
    a.msg_set_capacity(id, 3000).unwrap();
    id
}

/// Waits a short, varying time. The result does not depend on it.
fn pass(round: u64) {
    (0..round * 977 % 5000).for_each(|_| std::hint::spin_loop());
}

/// Waits until the agent has sent and received.
fn await_activity(a: &Agent, id: i32) {
    let sent = a.msgsnd(id, 9, &storm_text(50), TRY);
    assert!(matches!(sent, Ok(()) | Err(Errno::AGAIN)), "{sent:?}");
    let received = a.msgrcv(id, 8192, 0, TRY);
    assert!(received.as_ref().is_ok_and(|m| m.text == storm_text(m.text.len())) || received == Err(Errno::NOMSG), "{received:?}");
}

/// Checks that no process of the storm has met an unexpected errno.
fn assert_running(crowd: &[Agent]) {
    for agent in crowd {
        assert!(!agent.has_answered(), "{:?}", agent.answer());
    }
}

/// Ends the storm. The remaining messages can be received and match the counters; then the queue
/// has its full capacity again.
fn drain_and_check(world: &World, a: &Agent, id: i32, crowd: Vec<Agent>) {
    crowd.into_iter().for_each(|agent| agent.kill_from_outside(SIGKILL));
    // Messages that were handed to a killed process, or that one was about to send, are reclaimed
    // when a sender needs room, or by a sweep.
    if let Some(namespace) = world.namespace() {
        quintet::Namespace::open(&namespace).unwrap().sweep().unwrap();
    }
    let all = a.messages(id).unwrap();
    let q = a.msg_stat(id).unwrap();
    assert_eq!(q.counts(), (all.len() as u64, all.iter().map(|m| m.text.len() as u64).sum()));
    for m in &all {
        assert_eq!((a.msgrcv(id, 8192, 0, TRY).as_ref(), &m.text), (Ok(m), &storm_text(m.text.len())));
    }
    assert_eq!(a.msg_stat(id).map(|q| q.counts()), Ok((0, 0)));
    for _ in 0..30 {
        a.msgsnd(id, 1, &[7; 100], TRY).unwrap();
    }
    assert_eq!(a.msgsnd(id, 1, b"x", TRY), Err(Errno::AGAIN), "no room is lost or gained");
}

clauses! { in C:
    /// A receiver waits with memory that cannot be written: the kernel hands the message over, and
    /// it is lost.
    fn waiting_with_inaccessible_memory(world) {
        let [a, b, c] = agents(world);
        let id = queue(&a);
        world.wait_to_receive_at(&b, id, PAD, 5, 0);
        world.wait_to_receive(&c, id, 5, 0, WAIT);
        a.msgsnd(id, 5, b"lost", WAIT).unwrap();
        assert_eq!(b.answer_length(), Err(Errno::FAULT));
        a.msgsnd(id, 5, b"next", WAIT).unwrap();
        if world.differs("docs/semantics.md: a buffer that cannot be written") {
            assert_eq!((c.answer_message(), a.messages(id)), (Ok(message(5, b"lost")), Ok(vec![message(5, b"next")])));
            return;
        }
        assert_eq!((c.answer_message(), a.messages(id)), (Ok(message(5, b"next")), Ok(Vec::new())));
    }
}
