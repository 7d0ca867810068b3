//! proc(5), `/proc/sys/kernel/shm_rmid_forced`: segments end without being removed.

use conformance::*;
use libc::{IPC_CREAT, IPC_PRIVATE};

fn segment(a: &Agent) -> i32 {
    a.shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600).unwrap()
}

clauses! {
    /// A segment ends with its last attachment, removed or not.
    fn on_detach(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let a = world.agent();
        let id = a.shmget(5, 4096, IPC_CREAT | 0o600).unwrap();
        assert_eq!(a.stat(id).unwrap().mode, 0o600);
        let at = a.attach(id, 0);
        assert_eq!(a.stat(id).unwrap().mode, 0o600, "no SHM_DEST");
        a.shmdt(at).unwrap();
        assert_eq!(a.stat(id), Err(Errno::INVAL));
        assert_eq!(a.shmget(5, 0, 0), Err(Errno::NOENT));
    }

    /// An unattached segment ends with its creator.
    fn on_exit(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        assert_eq!(other.stat(id).unwrap().nattch, 0);
        a.exit_immediately(0);
        assert_eq!(other.stat(id), Err(Errno::INVAL));
    }

    /// A segment that another process has attached outlives its creator and ends with the last
    /// attachment.
    fn with_another_attached(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = other.attach(id, 0);
        a.kill(libc::SIGKILL);
        assert_eq!(other.stat(id).unwrap().nattch, 1);
        other.shmdt(at).unwrap();
        assert_eq!(other.stat(id), Err(Errno::INVAL));
    }

    /// The last attached process is killed.
    fn killed_while_attached(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&other);
        a.attach(id, 0);
        a.kill(libc::SIGKILL);
        assert_eq!(other.stat(id), Err(Errno::INVAL), "although its creator lives");
    }

    /// Its key is then free, too.
    fn key_after_last_user_was_killed(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let other = world.ordinary();
        for flags in [0, 0o777] {
            let a = world.ordinary();
            let id = other.shmget(5, 4096, IPC_CREAT | 0o622).unwrap();
            a.attach(id, 0);
            a.kill(libc::SIGKILL);
            assert_eq!(other.shmget(5, 4096, flags), Err(Errno::NOENT));
        }
    }

    /// An attach that fails counts up and down again, and so ends an unattached segment.
    fn failed_attach(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let a = world.agent();
        let id = segment(&a);
        assert_eq!(a.shmat(id, Address::pad(1), 0), Err(Errno::INVAL), "the address is in use");
        assert_eq!(a.stat(id), Err(Errno::INVAL));
        let kept = segment(&a);
        assert_eq!(a.shmat(kept, Address(1), 0), Err(Errno::INVAL), "unaligned: that is found before the segment is");
        assert!(a.stat(kept).is_ok());
    }

    /// An exec ends attachments, but is not the end of the creator.
    fn exec(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let a = world.agent();
        let (kept, attached) = (segment(&a), segment(&a));
        a.attach(attached, 0);
        a.exec();
        if world.differs("docs/semantics.md: shm_rmid_forced and the creator's exec") {
            assert_eq!(a.stat(kept), Err(Errno::INVAL));
        } else {
            assert_eq!(a.stat(kept).map(|s| s.nattch), Ok(0));
        }
        assert_eq!(a.stat(attached), Err(Errno::INVAL));
    }

    /// The first call after the creator's exit, whichever it is, finds no segment.
    fn every_call(world) {
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        let other = world.agent();
        let (uid, gid) = world.user();
        let calls: [&dyn Fn(i32) -> Errno; 6] = [
            &|id| other.shmat(id, Address::NULL, 0).unwrap_err(),
            &|id| other.set(id, uid, gid, 0o600).unwrap_err(),
            &|id| other.remove(id).unwrap_err(),
            &|id| other.lock(id).unwrap_err(),
            &|id| other.stat_index(id & 0x7fff).unwrap_err(),
            &|id| other.stat_any(id & 0x7fff).unwrap_err(),
        ];
        for call in calls {
            let a = world.agent();
            let id = segment(&a);
            a.exit_immediately(0);
            assert_eq!(call(id), Errno::INVAL);
            assert_eq!(other.shm_info().unwrap().used_ids, 0);
        }
        let a = world.agent();
        a.shmget(5, 1, IPC_CREAT | 0o600).unwrap();
        a.exit_immediately(0);
        assert_eq!(other.shmget(5, 0, 0), Err(Errno::NOENT));
        let a = world.agent();
        segment(&a);
        a.exit_immediately(0);
        assert_eq!(other.shm_info().unwrap().used_ids, 0);
    }

    /// Orphaned segments that exist already end at once.
    fn set_later(world) {
        let (a, other) = (world.agent(), world.agent());
        let (orphan, kept) = (segment(&a), segment(&other));
        a.exit(0);
        assert_eq!(other.stat(orphan).unwrap().nattch, 0);
        if !world.limit("shm_rmid_forced", 1) {
            return;
        }
        assert_eq!(other.stat(orphan), Err(Errno::INVAL));
        assert_eq!(other.stat(kept).unwrap().nattch, 0, "its creator lives");
    }
}
