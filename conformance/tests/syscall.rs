//! The same calls through `syscall(2)`, as languages without a binding make them, in one namespace
//! with libc's functions.

use conformance::*;
use libc::{IPC_CREAT, IPC_EXCL, IPC_STAT};

const KEY: i32 = 0x5eed;

clauses! { in C:
    /// An object created one way is found the other way.
    fn one_namespace(world) {
        let (by_name, bare) = (world.agent(), world.agent());
        bare.set_bare(true);
        let id = bare.shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(by_name.shmget(KEY, 4096, 0), Ok(id));
        assert_eq!(by_name.shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0o600), Err(Errno::EXIST));
        let (theirs, mine) = (bare.attach(id, 0), by_name.attach(id, 0));
        bare.poke(theirs, 9).unwrap();
        assert_eq!(by_name.peek(mine), Ok(9));
        let s = by_name.stat(id).unwrap();
        assert_eq!((s.nattch, s.cpid), (2, bare.pid));
        assert_eq!(bare.stat(id), Ok(s));
    }

    /// An attachment made one way is detached the other way.
    fn crosswise(world) {
        let a = world.agent();
        let id = a.shmget(KEY, 4096, IPC_CREAT | 0o600).unwrap();
        a.set_bare(true);
        let at = a.attach(id, 0);
        a.set_bare(false);
        assert_eq!(a.shmdt(at), Ok(()));
        let at = a.attach(id, 0);
        a.set_bare(true);
        assert_eq!(a.shmdt(at), Ok(()));
        assert_eq!(a.shmdt(at), Err(Errno::INVAL));
        assert_eq!(a.remove(id), Ok(()));
        a.set_bare(false);
        assert_eq!(a.stat(id), Err(Errno::INVAL));
    }

    /// `syscall(2)` reports errors in `errno`.
    fn errors(world) {
        let a = world.agent();
        a.set_bare(true);
        let id = a.shmget(KEY, 100, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.shmget(KEY + 1, 1, 0), Err(Errno::NOENT));
        assert_eq!(a.shmget(KEY, 101, 0), Err(Errno::INVAL));
        assert_eq!(a.shmat(id, Address(1), 0), Err(Errno::INVAL));
        assert_eq!(a.shmdt(PAD), Err(Errno::INVAL));
        assert_eq!(a.shmctl(id, IPC_STAT, Address::NULL), Err(Errno::FAULT));
        assert_eq!(a.shmctl(id, 77, Address::NULL), Err(Errno::INVAL));
    }

    /// Status and limits.
    fn reports(world) {
        let a = world.agent();
        a.set_bare(true);
        let id = a.shmget(KEY, 4097, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.shm_info().map(|u| (u.used_ids, u.tot)), Ok((1, 2)));
        assert_eq!(a.ipc_info().map(|i| i.shmmni), Ok(4096));
        assert_eq!(a.stat_index(id & 0x7fff).map(|s| s.id), Ok(id));
        a.lock(id).unwrap();
        assert_eq!(a.stat_any(id & 0x7fff).map(|s| s.mode), Ok(0o2600));
    }

    /// Semaphore sets: both ways use the same set and share SEM_UNDO adjustments.
    fn sets(world) {
        let (by_name, bare) = (world.agent(), world.agent());
        bare.set_bare(true);
        let id = bare.semget(KEY, 2, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(by_name.semget(KEY, 2, 0), Ok(id));
        bare.setall(id, &[3, 0]).unwrap();
        by_name.semop(id, &[op(0, -1).flags(UNDO)]).unwrap();
        bare.semop(id, &[op(0, -1).flags(UNDO), op(1, 0)]).unwrap();
        assert_eq!(bare.semtimedop(id, &[op(1, -1)], std::time::Duration::ZERO), Err(Errno::AGAIN));
        let expected = Semaphores { values: vec![1, 0], pids: vec![bare.pid; 2], ncnt: vec![0; 2], zcnt: vec![0; 2] };
        assert_eq!((by_name.semaphores(id), bare.semaphores(id)), (Ok(expected.clone()), Ok(expected)));
        bare.exit(0);
        assert_eq!(by_name.getval(id, 0), Ok(2));
        assert_eq!(by_name.sem_remove(id), Ok(()));
    }

    /// Message queues.
    fn queues(world) {
        let (by_name, bare) = (world.agent(), world.agent());
        bare.set_bare(true);
        let id = bare.msgget(KEY, IPC_CREAT | IPC_EXCL | 0o600).unwrap();
        assert_eq!(by_name.msgget(KEY, 0), Ok(id));
        bare.msgsnd(id, 2, b"two", TRY).unwrap();
        by_name.msgsnd(id, 1, b"one", TRY).unwrap();
        assert_eq!(bare.msgrcv(id, 1, 0, TRY), Err(Errno::TOOBIG));
        assert_eq!(by_name.msgrcv(id, 3, 0, TRY), Ok(message(2, b"two")));
        assert_eq!(bare.msgrcv(id, 3, -1, TRY), Ok(message(1, b"one")));
        assert_eq!(bare.msgrcv(id, 3, 0, TRY), Err(Errno::NOMSG));
        assert_eq!(bare.msg_stat(id), by_name.msg_stat(id));
        assert_eq!(bare.msg_remove(id), Ok(()));
    }
}
