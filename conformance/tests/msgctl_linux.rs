//! msgctl(2): commands that only Linux has, by index and for the whole namespace; limits.

use conformance::*;
use libc::{IPC_CREAT, IPC_PRIVATE, PROT_READ, PROT_WRITE};

const IPC_INFO: i32 = 3;
const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;

fn index(id: i32) -> i32 {
    id & 0x7fff
}

clauses! {
    /// MSG_STAT: "the msqid argument is not a queue identifier, but instead an index"; returns the
    /// identifier.
    fn stat_by_index(world) {
        let a = world.agent();
        let id = a.msgget(5, IPC_CREAT | 0o640).unwrap();
        a.msgsnd(id, 3, b"x", TRY).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert_eq!(a.msg_stat_index(index(id)), Ok(q));
        assert_eq!(a.msg_stat_any(index(id)), Ok(q));
    }

    /// "EINVAL: ... the index value ... referred to an array slot that is currently unused."
    fn unused_index(world) {
        let a = world.agent();
        assert_eq!(a.msg_stat_index(0), Err(Errno::INVAL));
        let id = a.msgget(5, IPC_CREAT | 0o640).unwrap();
        for unused in [index(id) + 1, 32767, -1, i32::MIN] {
            assert_eq!(a.msg_stat_index(unused), Err(Errno::INVAL), "{unused}");
            assert_eq!(a.msg_stat_any(unused), Err(Errno::INVAL), "{unused}");
        }
        a.msg_remove(id).unwrap();
        assert_eq!(a.msg_stat_index(index(id)), Err(Errno::INVAL));
    }

    /// Only the low 15 bits of an index count, so an identifier, even a stale one, serves as an
    /// index.
    fn index_of_15_bits(world) {
        let a = world.agent();
        let id = a.msgget(5, IPC_CREAT | 0o640).unwrap();
        for other in [id, index(id) | 1 << 15, index(id) | 1 << 30] {
            assert_eq!(a.msg_stat_index(other).map(|q| q.id), Ok(id), "{other}");
            assert_eq!(a.msg_stat_any(other).map(|q| q.id), Ok(id), "{other}");
        }
    }

    /// MSG_STAT requires read permission, MSG_STAT_ANY none.
    fn stat_any_needs_no_permission(world) {
        let a = world.ordinary();
        let id = a.msgget(5, IPC_CREAT).unwrap();
        assert_eq!(a.msg_stat_index(index(id)), Err(Errno::ACCES));
        assert_eq!(a.msg_stat(id), Err(Errno::ACCES));
        let q = a.msg_stat_any(index(id)).unwrap();
        assert_eq!((q.id, q.mode, q.qbytes, q.key), (id, 0, 16384, 5));
    }

    /// The queue of another user, with its content and its last processes.
    fn stat_any_of_other_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.msgget(5, IPC_CREAT | 0o600).unwrap();
        a.msgsnd(id, 3, b"12345", TRY).unwrap();
        a.msgsnd(id, 3, b"123", TRY).unwrap();
        a.msgrcv(id, 10, 0, TRY).unwrap();
        a.msg_set(id, NOBODY, NOBODY, 0o600, 1000).unwrap();
        assert_eq!(b.msg_stat_index(index(id)), Err(Errno::ACCES));
        let q = b.msg_stat_any(index(id)).unwrap();
        assert_eq!(q, a.msg_stat(id).unwrap());
        assert_eq!((q.counts(), q.lspid, q.lrpid, q.qbytes), ((1, 3), a.pid, a.pid, 1000));
    }

    /// Walking the indexes up to the highest finds all queues, as ipcs(1) does.
    fn walk(world) {
        let a = world.agent();
        let mut ids: Vec<i32> = (1..=10).map(|key| a.msgget(key, IPC_CREAT | 0o600).unwrap()).collect();
        for _ in 0..5 {
            a.msg_remove(ids.remove(2)).unwrap();
        }
        let max = a.msg_usage().unwrap().max_index;
        let mut found: Vec<i32> = (0..=max).filter_map(|i| a.msg_stat_index(i).ok()).map(|q| q.id).collect();
        found.sort_unstable();
        ids.sort_unstable();
        assert_eq!(found, ids);
        assert_eq!(ids.iter().map(|&id| index(id)).max(), Some(max));
    }

    /// IPC_INFO: "information about system-wide message queue limits".
    fn limits(world) {
        let a = world.agent();
        assert_eq!(a.msg_limits(), Ok(MsgLimits { max_index: 0, msgmax: 8192, msgmnb: 16384, msgmni: 32000 }));
    }

    /// proc(5): msgmax, msgmnb and msgmni can be changed.
    fn changed_limits(world) {
        if !world.limit("msgmax", 10) {
            return;
        }
        assert!(world.limit("msgmnb", 100) && world.limit("msgmni", 7));
        assert_eq!(world.agent().msg_limits(), Ok(MsgLimits { max_index: 0, msgmax: 10, msgmnb: 100, msgmni: 7 }));
    }

    /// "returns the index of the highest used entry"; 0 if there is none.
    fn highest_index(world) {
        let a = world.agent();
        assert_eq!((a.msg_limits().unwrap().max_index, a.msg_usage().unwrap().max_index), (0, 0));
        let ids: Vec<i32> = (0..4).map(|_| a.msgget(IPC_PRIVATE, 0o600).unwrap()).collect();
        let max = ids.iter().map(|&id| index(id)).max().unwrap();
        assert_eq!((a.msg_limits().unwrap().max_index, a.msg_usage().unwrap().max_index), (max, max));
        let highest = ids.iter().copied().max_by_key(|&id| index(id)).unwrap();
        a.msg_remove(highest).unwrap();
        assert_eq!(a.msg_usage().unwrap().max_index, max - 1);
    }

    /// MSG_INFO: "msgpool: the number of message queues that currently exist; msgmap: the total
    /// number of messages in all queues on the system; msgtql: the total number of bytes in all
    /// messages".
    fn usage(world) {
        let a = world.agent();
        let used = || a.msg_usage().map(|u| (u.queues, u.messages, u.bytes));
        assert_eq!(a.msg_usage(), Ok(MsgUsed { max_index: 0, queues: 0, messages: 0, bytes: 0 }));
        let (first, second) = (a.msgget(IPC_PRIVATE, 0o600).unwrap(), a.msgget(IPC_PRIVATE, 0o600).unwrap());
        a.msgsnd(first, 1, b"12345", TRY).unwrap();
        a.msgsnd(first, 1, b"", TRY).unwrap();
        a.msgsnd(second, 1, b"123", TRY).unwrap();
        assert_eq!(used(), Ok((2, 3, 8)));
        a.msgrcv(first, 2, 0, NOERROR).unwrap();
        assert_eq!(used(), Ok((2, 2, 3)), "the bytes that were truncated, too");
        a.msg_remove(second).unwrap();
        assert_eq!(used(), Ok((1, 1, 0)));
    }

    /// A message that is handed over at once is in no queue.
    fn usage_of_a_handed_over_message(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        world.wait_to_receive(&b, id, 10, 0, WAIT);
        a.msgsnd(id, 1, b"x", TRY).unwrap();
        assert_eq!(a.msg_usage().map(|u| (u.queues, u.messages, u.bytes)), Ok((1, 0, 0)));
        assert_eq!(b.answer_message(), Ok(message(1, b"x")));
    }

    /// Both require no permission and count the queues of other users.
    fn usage_of_other_users(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent_as(NOBODY, NOBODY, &[]), world.agent_as(STRANGER, STRANGER, &[]));
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        a.msgsnd(id, 1, b"123", TRY).unwrap();
        b.msgget(IPC_PRIVATE, 0).unwrap();
        assert_eq!(b.msg_usage().map(|u| (u.queues, u.messages, u.bytes)), Ok((2, 1, 3)));
        assert_eq!(b.msg_limits().map(|l| l.msgmax), Ok(8192));
    }
}

