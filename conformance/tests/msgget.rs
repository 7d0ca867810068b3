//! msgget(2), clause by clause.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE};

const KEY: i32 = 0x5eed;

clauses! {
    /// "returns the System V message queue identifier associated with the value of the key
    /// argument".
    fn creates_and_finds(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.msgget(KEY, IPC_CREAT | 0o600).unwrap();
        assert!(id >= 0);
        assert_eq!(a.msgget(KEY, IPC_CREAT | 0o600), Ok(id));
        assert_eq!(b.msgget(KEY, IPC_CREAT | 0o600), Ok(id));
        assert_eq!(b.msgget(KEY, 0), Ok(id));
        assert_ne!(b.msgget(KEY + 1, IPC_CREAT | 0o600).unwrap(), id);
    }

    /// A queue, a set and a segment may have the same key.
    fn keys_per_class(world) {
        let a = world.agent();
        let segment = a.shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        let set = a.semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(a.msgget(KEY, 0o600), Err(Errno::NOENT));
        let queue = a.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        a.remove(segment).unwrap();
        a.sem_remove(set).unwrap();
        assert_eq!(a.msgget(KEY, 0), Ok(queue));
        assert_eq!((a.shmget(KEY, 0, 0), a.semget(KEY, 0, 0)), (Err(Errno::NOENT), Err(Errno::NOENT)));
    }

    /// Keys have 32 bits. All except 0 behave alike.
    fn any_key_but_zero(world) {
        let a = world.agent();
        for key in [1, -1, i32::MIN, i32::MAX, 0x0012_3456] {
            let id = a.msgget(key, IPC_CREAT | 0o600).unwrap();
            assert_eq!(a.msg_stat(id).unwrap().key, key);
            assert_eq!(a.msgget(key, 0), Ok(id));
        }
    }

    /// "ENOENT: No message queue exists for key and msgflg did not specify IPC_CREAT."
    fn missing(world) {
        let a = world.agent();
        for flags in [0, 0o600, IPC_EXCL | 0o600] {
            assert_eq!(a.msgget(KEY, flags), Err(Errno::NOENT), "{flags:#o}");
        }
    }

    /// "EEXIST: IPC_CREAT and IPC_EXCL were specified in msgflg, but a message queue already exists
    /// for key."
    fn exclusive(world) {
        let a = world.agent();
        let id = a.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(a.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST));
        assert_eq!(a.msgget(KEY, IPC_EXCL | 0o600), Ok(id), "IPC_EXCL alone means nothing");
    }

    /// "If key has the value IPC_PRIVATE ... a new message queue is created".
    fn private(world) {
        let a = world.agent();
        let first = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        let second = a.msgget(IPC_PRIVATE, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_ne!(first, second);
        assert_eq!(a.msg_stat(first).unwrap().key, 0);
    }

    /// "When a new message queue is created, msgget() initializes the queue's associated data
    /// structure": all fields.
    fn initial_state(world) {
        let a = world.agent();
        let start = Clock::now();
        let id = a.msgget(KEY, IPC_CREAT | 0o640).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert!(start.saw(q.ctime), "\"msg_ctime is set to the current time\"");
        let (uid, gid) = world.user();
        let seq = (id as u32 >> 15) & 0xffff;
        let expected = Queue {
            id,
            key: KEY,
            uid,
            gid,
            cuid: uid,
            cgid: gid,
            mode: 0o640,
            seq,
            stime: 0,
            rtime: 0,
            ctime: q.ctime,
            cbytes: 0,
            qnum: 0,
            qbytes: 16384,
            lspid: 0,
            lrpid: 0,
        };
        assert_eq!(q, expected);
        assert_eq!(a.messages(id), Ok(Vec::new()));
    }

    /// A new queue shows nothing of the queue that had its index before.
    fn no_residue(world) {
        let a = world.agent();
        for _ in 0..3 {
            let id = a.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
            assert_eq!(a.msgrcv(id, 100, 0, TRY), Err(Errno::NOMSG));
            let q = a.msg_stat(id).unwrap();
            assert_eq!((q.counts(), q.stime, q.rtime, q.lspid, q.lrpid, q.qbytes), ((0, 0), 0, 0, 0, 0, 16384));
            a.msgsnd(id, 1, b"left over", WAIT).unwrap();
            a.msgsnd(id, 2, b"received", WAIT).unwrap();
            a.msgrcv(id, 100, 2, WAIT).unwrap();
            a.msg_set_capacity(id, 1000).unwrap();
            a.msg_remove(id).unwrap();
        }
    }

    /// "msg_qbytes is set to the system limit MSGMNB", as it is at the time. Older queues do not
    /// change.
    fn capacity(world) {
        let a = world.agent();
        let before = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        if !world.limit("msgmnb", 100) {
            return;
        }
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        assert_eq!((a.msg_stat(id).map(|q| q.qbytes), a.msg_stat(before).map(|q| q.qbytes)), (Ok(100), Ok(16384)));
        assert!(world.limit("msgmnb", 0));
        let zero_capacity = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        assert_eq!(a.msgsnd(zero_capacity, 1, b"", TRY), Err(Errno::AGAIN));
    }

    /// Only "the least significant 9 bits of msgflg" are the mode; execute bits are kept; unknown
    /// flags are ignored.
    fn modes(world) {
        let a = world.agent();
        for mode in [0, 0o600, 0o777, 0o123, 0o001] {
            let id = a.msgget(IPC_PRIVATE, mode | 0o170_000).unwrap();
            assert_eq!(a.msg_stat_any(id & 0x7fff).map(|q| q.mode), Ok(mode as u32));
        }
        a.ask("umask 63").unwrap();
        let id = a.msgget(IPC_PRIVATE, 0o666).unwrap();
        assert_eq!(a.msg_stat(id).map(|q| q.mode), Ok(0o666), "the umask plays no part");
    }

    /// "EACCES: A message queue exists for key, but the calling process does not have permission to
    /// access the queue".
    fn permission(world) {
        let a = world.ordinary();
        let id = a.msgget(KEY, IPC_CREAT | 0o400).unwrap();
        assert_eq!(a.msgget(KEY, 0o400), Ok(id));
        assert_eq!(a.msgget(KEY, 0), Ok(id), "asking for nothing is granted");
        assert_eq!(a.msgget(KEY, 0o600), Err(Errno::ACCES));
        assert_eq!(a.msgget(KEY, 0o020), Err(Errno::ACCES), "all three classes are folded together");
        assert_eq!(a.msgget(KEY, 0o100), Err(Errno::ACCES), "the execute bits are asked for, too");
        assert_eq!(a.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST), "before the permissions");
    }

    /// Queues of other users. The superuser has all permissions.
    fn permission_for_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, STRANGER, &[NOBODY]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let id = owner.msgget(KEY, IPC_CREAT | 0o640).unwrap();
        assert_eq!(member.msgget(KEY, 0o440), Ok(id));
        assert_eq!(member.msgget(KEY, 0o600), Err(Errno::ACCES));
        assert_eq!(other.msgget(KEY, 0o400), Err(Errno::ACCES));
        assert_eq!(other.msgget(KEY, 0), Ok(id));
        assert_eq!(world.agent().msgget(KEY, 0o777), Ok(id));
    }

    /// The creator's effective ids become owner and group.
    fn effective_ids(world) {
        if !world.users() {
            return;
        }
        let a = world.agent();
        a.ask(format_args!("setegid {STRANGER}")).unwrap();
        a.ask(format_args!("seteuid {NOBODY}")).unwrap();
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        let q = a.msg_stat(id).unwrap();
        assert_eq!((q.uid, q.gid, q.cuid, q.cgid), (NOBODY, STRANGER, NOBODY, STRANGER));
    }

    /// "ENOSPC: ... the system limit for the maximum number of message queues (MSGMNI) would be
    /// exceeded".
    fn number_of_queues(world) {
        if !world.limit("msgmni", 2) {
            return;
        }
        let a = world.agent();
        let id = a.msgget(KEY, IPC_CREAT | 0o600).unwrap();
        a.msgget(IPC_PRIVATE, 0o600).unwrap();
        assert_eq!(a.msgget(IPC_PRIVATE, 0o600), Err(Errno::NOSPC));
        assert_eq!(a.msgget(KEY + 1, IPC_CREAT | 0o600), Err(Errno::NOSPC));
        assert_eq!(a.msgget(KEY + 1, 0o600), Err(Errno::NOENT));
        assert_eq!(a.msgget(KEY, IPC_CREAT | 0o600), Ok(id), "what is there is found");
        assert_eq!(a.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST));
        a.msg_remove(id).unwrap();
        a.msgget(KEY, IPC_CREAT | 0o600).unwrap();
    }

    /// The limit on queues does not count segments and sets, and vice versa.
    fn limits_per_class(world) {
        if !world.limit("msgmni", 1) {
            return;
        }
        assert!(world.limit("shmmni", 1) && world.limit("semmni", 1));
        let a = world.agent();
        a.shmget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        a.semget(KEY, 1, IPC_CREAT | 0o600).unwrap();
        a.msgget(KEY, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.msgget(IPC_PRIVATE, 0o600), Err(Errno::NOSPC));
        assert_eq!((a.shmget(IPC_PRIVATE, 1, 0o600), a.semget(IPC_PRIVATE, 1, 0o600)), (Err(Errno::NOSPC), Err(Errno::NOSPC)));
    }

    /// A limit of 0 prevents creation and hides nothing.
    fn no_queues(world) {
        let a = world.agent();
        let id = a.msgget(KEY, IPC_CREAT | 0o600).unwrap();
        if !world.limit("msgmni", 0) {
            return;
        }
        assert_eq!(a.msgget(IPC_PRIVATE, 0o600), Err(Errno::NOSPC));
        assert_eq!(a.msgget(KEY, 0o600), Ok(id));
        a.msgsnd(id, 1, b"x", WAIT).unwrap();
    }

    /// proc(5): `msg_next_id` "specifies the desired ID for the next allocated" queue. It applies
    /// to one creation.
    fn next_id(world) {
        if !world.limit("msg_next_id", 7 << 15 | 5) {
            return;
        }
        let a = world.agent();
        a.shmget(IPC_PRIVATE, 1, 0o600).unwrap();
        a.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        assert_eq!((id, a.msg_stat(id).map(|q| q.seq)), (7 << 15 | 5, Ok(7)));
        assert_ne!(a.msgget(IPC_PRIVATE, 0o600).unwrap() & 0x7fff, 5);
        assert!(world.limit("msg_next_id", 9 << 15 | 5));
        let other = a.msgget(IPC_PRIVATE, 0o600).unwrap();
        assert_ne!(other & 0x7fff, 5, "if its index is taken, another is used");
        assert_eq!(a.msg_stat(id).map(|q| q.id), Ok(id));
    }

    /// An identifier is not reused at once.
    fn identifiers_are_not_reused(world) {
        let a = world.agent();
        let mut observed = std::collections::HashSet::new();
        for _ in 0..100 {
            let id = a.msgget(IPC_PRIVATE, 0o600).unwrap();
            assert!(observed.insert(id), "{id}");
            a.msg_remove(id).unwrap();
        }
        for id in observed {
            assert_eq!(a.msgsnd(id, 1, b"", TRY), Err(Errno::INVAL));
        }
    }

    /// Many queues at once, each with its own messages, used by several processes.
    fn many(world) {
        let (a, b) = (world.agent(), world.agent());
        let ids: Vec<i32> = (1..=1500).map(|key| a.msgget(key, IPC_CREAT | IPC_EXCL | 0o600).unwrap()).collect();
        for &id in &ids {
            a.msgsnd(id, 1 + i64::from(id), &id.to_ne_bytes(), TRY).unwrap();
        }
        assert_eq!(b.msg_usage().map(|u| (u.queues, u.messages, u.bytes)), Ok((1500, 1500, 6000)));
        for &id in ids.iter().rev() {
            assert_eq!(b.msgrcv(id, 10, 0, TRY), Ok(message(1 + i64::from(id), &id.to_ne_bytes())));
            b.msg_remove(id).unwrap();
        }
        assert_eq!(a.msg_usage().map(|u| (u.queues, u.messages, u.bytes)), Ok((0, 0, 0)));
    }

    /// A queue outlives its creator, with its messages.
    fn outlives_its_creator(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.msgget(KEY, IPC_CREAT | 0o600).unwrap();
        a.msgsnd(id, 4, b"testament", WAIT).unwrap();
        let pid = a.pid;
        a.kill_from_outside(libc::SIGKILL);
        assert_eq!(b.msgget(KEY, 0), Ok(id));
        assert_eq!(b.msg_stat(id).map(|q| q.lspid), Ok(pid));
        assert_eq!(b.msgrcv(id, 100, 0, TRY), Ok(message(4, b"testament")));
    }
}
