//! msgop(2), clause by clause: calls that wait, who ends their waiting, and in which order.

use conformance::*;
use libc::{IPC_PRIVATE, SIGCONT, SIGKILL, SIGSTOP, SIGUSR1};

fn queue(a: &Agent) -> i32 {
    a.msgget(IPC_PRIVATE, 0o600).unwrap()
}

/// A queue that takes so many bytes, and holds so many in one message of type 1.
fn full(a: &Agent, qbytes: u64, held: usize) -> i32 {
    let id = queue(a);
    a.msg_set_capacity(id, qbytes).unwrap();
    a.msgsnd(id, 1, &vec![b'-'; held], TRY).unwrap();
    id
}

fn agents<const N: usize>(world: &World) -> [Agent; N] {
    std::array::from_fn(|_| world.agent())
}

/// Takes the message of type 1 that `full` has put there.
fn make_room(a: &Agent, id: i32) {
    a.msgrcv(id, 8192, 1, TRY).unwrap();
}

clauses! {
    /// "If no message of the requested type is available and IPC_NOWAIT isn't specified in msgflg, the calling process is blocked until ...
    /// A message of the desired type is placed in the queue." It is the receiver's when msgsnd returns.
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

    /// Only a message of the type that is asked for ends the waiting; the others stay in the queue.
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

    /// Who waits for the lowest type gets the first that is low enough, though a lower one may follow.
    fn lowest_type(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, -7, WAIT);
        a.msgsnd(id, 6, b"six", WAIT).unwrap();
        a.msgsnd(id, 1, b"one", WAIT).unwrap();
        assert_eq!(b.answer_message(), Ok(message(6, b"six")));
        assert_eq!(a.messages(id), Ok(vec![message(1, b"one")]));
    }

    /// Among those whom a message suits who has waited longest gets it.
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

    /// Those whom it does not suit are passed over, and keep their places.
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

    /// Who waits with too little room gets E2BIG, and the next is tried: the message stays in the queue only if nobody takes it.
    fn too_long_for_who_waits(world) {
        let [a, b, c, d] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 2, 0, WAIT);
        world.wait_to_receive(&c, id, 0, 5, WAIT);
        world.wait_to_receive(&d, id, 5, 0, WAIT);
        a.msgsnd(id, 5, b"12345", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lrpid)), Ok(((0, 0), d.pid)));
        assert_eq!((b.answer_message(), c.answer_message()), (Err(Errno::TOOBIG), Err(Errno::TOOBIG)));
        assert_eq!(d.answer_message(), Ok(message(5, b"12345")));
        world.wait_to_receive(&b, id, 2, 0, WAIT);
        world.wait_to_receive(&c, id, 2, 6, WAIT);
        let before = a.msg_stat(id).unwrap();
        a.msgsnd(id, 5, b"12345", WAIT).unwrap();
        assert_eq!(b.answer_message(), Err(Errno::TOOBIG));
        let q = a.msg_stat(id).unwrap();
        assert_eq!((q.holds(), q.lrpid, q.rtime), ((1, 5), d.pid, before.rtime));
        a.msgsnd(id, 6, b"12", WAIT).unwrap();
        assert_eq!(c.answer_message(), Ok(message(6, b"12")), "whose type is another has been passed over");
    }

    /// With MSG_NOERROR it is cut.
    fn cut_for_who_waits(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        for (size, expected) in [(2, &b"12"[..]), (0, b""), (10, b"12345")] {
            world.wait_to_receive(&b, id, size, 0, NOERROR);
            a.msgsnd(id, 5, b"12345", WAIT).unwrap();
            assert_eq!((b.answer_message(), a.msg_stat(id).map(|q| q.holds())), (Ok(message(5, expected)), Ok((0, 0))));
        }
    }

    /// Long ones are handed over whole, too.
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

    /// What is handed over must fit, too: whom a full queue keeps from sending is no use to who waits for his message.
    fn a_full_queue_hands_nothing_over(world) {
        let [a, receiver, sender] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_receive(&receiver, id, 10, 7, WAIT);
        assert_eq!(sender.msgsnd(id, 7, b"x", TRY), Err(Errno::AGAIN));
        world.wait_to_send(&sender, id, 7, b"x");
        assert!(!receiver.has_answered());
        make_room(&a, id);
        assert_eq!((sender.answer(), receiver.answer_message()), (Ok(()), Ok(message(7, b"x"))));
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lspid, q.lrpid)), Ok(((0, 0), sender.pid, receiver.pid)));
        world.wait_to_receive(&receiver, id, 10, 7, WAIT);
        a.msg_set_capacity(id, 0).unwrap();
        assert_eq!(sender.msgsnd(id, 7, b"", TRY), Err(Errno::AGAIN), "though nothing is in it");
        a.msg_remove(id).unwrap();
        assert_eq!(receiver.answer_message(), Err(Errno::IDRM));
    }

    /// msg_lrpid of a message that is handed over is the thread; of one that was there, the process.
    fn who_received(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        let tid = world.wait_to_receive_in_a_thread(&b, id, 10, 0);
        assert_ne!(tid, b.pid);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        let lrpid = a.msg_stat(id).unwrap().lrpid;
        assert_eq!(b.join_message(tid), Ok(message(5, b"x")));
        assert_eq!(lrpid, tid);
    }

    /// "If sufficient space is not available in the queue, then the default behavior of msgsnd() is to block until space becomes available."
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

    /// For the number of messages, too.
    fn waits_for_a_place(world) {
        let [a, b, c] = agents(world);
        let id = full(&a, 1, 0);
        world.wait_to_send(&b, id, 2, b"");
        make_room(&a, id);
        assert_eq!((b.answer(), a.msg_stat(id).map(|q| q.holds())), (Ok(()), Ok((1, 0))));
        world.wait_to_send(&c, id, 3, b"x");
        assert_eq!(a.msgrcv(id, 10, 2, TRY), Ok(message(2, b"")));
        assert_eq!((c.answer(), a.messages(id)), (Ok(()), Ok(vec![message(3, b"x")])));
    }

    /// A message that is longer than the queue takes waits until that takes more.
    fn longer_than_the_queue_takes(world) {
        let [a, b] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"12345");
        make_room(&a, id);
        assert_eq!((a.msg_stat(id).map(|q| q.holds()), b.has_answered()), (Ok((0, 0)), false));
        a.msgsnd(id, 3, b"1234", TRY).unwrap();
        a.msg_set_capacity(id, 8).unwrap();
        assert!(!b.has_answered());
        a.msg_set_capacity(id, 9).unwrap();
        assert_eq!((b.answer(), a.messages(id)), (Ok(()), Ok(vec![message(3, b"1234"), message(2, b"12345")])));
    }

    /// Who comes need not queue: whoever finds room sends.
    fn overtaken_by_who_comes(world) {
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

    /// Of those who wait a small one passes a large one.
    fn overtaken_by_who_waits(world) {
        let [a, large, small] = agents(world);
        let id = full(&a, 10, 4);
        a.msgsnd(id, 9, b"123456", TRY).unwrap();
        world.wait_to_send(&large, id, 2, b"12345");
        world.wait_to_send(&small, id, 3, b"123");
        make_room(&a, id);
        assert_eq!(small.answer(), Ok(()));
        assert_eq!((large.has_answered(), a.msg_stat(id).map(|q| q.holds())), (false, Ok((2, 9))));
        a.msgrcv(id, 10, 3, TRY).unwrap();
        assert!(!large.has_answered());
        a.msgrcv(id, 10, 9, TRY).unwrap();
        assert_eq!((large.answer(), a.messages(id)), (Ok(()), Ok(vec![message(2, b"12345")])));
    }

    /// Room for several lets several send.
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

    /// Of several who would each fit as many send as there is room for; which of them, is not said. Nobody is forgotten.
    fn as_many_as_there_is_room_for(world) {
        let senders: [Agent; 5] = agents(world);
        let a = world.agent();
        let id = full(&a, 10, 10);
        for (i, sender) in senders.iter().enumerate() {
            world.wait_to_send(sender, id, 1, &[i as u8; 6]);
        }
        let mut seen = Vec::new();
        for round in 1..=senders.len() {
            make_room(&a, id);
            world.comes_to(|| senders.iter().filter(|s| s.has_answered()).count(), round);
            let held = a.messages(id).unwrap();
            assert_eq!(held.len(), 1);
            let sender = usize::from(held[0].text[0]);
            assert_eq!((&held[0], seen.contains(&sender)), (&message(1, &[sender as u8; 6]), false));
            assert!(senders[sender].has_answered());
            assert_eq!(a.msg_stat(id).map(|q| q.lspid), Ok(senders[sender].pid));
            seen.push(sender);
        }
        assert!(senders.iter().all(|sender| sender.answer() == Ok(())));
    }

    /// What a sender who waited sends may be handed over at once.
    fn from_who_waits_to_who_waits(world) {
        let [a, b, c, d] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 5, b"1234");
        world.wait_to_receive(&c, id, 2, 5, WAIT);
        world.wait_to_receive(&d, id, 2, 1, EXCEPT | NOERROR);
        make_room(&a, id);
        assert_eq!((b.answer(), c.answer_message(), d.answer_message()), (Ok(()), Err(Errno::TOOBIG), Ok(message(5, b"12"))));
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lspid, q.lrpid)), Ok(((0, 0), b.pid, d.pid)));
    }

    /// IPC_SET has those who wait look again: with the rights they had, they go on waiting.
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

    /// Who has lost the right to read while he waits for a message gets EACCES at once.
    fn receivers_rights_are_taken_away(world) {
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

    /// Who has lost the right to write while he waits for room gets EACCES when there would be room, and not before.
    fn senders_rights_are_taken_away(world) {
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
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lspid)), Ok(((0, 0), a.pid)));
    }

    /// Rights that were taken and given back while he waited are no matter.
    fn senders_rights_are_given_back(world) {
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

    /// "EIDRM: The message queue was removed" while waiting: to all. Afterwards it is EINVAL.
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

    /// Also to those who wait with long messages, for which queues find room before they are sent.
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

    /// Long messages of those who wait arrive as they were when the call began.
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
        let mut seen: Vec<Message> = senders.iter().map(|_| a.msgrcv(id, 8192, 0, WAIT).unwrap()).collect();
        seen.sort_by_key(|m| m.mtype);
        assert_eq!(seen, (0..4).map(|i| message(2 + i as i64, &text(i))).collect::<Vec<_>>());
        assert!(senders.iter().all(|sender| sender.answer() == Ok(())));
    }

    /// Also for who may not read or write any more.
    fn removed_for_who_has_lost_his_rights(world) {
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

    /// "EINTR: While sleeping ... the process caught a signal": "msgsnd() and msgrcv() are never automatically restarted after being interrupted by
    /// a signal handler, regardless of the setting of the SA_RESTART flag".
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
        assert_eq!(a.messages(id), Ok(vec![message(7, b"x")]), "nobody waits any longer");
    }

    /// A signal that is ignored interrupts nothing.
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

    /// The handler runs when the call no longer waits: what it sends is for the next.
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

    /// A stop signal ends the waiting of a receiver until SIGCONT; then the call begins anew, at the end of the queue. What comes
    /// meanwhile stays.
    fn stopped_receiver(world) {
        let [a, b, c] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        a.msgsnd(id, 5, b"meanwhile", WAIT).unwrap();
        let q = a.msg_stat(id).unwrap();
        if world.differs("docs/semantics.md: a stop signal while waiting") {
            assert_eq!((q.holds(), q.lrpid), ((0, 0), b.pid), "it still waits, and is served");
            b.signal(SIGCONT);
            assert_eq!(b.answer_message(), Ok(message(5, b"meanwhile")));
            return;
        }
        assert_eq!((q.holds(), q.lrpid), ((1, 9), 0));
        b.signal(SIGCONT);
        assert_eq!(b.answer_message(), Ok(message(5, b"meanwhile")));
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        world.wait_to_receive(&c, id, 10, 0, WAIT);
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        b.signal(SIGCONT);
        world.comes_to(|| b.sleeps(), true);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.lrpid), Ok(c.pid));
        a.msgsnd(id, 5, b"y", WAIT).unwrap();
        assert_eq!((b.answer_message(), c.answer_message()), (Ok(message(5, b"y")), Ok(message(5, b"x"))));
    }

    /// Who is stopped while he waits for room sends after SIGCONT, and not before.
    fn stopped_sender(world) {
        let [a, b] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"x");
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        make_room(&a, id);
        let served = world.differs("docs/semantics.md: a stop signal while waiting");
        assert_eq!(a.msg_stat(id).map(|q| q.holds()), Ok(if served { (1, 1) } else { (0, 0) }));
        b.signal(SIGCONT);
        assert_eq!((b.answer(), a.messages(id)), (Ok(()), Ok(vec![message(2, b"x")])));
    }

    /// Who is killed while he waits for a message takes none: it is the next one's.
    fn killed_receiver(world) {
        let [a, b, c] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        world.wait_to_receive(&c, id, 10, 0, WAIT);
        b.slay(SIGKILL);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        assert_eq!(c.answer_message(), Ok(message(5, b"x")));
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lrpid)), Ok(((0, 0), c.pid)));
        for signal in [SIGKILL, libc::SIGTERM, libc::SIGSEGV] {
            let victim = world.agent();
            world.wait_to_receive(&victim, id, 0, 0, WAIT);
            victim.slay(signal);
            a.msgsnd(id, 5, b"x", WAIT).unwrap();
            assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lrpid)), Ok(((1, 1), c.pid)));
            assert_eq!(c.msgrcv(id, 10, 0, TRY), Ok(message(5, b"x")));
        }
    }

    /// Nor has he received anything: msg_lrpid and rtime stay as they were.
    fn killed_receiver_leaves_no_trace(world) {
        let [a, b, c, d] = agents(world);
        let id = queue(&a);
        let received = |queue: Queue| (queue.rtime, queue.lrpid);
        for (victim, text) in [(b, &[1; 4][..]), (c, &[2; 3000]), (d, &[3; 4])] {
            let before = a.msg_stat(id).map(received);
            world.wait_to_receive(&victim, id, 8192, 0, WAIT);
            victim.slay(SIGKILL);
            a.msgsnd(id, 1, text, WAIT).unwrap();
            assert_eq!(a.msg_stat(id).map(received), before, "{} bytes", text.len());
            assert_eq!(a.msgrcv(id, 8192, 0, TRY), Ok(message(1, text)));
        }
    }

    /// Who is killed while he waits for room sends nothing, and keeps nobody back.
    fn killed_sender(world) {
        let [a, b, c] = agents(world);
        let id = full(&a, 4, 4);
        world.wait_to_send(&b, id, 2, b"1234");
        world.wait_to_send(&c, id, 3, b"1234");
        b.slay(SIGKILL);
        make_room(&a, id);
        assert_eq!(c.answer(), Ok(()));
        assert_eq!(a.messages(id), Ok(vec![message(3, b"1234")]));
        let victim = world.agent();
        world.wait_to_send(&victim, id, 1, b"1234");
        victim.slay(SIGKILL);
        a.msgrcv(id, 10, 0, TRY).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lspid)), Ok(((0, 0), c.pid)));
    }

    /// A message that was handed to one who died before he ran is gone with him.
    fn killed_after_being_served(world) {
        let [a, b] = agents(world);
        let id = queue(&a);
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        a.msgsnd(id, 5, b"x", WAIT).unwrap();
        let pid = b.pid;
        b.slay(SIGKILL);
        assert_eq!(a.msg_stat(id).map(|q| (q.holds(), q.lrpid)), Ok(((0, 0), pid)));
        assert_eq!(a.msgrcv(id, 10, 0, TRY), Err(Errno::NOMSG));
    }

    /// Threads of one process wait each for themselves.
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

    /// When a process ends or execs, its threads wait no longer.
    fn threads_end_with_their_process(world) {
        let [a, b, c, d] = agents(world);
        let id = full(&a, 4, 4);
        for agent in [&b, &c, &d] {
            world.wait_to_receive_in_a_thread(agent, id, 10, 5);
            world.wait_to_send_in_a_thread(agent, id, 1, b"x");
        }
        b.exit_at_once(0);
        c.slay(SIGKILL);
        d.exec();
        make_room(&a, id);
        a.msgsnd(id, 5, b"y", WAIT).unwrap();
        assert_eq!(a.messages(id), Ok(vec![message(5, b"y")]));
    }

    /// A fork while another thread waits: the child does not wait.
    fn fork_beside_who_waits(world) {
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

    /// Many wait for messages, and each gets his.
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

    /// Many wait for room, and each sends.
    fn many_senders(world) {
        let a = world.agent();
        let id = full(&a, 10, 10);
        let waiting: Vec<Agent> = (0..40).map(|_| world.agent()).collect();
        for (i, b) in waiting.iter().enumerate() {
            world.wait_to_send(b, id, 2, &[i as u8; 3][..1 + i % 3]);
        }
        make_room(&a, id);
        let mut seen: Vec<Message> = (0..40).map(|_| a.msgrcv(id, 10, 2, WAIT).unwrap()).collect();
        seen.sort_by_key(|m| m.text[0]);
        let all: Vec<Message> = (0..40).map(|i| message(2, &[i as u8; 3][..1 + i % 3])).collect();
        assert_eq!((seen, a.msg_stat(id).map(|q| q.holds())), (all, Ok((0, 0))));
        assert!(waiting.iter().all(|b| b.answer() == Ok(())));
    }

    /// Two take turns, each waiting for the other.
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
        assert_eq!(a.msg_stat(id).map(|q| q.holds()), Ok((0, 0)));
    }

    /// Some send and some receive, all at once, through a queue for a few: nothing is lost, doubled or mixed up.
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
        assert_eq!(a.msg_stat(id).map(|q| q.holds()), Ok((0, 0)));
    }
}