clauses! { in C:
    /// `struct msginfo` including its constants.
    fn msginfo(world) {
        let a = world.agent();
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        a.msgsnd(id, 1, b"12345", TRY).unwrap();
        a.msgsnd(id, 1, b"67", TRY).unwrap();
        let limits = MsgInfo {
            ret: 0,
            msgpool: 512_000,
            msgmap: 16384,
            msgmax: 8192,
            msgmnb: 16384,
            msgmni: 32000,
            msgssz: 16,
            msgtql: 16384,
            msgseg: 65535,
        };
        assert_eq!(a.msginfo(IPC_INFO), Ok(limits));
        assert_eq!(a.msginfo(MSG_INFO), Ok(MsgInfo { msgpool: 1, msgmap: 2, msgtql: 7, ..limits }));
        if !world.limit("msgmnb", 100) {
            return;
        }
        assert_eq!(a.msginfo(IPC_INFO), Ok(MsgInfo { msgmnb: 100, ..limits }), "the other fields are constants");
    }

    /// Commands that only report check the buffer last.
    fn inaccessible_buffer(world) {
        let a = world.agent();
        let id = a.msgget(5, IPC_CREAT | 0o640).unwrap();
        for bad in [Address::NULL, Address(1), PAD] {
            assert_eq!(a.msgctl(0, IPC_INFO, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(0, MSG_INFO, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(index(id), MSG_STAT, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(index(id), MSG_STAT_ANY, bad), Err(Errno::FAULT));
            assert_eq!(a.msgctl(index(id) + 1, MSG_STAT, bad), Err(Errno::INVAL));
        }
    }

    /// IPC_INFO and MSG_INFO ignore the identifier unless it is negative.
    fn identifier_of_reports(world) {
        let a = world.agent();
        let buffer = a.reserve(4096, PROT_READ | PROT_WRITE);
        for command in [IPC_INFO, MSG_INFO] {
            assert_eq!(a.msgctl(12345, command, buffer), Ok(0));
            assert_eq!(a.msgctl(-1, command, buffer), Err(Errno::INVAL));
        }
    }

    /// proc(5): the limits as files.
    fn limits_as_files(world) {
        let a = world.agent();
        let read = ["msgmax", "msgmnb", "msgmni", "msg_next_id"].map(|name| a.sysctl(name));
        assert_eq!(read, [Ok(8192), Ok(16384), Ok(32000), Ok(-1)]);
        if let Err(e) = a.set_sysctl("msgmni", 3) {
            assert!(world.subject.is_kernel(), "{e}");
            world.skip("/proc/sys/kernel cannot be written");
            return;
        }
        assert_eq!((a.sysctl("msgmni"), a.msg_limits().map(|l| l.msgmni)), (Ok(3), Ok(3)));
    }

    /// proc(5): `/proc/sysvipc/msg` lists the queues.
    fn list_as_a_file(world) {
        let a = world.agent();
        let id = a.msgget(0x1234, IPC_CREAT | 0o640).unwrap();
        a.msgsnd(id, 1, b"12345", TRY).unwrap();
        a.msgsnd(id, 1, b"67", TRY).unwrap();
        a.msgrcv(id, 10, 0, TRY).unwrap();
        let listed = a.sysvipc("msg");
        assert_eq!(listed.len(), 2, "a headline and a queue");
        let fields: Vec<&str> = listed[1].split_ascii_whitespace().collect();
        let q = a.msg_stat(id).unwrap();
        let expected = [0x1234, i64::from(id), 640, 2, 1, i64::from(a.pid), i64::from(a.pid)];
        assert_eq!(fields[..7], expected.map(|n| n.to_string()));
        let owners = [q.uid, q.gid, q.cuid, q.cgid].map(i64::from);
        let numbers = [&owners[..], &[q.stime, q.rtime, q.ctime]].concat();
        assert_eq!(fields[7..], numbers.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}
