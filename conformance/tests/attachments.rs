//! shmop(2): the effects of attach and detach on `shmid_ds`, and of fork, exec and exit on
//! attachments.

use conformance::*;
use libc::{IPC_CREAT, SHM_RDONLY};

const PAGE: usize = 4096;

fn segment(a: &Agent) -> i32 {
    a.shmget(libc::IPC_PRIVATE, 4096, IPC_CREAT | 0o600).unwrap()
}

fn nattch(a: &Agent, id: i32) -> u64 {
    a.stat(id).unwrap().nattch
}

clauses! {
    /// "shm_atime is set to the current time, shm_lpid to the process-ID, shm_nattch is
    /// incremented".
    fn attaching(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = segment(&a);
        let before = a.stat(id).unwrap();
        let start = Clock::tick();
        b.attach(id, 0);
        let after = a.stat(id).unwrap();
        assert!(start.saw(after.atime));
        assert_eq!(after, Stat { atime: after.atime, lpid: b.pid, nattch: 1, ..before });
    }

    /// "shm_dtime is set to the current time, shm_lpid to the process-ID, shm_nattch is
    /// decremented".
    fn detaching(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = a.attach(id, 0);
        b.attach(id, 0);
        let before = a.stat(id).unwrap();
        let start = Clock::tick();
        a.shmdt(at).unwrap();
        let after = a.stat(id).unwrap();
        assert!(start.saw(after.dtime));
        assert_eq!(after, Stat { dtime: after.dtime, lpid: a.pid, nattch: 1, ..before });
    }

    /// A call that fails changes no field.
    fn failing(world) {
        let a = world.ordinary();
        let id = a.shmget(1, 1, IPC_CREAT | 0o400).unwrap();
        let before = a.stat(id).unwrap();
        assert_eq!(a.shmat(id, Address::NULL, 0), Err(Errno::ACCES));
        assert_eq!(a.shmat(id, Address::pad(1), SHM_RDONLY), Err(Errno::INVAL));
        let after = a.stat(id).unwrap();
        assert_eq!((after.nattch, after.lpid, after.dtime), (0, before.lpid, before.dtime));
        assert_eq!(after.ctime, before.ctime);
    }

    /// "After a fork(2), the child inherits the attached shared memory segments": counted from the
    /// first instant.
    fn fork(world) {
        let a = world.agent();
        let id = segment(&a);
        let at = a.attach(id, 0);
        let child = a.fork();
        assert_eq!(nattch(&a, id), 2);
        assert_eq!(a.stat(id).unwrap().lpid, a.pid, "although only the parent has ever made a call");
        child.poke(at, 9).unwrap();
        assert_eq!(a.peek(at), Ok(9));
    }

    /// A fork is an attach by the parent: it sets `atime`, and `lpid` to the parent's id.
    fn fork_is_an_attach_by_the_parent(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = segment(&a);
        a.attach(id, 0);
        b.attach(id, 0);
        let before = a.stat(id).unwrap();
        assert_eq!(before.lpid, b.pid);
        let start = Clock::tick();
        let _child = a.fork();
        let after = a.stat(id).unwrap();
        assert!(start.saw(after.atime));
        assert_eq!(after, Stat { lpid: a.pid, nattch: 3, atime: after.atime, ..before });
    }

    /// A fork inherits each attachment: several of one segment, and read-only ones as read-only.
    fn fork_of_several(world) {
        let a = world.agent();
        let (one, two) = (segment(&a), segment(&a));
        a.attach(one, 0);
        a.attach(one, 0);
        let narrow = a.attach(two, SHM_RDONLY);
        let child = a.fork();
        assert_eq!((nattch(&a, one), nattch(&a, two)), (4, 2));
        assert_eq!(child.probe(narrow), "read");
        let grandchild = child.fork();
        assert_eq!((nattch(&a, one), nattch(&a, two)), (6, 3));
        grandchild.exit_immediately(0);
        child.exit_immediately(0);
        assert_eq!((nattch(&a, one), nattch(&a, two)), (2, 1));
    }

    /// Parent and child detach independently.
    fn detach_in_the_child(world) {
        let a = world.agent();
        let id = segment(&a);
        let at = a.attach(id, 0);
        let child = a.fork();
        child.shmdt(at).unwrap();
        assert_eq!(a.stat(id).map(|s| (s.nattch, s.lpid)), Ok((1, child.pid)));
        assert_eq!(a.probe(at), "write");
        assert_eq!(child.shmdt(at), Err(Errno::INVAL));
        a.shmdt(at).unwrap();
        assert_eq!(nattch(&child, id), 0);
    }

    /// The child outlives its parent with its attachments.
    fn orphan(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = a.attach(id, 0);
        let child = a.fork();
        a.exit_immediately(0);
        assert_eq!(nattch(&other, id), 1);
        child.poke(at, 1).unwrap();
        child.shmdt(at).unwrap();
        assert_eq!(nattch(&other, id), 0);
    }

    /// A child that was forked before the attach is not attached.
    fn fork_before_attach(world) {
        let a = world.agent();
        let id = segment(&a);
        let child = a.fork();
        let at = a.attach(id, 0);
        assert_eq!(nattch(&a, id), 1);
        assert_eq!(child.probe(at), "none");
        assert_eq!(child.shmdt(at), Err(Errno::INVAL));
        child.exit(0);
        assert_eq!(nattch(&a, id), 1);
    }

    /// vfork(2) shares the attachments and copies none. The exec that follows ends no attachment of
    /// the parent.
    fn vfork(world) {
        let a = world.agent();
        let id = segment(&a);
        let at = a.attach(id, 0);
        let child = a.vfork();
        assert_eq!(nattch(&a, id), 1);
        assert_eq!(nattch(&child, id), 1);
        child.attach(id, 0);
        assert_eq!(nattch(&a, id), 2);
        child.exit_immediately(0);
        assert_eq!(nattch(&a, id), 1);
        a.poke(at, 1).unwrap();
        a.shmdt(at).unwrap();
        assert_eq!(nattch(&a, id), 0);
    }

    /// "After an execve(2), all attached shared memory segments are detached from the process."
    fn exec(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        a.attach(id, 0);
        a.attach(id, SHM_RDONLY);
        other.attach(id, 0);
        a.exec();
        let s = other.stat(id).unwrap();
        assert_eq!((s.nattch, s.lpid), (1, a.pid));
        assert!(s.dtime >= s.atime);
        a.attach(id, 0);
        assert_eq!(nattch(&other, id), 2);
    }

    /// An exec that fails leaves the attachments as they are.
    fn exec_that_fails(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = a.attach(id, 0);
        let before = other.stat(id).unwrap();
        assert_eq!(a.exec_missing(), Errno::NOENT);
        assert_eq!(other.stat(id), Ok(before));
        a.poke(at, 1).unwrap();
        let child = a.fork();
        assert_eq!(nattch(&other, id), 2);
        child.exit(0);
        a.shmdt(at).unwrap();
        assert_eq!(nattch(&other, id), 0);
    }

    /// "Upon _exit(2), all attached shared memory segments are detached from the process."
    fn exit_immediately(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        a.attach(id, 0);
        let (pid, start) = (a.pid, Clock::now());
        a.exit_immediately(0);
        let s = other.stat(id).unwrap();
        assert_eq!((s.nattch, s.lpid), (0, pid));
        assert!(start.saw(s.dtime));
    }

    /// exit(3) detaches, too.
    fn exit(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        a.attach(id, 0);
        a.attach(id, 0);
        let (pid, start) = (a.pid, Clock::now());
        a.exit(3);
        let s = other.stat(id).unwrap();
        assert_eq!((s.nattch, s.lpid), (0, pid));
        assert!(start.saw(s.dtime));
    }

    /// A process that is killed by a signal detaches.
    fn killed(world) {
        let other = world.agent();
        for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM] {
            let a = world.agent();
            let id = segment(&other);
            a.attach(id, 0);
            let (pid, start) = (a.pid, Clock::now());
            a.kill(signal);
            let s = other.stat(id).unwrap();
            assert_eq!((s.nattch, s.lpid), (0, pid), "signal {signal}");
            assert!(start.saw(s.dtime));
        }
    }

    /// A zombie is attached to nothing.
    fn zombie(world) {
        let a = world.agent();
        let id = segment(&a);
        let child = a.fork();
        child.attach(id, 0);
        let pid = child.pid;
        child.kill(libc::SIGKILL);
        assert_eq!(nattch(&a, id), 0);
        assert_eq!(a.stat(id).unwrap().lpid, pid);
        assert_eq!(a.wait(pid), ExitStatus::Signal(libc::SIGKILL));
        assert_eq!(nattch(&a, id), 0);
    }

    /// A child keeps its attachments when its parent is killed, and vice versa.
    fn killed_relatives(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        a.attach(id, 0);
        let (child, second) = (a.fork(), a.fork());
        assert_eq!(nattch(&other, id), 3);
        second.kill(libc::SIGKILL);
        assert_eq!(nattch(&other, id), 2);
        a.kill(libc::SIGKILL);
        assert_eq!(nattch(&other, id), 1);
        child.kill(libc::SIGKILL);
        assert_eq!(nattch(&other, id), 0);
    }

    /// Closing all descriptors, as daemons do, detaches nothing.
    fn closed_descriptors(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = a.attach(id, 0);
        a.close_from(3);
        assert_eq!(nattch(&other, id), 1);
        let child = a.fork();
        child.close_from(3);
        assert_eq!(nattch(&other, id), 2);
        a.poke(at, 1).unwrap();
        a.shmdt(at).unwrap();
        assert_eq!(nattch(&other, id), 1);
        child.kill(libc::SIGKILL);
        assert_eq!(nattch(&other, id), 0);
    }

    /// A change of user leaves attachments alone.
    fn changed_user(world) {
        if !world.users() {
            return;
        }
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = a.attach(id, 0);
        a.become_user(NOBODY, NOBODY, &[]);
        assert_eq!(nattch(&other, id), 1);
        a.poke(at, 1).unwrap();
        assert_eq!(a.stat(id), Err(Errno::ACCES));
        assert_eq!(a.shmat(id, Address::NULL, SHM_RDONLY), Err(Errno::ACCES));
        let child = a.fork();
        assert_eq!(nattch(&other, id), 2);
        a.shmdt(at).unwrap();
        assert_eq!(nattch(&other, id), 1);
        child.exit(0);
        assert_eq!(nattch(&other, id), 0);
    }

    /// munmap(2) in the middle of an attachment.
    fn unmapped_in_the_middle(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = a.shmget(1, 3 * PAGE as u64, IPC_CREAT | 0o600).unwrap();
        let at = a.attach(id, 0);
        a.munmap(at.plus(PAGE), PAGE).unwrap();
        if world.differs("docs/semantics.md: nattch after munmap, mprotect or mremap of a part") {
            assert_eq!(nattch(&other, id), 1);
        } else {
            assert_eq!(nattch(&other, id), 2, "the kernel counts mappings");
        }
        a.poke(at, 1).unwrap();
        a.poke(at.plus(2 * PAGE), 1).unwrap();
        assert_eq!(a.shmdt(at), Ok(()));
        assert_eq!((a.probe(at), a.probe(at.plus(2 * PAGE))), ("none".to_owned(), "none".to_owned()), "one detaches both");
        assert_eq!(nattch(&other, id), 0);
    }

    /// A segment can be detached at its first address even if its first page is unmapped.
    fn unmapped_at_the_start(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = a.shmget(1, 3 * PAGE as u64, IPC_CREAT | 0o600).unwrap();
        let at = a.attach(id, 0);
        a.munmap(at, PAGE).unwrap();
        assert_eq!(nattch(&other, id), 1);
        assert_eq!(a.shmdt(at.plus(PAGE)), Err(Errno::INVAL));
        assert_eq!(a.shmdt(at), Ok(()));
        assert_eq!(nattch(&other, id), 0);
    }

    /// munmap(2) of a whole attachment detaches it.
    fn unmapped_whole(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = segment(&a);
        let at = a.attach(id, 0);
        a.munmap(at, PAGE).unwrap();
        let sees = world.subject != Subject::Library;
        if !sees && world.differs("docs/semantics.md: munmap of a whole attachment") {
            assert_eq!(nattch(&other, id), 1);
        } else {
            assert_eq!(nattch(&other, id), 0);
            assert_eq!(a.shmdt(at), Err(Errno::INVAL));
        }
    }

    /// mprotect(2) of a part splits the mapping. The kernel counts both pieces.
    fn protected_in_the_middle(world) {
        let (a, other) = (world.agent(), world.agent());
        let id = a.shmget(1, 3 * PAGE as u64, IPC_CREAT | 0o600).unwrap();
        let at = a.attach(id, 0);
        a.mprotect(at.plus(PAGE), PAGE, libc::PROT_READ).unwrap();
        if world.differs("docs/semantics.md: nattch after munmap, mprotect or mremap of a part") {
            assert_eq!(nattch(&other, id), 1);
        } else {
            assert_eq!(nattch(&other, id), 3, "the kernel counts mappings");
        }
        assert_eq!(a.shmdt(at), Ok(()));
        assert_eq!(nattch(&other, id), 0);
        assert_eq!(a.probe(at.plus(PAGE)), "none");
    }

    /// An exit is complete before the next call: a process that attaches later is the last.
    fn exit_before_an_attach(world) {
        let ends: [fn(Agent); 3] = [|a| a.exit_immediately(0), |a| a.kill(libc::SIGKILL), |a| a.exec()];
        for end in ends {
            let (a, b) = (world.agent(), world.agent());
            let id = segment(&b);
            a.attach(id, 0);
            end(a);
            b.attach(id, 0);
            let s = b.stat(id).unwrap();
            assert_eq!((s.nattch, s.lpid), (1, b.pid));
            assert_ne!(s.dtime, 0);
        }
    }

    /// The same before a detach.
    fn exit_before_a_detach(world) {
        let a = world.agent();
        let id = segment(&a);
        let at = a.attach(id, 0);
        a.fork().kill(libc::SIGKILL);
        a.shmdt(at).unwrap();
        assert_eq!(a.stat(id).map(|s| (s.nattch, s.lpid)), Ok((0, a.pid)));
    }

    /// The same before a fork.
    fn exit_before_a_fork(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = segment(&a);
        b.attach(id, 0);
        a.attach(id, 0);
        b.kill(libc::SIGTERM);
        let _child = a.fork();
        let s = a.stat(id).unwrap();
        assert_eq!((s.nattch, s.lpid), (2, a.pid));
        assert_ne!(s.dtime, 0);
    }

    /// A new image that uses the namespace again is a new participant, although the process id is
    /// the same.
    fn exec_and_back(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = segment(&a);
        b.attach(id, 0);
        a.attach(id, 0);
        b.exec();
        segment(&b);
        let s = a.stat(id).unwrap();
        assert_eq!((s.nattch, s.lpid), (1, b.pid));
        assert_ne!(s.dtime, 0);
    }

    /// What a stranger sees of an exit that no process has detected yet.
    fn exit_seen_by_a_stranger(world) {
        if !world.users() {
            return;
        }
        let (a, stranger) = (world.agent(), world.agent_as(STRANGER, STRANGER, &[]));
        let id = segment(&a);
        a.attach(id, 0);
        let pid = a.pid;
        a.kill(libc::SIGKILL);
        let s = stranger.stat_any(id & 0x7fff).unwrap();
        assert_eq!((s.nattch, s.lpid), (0, pid));
        assert_ne!(s.dtime, 0);
    }

    /// The last detach ends a removed segment, whichever process detaches and how.
    fn last_detach_of_a_removed_segment(world) {
        let other = world.agent();
        let ends: [fn(Agent); 4] =
            [|a| a.exit(0), |a| a.exit_immediately(0), |a| a.kill(libc::SIGKILL), |a| a.exec()];
        for end in ends {
            let (a, b) = (world.agent(), world.agent());
            let id = segment(&other);
            let at = a.attach(id, 0);
            b.attach(id, 0);
            other.remove(id).unwrap();
            assert_eq!(other.stat(id).map(|s| (s.nattch, s.mode)), Ok((2, 0o1600)));
            a.shmdt(at).unwrap();
            end(b);
            assert_eq!(other.stat(id), Err(Errno::INVAL));
            assert_eq!(other.shm_info().unwrap().used_ids, 0);
        }
    }
}