clauses! {
    /// Some send and receive as fast as they can, and one after another is killed, at whatever moment: the queue is whole, and the others go on.
    fn killed_at_any_moment(world) {
        let a = world.agent();
        let id = stormy(&a);
        let mut crowd: Vec<Agent> = agents::<3>(world).into();
        for (i, agent) in crowd.iter().enumerate() {
            agent.start_msg_storm(id, i as u64);
        }
        for round in 0..300 {
            let next = world.agent();
            next.start_msg_storm(id, 1000 + round);
            crowd.push(next);
            pass(round);
            crowd.remove(0).slay(SIGKILL);
            takes_part(&a, id);
            go_on(&crowd);
        }
        is_whole(world, &a, id, crowd);
    }

    /// Signals come at any moment, whose handler sends, too.
    fn interrupted_at_any_moment(world) {
        let a = world.agent();
        let id = stormy(&a);
        let crowd: Vec<Agent> = agents::<3>(world).into();
        for (i, agent) in crowd.iter().enumerate() {
            agent.handle(SIGUSR1, i == 0);
            agent.handle_with_msgsnd(id, 9, &of_a_storm(33));
            agent.start_msg_storm(id, i as u64);
        }
        for round in 0..1000 {
            crowd[round as usize % crowd.len()].signal(SIGUSR1);
            pass(round);
            takes_part(&a, id);
            go_on(&crowd);
        }
        is_whole(world, &a, id, crowd);
    }

    /// The capacity changes at any moment.
    fn changed_at_any_moment(world) {
        let a = world.agent();
        let id = stormy(&a);
        let crowd: Vec<Agent> = agents::<3>(world).into();
        for (i, agent) in crowd.iter().enumerate() {
            agent.start_msg_storm(id, i as u64);
        }
        for round in 0..1000 {
            a.msg_set_capacity(id, [3000, 0, 500, 10_000][round as usize % 4]).unwrap();
            pass(round);
            takes_part(&a, id);
            go_on(&crowd);
        }
        a.msg_set_capacity(id, 3000).unwrap();
        is_whole(world, &a, id, crowd);
    }

    /// The queue is removed at any moment: who waits gets EIDRM, who comes EINVAL, and nobody anything else.
    fn removed_at_any_moment(world) {
        let crowd: [Agent; 4] = agents(world);
        let a = world.agent();
        for round in 0..100 {
            let id = stormy(&a);
            for (i, agent) in crowd.iter().enumerate() {
                agent.start_msg_storm(id, round * 10 + i as u64);
            }
            takes_part(&a, id);
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

/// A queue for a storm.
fn stormy(a: &Agent) -> i32 {
    let id = queue(a);
    a.msg_set_capacity(id, 3000).unwrap();
    id
}

/// Lets a little pass, more or less: it is no matter what happens meanwhile.
fn pass(round: u64) {
    (0..round * 977 % 5000).for_each(|_| std::hint::spin_loop());
}

/// Sends and receives in a storm.
fn takes_part(a: &Agent, id: i32) {
    let sent = a.msgsnd(id, 9, &of_a_storm(50), TRY);
    assert!(matches!(sent, Ok(()) | Err(Errno::AGAIN)), "{sent:?}");
    let received = a.msgrcv(id, 8192, 0, TRY);
    assert!(received.as_ref().is_ok_and(|m| m.text == of_a_storm(m.text.len())) || received == Err(Errno::NOMSG), "{received:?}");
}

/// None of those in a storm has met with what may not be.
fn go_on(crowd: &[Agent]) {
    for agent in crowd {
        assert!(!agent.has_answered(), "{:?}", agent.answer());
    }
}

/// The storm is over: what is left can be received, and is as much as the fields say; then there is as much room as ever.
fn is_whole(world: &World, a: &Agent, id: i32, crowd: Vec<Agent>) {
    crowd.into_iter().for_each(|agent| agent.slay(SIGKILL));
    // What was handed over to one who was killed before he took it, and what one was about to send, is given back when somebody needs room, or sweeps.
    if let Some(namespace) = world.namespace() {
        quintet::Namespace::open(&namespace).unwrap().sweep().unwrap();
    }
    let all = a.messages(id).unwrap();
    let q = a.msg_stat(id).unwrap();
    assert_eq!(q.holds(), (all.len() as u64, all.iter().map(|m| m.text.len() as u64).sum()));
    for m in &all {
        assert_eq!((a.msgrcv(id, 8192, 0, TRY).as_ref(), &m.text), (Ok(m), &of_a_storm(m.text.len())));
    }
    assert_eq!(a.msg_stat(id).map(|q| q.holds()), Ok((0, 0)));
    for _ in 0..30 {
        a.msgsnd(id, 1, &[7; 100], TRY).unwrap();
    }
    assert_eq!(a.msgsnd(id, 1, b"x", TRY), Err(Errno::AGAIN), "no room has been lost, and none found");
}

clauses! { in C:
    /// A message for one who waits with memory that cannot be written: the kernel hands it over, and it is lost.
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
