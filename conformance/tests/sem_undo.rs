//! `SEM_UNDO`: semop(2), semctl(2), and the effects of fork, exec and each kind of exit.

use conformance::*;
use libc::{IPC_PRIVATE, SIGKILL, SIGSEGV, SIGTERM};

fn set(a: &Agent, values: &[u16]) -> i32 {
    let id = a.semget(IPC_PRIVATE, values.len() as i32, 0o600).unwrap();
    a.setall(id, values).unwrap();
    id
}

fn undo(num: u16, delta: i16) -> SemOp {
    op(num, delta).flags(UNDO)
}

/// Returns `true` if an exec counts as the end of the process.
fn ends_by_exec(world: &World) -> bool {
    world.subject == Subject::Library && world.differs("docs/semantics.md: SEM_UNDO across exec")
}

clauses! {
    /// "If an operation specifies SEM_UNDO, it will be automatically undone when the process
    /// terminates."
    fn undone_at_the_end(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5, 5, 5]);
        b.semop(id, &[undo(0, -2), undo(1, 3), op(2, 1)]).unwrap();
        assert_eq!(a.getall(id), Ok(vec![3, 8, 6]));
        let pid = b.pid;
        b.exit(0);
        assert_eq!(world.semaphores(id), Semaphores { values: vec![5, 5, 6], pids: vec![pid; 3], ncnt: vec![0; 3], zcnt: vec![0; 3] });
    }

    /// By each kind of exit.
    fn any_end(world) {
        let a = world.agent();
        let id = set(&a, &[5]);
        let ends: [fn(Agent); 7] = [
            |b| b.exit(0),
            |b| b.exit_immediately(1),
            |b| b.kill(SIGKILL),
            |b| b.kill(SIGTERM),
            |b| b.kill_from_outside(SIGKILL),
            |b| b.kill_from_outside(SIGSEGV),
            // When the connection closes, the agent returns from main.
            |b| b.return_from_main(),
        ];
        for end in ends {
            let b = world.agent();
            b.semop(id, &[undo(0, -1)]).unwrap();
            b.semop(id, &[undo(0, -2)]).unwrap();
            assert_eq!(a.getval(id, 0), Ok(2));
            let pid = b.pid;
            end(b);
            assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(5), Ok(pid)));
        }
    }

    /// A process that learns of an exit finds the semaphores released.
    fn released_before_an_exit_is_seen(world) {
        let a = world.agent();
        let id = set(&a, &[1, 32767]);
        for nth in 0..20 {
            let (b, c) = (world.agent(), world.agent());
            b.semop(id, &[undo(0, -1)]).unwrap();
            c.semop(id, &[op(1, -1)]).unwrap();
            c.semop(id, &[undo(1, 1)]).unwrap();
            assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT)]), Err(Errno::AGAIN));
            assert_eq!(a.semop(id, &[op(1, 1)]), Err(Errno::RANGE));
            b.kill_from_outside(SIGKILL);
            c.kill_from_outside(SIGKILL);
            match nth % 2 {
                0 => assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT)]), Ok(())),
                _ => assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT), op(0, 0)]), Ok(())),
            }
            assert_eq!(a.semop(id, &[op(1, 1)]), Ok(()));
            a.semop(id, &[op(0, 1)]).unwrap();
        }
    }

    /// Only the sum of the operations of a process counts: "semadj".
    fn sums(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5, 5]);
        for delta in [-3, 2, -4, 1] {
            b.semop(id, &[undo(0, delta)]).unwrap();
        }
        b.semop(id, &[undo(1, 2), undo(1, -1)]).unwrap();
        assert_eq!(a.getall(id), Ok(vec![1, 6]));
        b.exit(0);
        assert_eq!(world.values(id), vec![5, 5]);
    }

    /// A sum of 0 leaves no trace: sempid stays.
    fn nothing_to_undo(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -3)]).unwrap();
        b.semop(id, &[undo(0, 3)]).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        b.exit(0);
        let c = world.agent();
        c.semop(id, &[undo(0, 0).flags(UNDO | NOWAIT)]).unwrap_err();
        c.exit(0);
        assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(6), Ok(a.pid)));
    }

    /// An operation without SEM_UNDO is not undone, even if other operations of the call have it.
    fn of_each_operation(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[op(0, -1), undo(0, -2), op(0, 1)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(3));
        b.exit(0);
        assert_eq!(world.values(id), vec![5]);
    }

    /// Each process has its own adjustments.
    fn several_processes(world) {
        let (a, b, c) = (world.agent(), world.agent(), world.agent());
        let id = set(&a, &[10]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        c.semop(id, &[undo(0, -3)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(5));
        b.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![7]);
        c.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![10]);
    }

    /// In several sets.
    fn several_sets(world) {
        let (a, b) = (world.agent(), world.agent());
        let ids: Vec<i32> = (0..12).map(|i| set(&a, &[i, 20])).collect();
        for id in &ids {
            b.semop(*id, &[undo(0, 1), undo(1, -20)]).unwrap();
        }
        b.kill_from_outside(SIGKILL);
        assert_eq!(ids.iter().map(|id| world.values(*id)).collect::<Vec<_>>(), (0..12).map(|i| vec![i, 20]).collect::<Vec<_>>());
    }

    /// "the effect of undoing would be to make the value negative": "Linux ... reduces the
    /// semaphore value as far as possible (i.e., to zero)".
    fn clamped_at_zero(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0, 0]);
        b.semop(id, &[undo(0, 10), undo(1, 10)]).unwrap();
        a.semop(id, &[op(0, -7)]).unwrap();
        b.exit(0);
        assert_eq!(world.values(id), vec![0, 0]);
    }

    /// What could not be undone at exit is not undone later.
    fn clamped_at_zero_for_good(world) {
        let (a, b, c) = (world.agent(), world.agent(), world.agent());
        let (id, last) = (set(&a, &[0]), b.pid);
        b.semop(id, &[undo(0, 5)]).unwrap();
        a.semop(id, &[op(0, -5)]).unwrap();
        b.kill(SIGKILL);
        assert_eq!((c.getval(id, 0), c.getpid(id, 0)), (Ok(0), Ok(last)));
        c.semop(id, &[op(0, 3)]).unwrap();
        assert_eq!(world.values(id), vec![3]);
    }

    /// Nor beyond SEMVMX.
    fn clamped_at_semvmx(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[100]);
        b.semop(id, &[undo(0, -50)]).unwrap();
        a.semop(id, &[op(0, 32717)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(32767));
        b.exit(0);
        assert_eq!(world.values(id), vec![32767]);
    }

    /// "ERANGE" if semadj would leave -32768..=32767: nothing is done then.
    fn out_of_range(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0, 32767, 0]);
        b.semop(id, &[undo(0, 32767)]).unwrap();
        a.setval(id, 2, 0).unwrap();
        a.semop(id, &[op(0, -32767)]).unwrap();
        b.semop(id, &[undo(0, 1)]).unwrap();
        assert_eq!(b.semop(id, &[undo(0, 1)]), Err(Errno::RANGE), "-32769");
        assert_eq!(b.semop(id, &[op(2, 1), undo(0, 1)]), Err(Errno::RANGE));
        assert_eq!(b.semop(id, &[op(0, 1)]), Ok(()), "without SEM_UNDO");
        b.semop(id, &[undo(1, -32767)]).unwrap();
        a.setval(id, 2, 5).unwrap();
        a.semop(id, &[op(1, 1)]).unwrap();
        assert_eq!(b.semop(id, &[undo(1, -1)]), Err(Errno::RANGE), "32768");
        assert_eq!(b.semop(id, &[undo(1, -1), undo(1, 1)]), Err(Errno::RANGE), "also in passing");
        assert_eq!(b.semop(id, &[undo(1, 1), undo(1, -1)]), Ok(()));
        assert_eq!(b.semop(id, &[op(1, -1)]), Ok(()), "without SEM_UNDO");
        assert_eq!(a.getall(id), Ok(vec![2, 0, 5]));
        b.exit(0);
        assert_eq!(world.values(id), vec![0, 32767, 5]);
    }

    /// A call with an adjustment out of range fails at once, although a later operation would have
    /// to wait. An earlier operation waits first.
    fn out_of_range_or_waiting(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[32767, 0]);
        b.semop(id, &[undo(0, -32767)]).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(b.semop(id, &[undo(0, -1), op(1, -1)]), Err(Errno::RANGE));
        world.wait_in(&b, id, &[op(1, -1), undo(0, -1)]);
        a.semop(id, &[op(1, 1)]).unwrap();
        assert_eq!(b.answer(), Err(Errno::RANGE));
        assert_eq!(a.getall(id), Ok(vec![1, 1]));
    }

    /// A call that fails records no adjustment.
    fn failing_calls(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5, 0]);
        assert_eq!(b.semop(id, &[undo(0, -2), op(1, -1).flags(NOWAIT)]), Err(Errno::AGAIN));
        assert_eq!(b.semop(id, &[undo(0, -2), op(0, 32767)]), Err(Errno::RANGE));
        assert_eq!(b.semop(id, &[undo(0, -2), op(2, 1)]), Err(Errno::FBIG));
        world.wait_in(&b, id, &[undo(0, -2), op(1, -1)]);
        b.kill_from_outside(SIGKILL);
        assert_eq!(world.semaphores(id), Semaphores { values: vec![5, 0], pids: vec![a.pid; 2], ncnt: vec![0; 2], zcnt: vec![0; 2] });
    }

    /// An operation that another process performed for a waiting one is undone at the waiter's
    /// exit.
    fn done_by_another(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0]);
        world.wait_in(&b, id, &[undo(0, -1)]);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!((b.answer(), a.getval(id, 0)), (Ok(()), Ok(0)));
        let pid = b.pid;
        b.exit(0);
        assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(1), Ok(pid)));
    }

    /// A waiter that is killed after its operation was performed and before its own return undoes
    /// it.
    fn killed_when_served(world) {
        let a = world.agent();
        let id = set(&a, &[0]);
        for round in 0..50 {
            let b = world.agent();
            world.wait_in(&b, id, &[undo(0, -1)]);
            a.semop(id, &[op(0, 1)]).unwrap();
            b.kill_from_outside(SIGKILL);
            assert_eq!(a.getval(id, 0), Ok(1));
            assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT)]), Ok(()), "round {round}");
        }
    }

    /// "semadj ... is cleared" by SETVAL, in every process.
    fn setval_forgets(world) {
        let (a, b, c) = (world.agent(), world.agent(), world.agent());
        let id = set(&a, &[5, 5]);
        b.semop(id, &[undo(0, -1), undo(1, -1)]).unwrap();
        c.semop(id, &[undo(0, 4), undo(1, -2)]).unwrap();
        a.setval(id, 0, 100).unwrap();
        b.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![100, 3]);
        c.semop(id, &[undo(0, 1)]).unwrap();
        c.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![100, 5]);
    }

    /// And by SETALL.
    fn setall_forgets(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5, 5]);
        b.semop(id, &[undo(0, -1), undo(1, -1)]).unwrap();
        a.setall(id, &[7, 8]).unwrap();
        b.semop(id, &[undo(1, -1)]).unwrap();
        b.exit(0);
        assert_eq!(world.values(id), vec![7, 8]);
    }

    /// A call that waits with SEM_UNDO while SETVAL comes records the adjustment when it proceeds.
    fn setval_and_a_waiting_call(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0]);
        world.wait_in(&b, id, &[undo(0, -2)]);
        a.setval(id, 0, 7).unwrap();
        assert_eq!((b.answer(), a.getval(id, 0)), (Ok(()), Ok(5)));
        b.exit(0);
        assert_eq!(world.values(id), vec![7]);
    }

    /// "semadj values are not inherited by a child process created via fork(2)".
    fn fork_does_not_inherit(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        let child = b.fork();
        child.exit(0);
        assert_eq!(a.getval(id, 0), Ok(3));
        let child = b.fork();
        child.semop(id, &[undo(0, -1)]).unwrap();
        b.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![4]);
        child.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![5]);
    }

    /// The exit of the parent affects neither a waiting child nor the child's own adjustments.
    fn fork_and_the_parents_end(world) {
        for by_exit in [true, false] {
            let (a, b) = (world.agent(), world.agent());
            let id = set(&a, &[1, 5]);
            assert_eq!(b.semop(id, &[undo(0, -2).flags(UNDO | NOWAIT)]), Err(Errno::AGAIN));
            b.semop(id, &[undo(1, -2)]).unwrap();
            let child = b.fork();
            world.wait_in(&child, id, &[op(0, 0), undo(1, 1)]);
            if by_exit { b.exit(0) } else { b.kill_from_outside(SIGKILL) }
            assert_eq!(world.values(id), vec![1, 5]);
            assert_eq!(a.getzcnt(id, 0), Ok(1));
            a.setval(id, 0, 0).unwrap();
            assert_eq!((child.answer(), a.getall(id)), (Ok(()), Ok(vec![0, 6])));
            child.exit(0);
            assert_eq!(world.values(id), vec![0, 5]);
        }
    }

    /// The same for vfork(2).
    fn vfork_does_not_inherit(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        let child = b.vfork();
        child.semop(id, &[undo(0, -1)]).unwrap();
        child.exit(0);
        assert_eq!(world.values(id), vec![3]);
        b.exit(0);
        assert_eq!(world.values(id), vec![5]);
    }

    /// "... semadj values are preserved across an execve(2)".
    fn exec_keeps(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        b.exec();
        if ends_by_exec(world) {
            assert_eq!(world.values(id), vec![5]);
            return;
        }
        assert_eq!(a.getval(id, 0), Ok(3));
        b.semop(id, &[undo(0, -1)]).unwrap();
        b.exec();
        assert_eq!(a.getval(id, 0), Ok(2));
        let pid = b.pid;
        b.kill_from_outside(SIGKILL);
        assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(5), Ok(pid)));
    }

    /// Also if the user has no permission on the set any more.
    fn exec_after_another_user(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        b.become_user(NOBODY, NOBODY, &[]);
        b.exec();
        if ends_by_exec(world) {
            assert_eq!(world.values(id), vec![5]);
            return;
        }
        assert_eq!((a.getval(id, 0), b.getval(id, 0)), (Ok(3), Err(Errno::ACCES)));
        b.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![5]);
    }

    /// A new image that makes no semaphore call undoes what the previous image did.
    fn exec_without_calls(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        b.exec();
        if !ends_by_exec(world) {
            assert_eq!(a.getval(id, 0), Ok(3));
        }
        b.exit(0);
        assert_eq!(world.values(id), vec![5]);
    }

    /// An exec that fails changes nothing.
    fn failing_exec(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        assert_eq!(b.exec_missing(), Errno::NOENT);
        assert_eq!(a.getval(id, 0), Ok(3));
        b.exit(0);
        assert_eq!(world.values(id), vec![5]);
    }

    /// pthreads(7): "semadj values are shared" by the threads of a process. The exit of a thread
    /// undoes nothing.
    fn threads_share(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop_in_a_thread(id, &[undo(0, -2)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(3));
        b.semop(id, &[undo(0, 1)]).unwrap();
        b.semop_in_a_thread(id, &[undo(0, -3)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(1));
        b.exit(0);
        assert_eq!(world.values(id), vec![5]);
    }

    /// Undoing lets waiting processes proceed.
    fn undo_wakes(world) {
        let (a, b, c, d) = (world.agent(), world.agent(), world.agent(), world.agent());
        let id = set(&a, &[1, 0]);
        b.semop(id, &[undo(0, -1), undo(1, 1)]).unwrap();
        world.wait_in(&c, id, &[op(0, -1)]);
        world.wait_in(&d, id, &[op(1, 0)]);
        b.kill_from_outside(SIGKILL);
        assert_eq!((c.answer(), d.answer()), (Ok(()), Ok(())), "without anybody making a call");
        let expected = Semaphores { values: vec![0, 0], pids: vec![c.pid, d.pid], ncnt: vec![0; 2], zcnt: vec![0; 2] };
        assert_eq!(world.semaphores(id), expected);
    }

    /// Each holder of a lock exits and hands it to the next one.
    fn handed_on(world) {
        let a = world.agent();
        let id = set(&a, &[1]);
        let mut holders: Vec<Agent> = (0..6).map(|_| world.agent()).collect();
        holders[0].semop(id, &[undo(0, -1)]).unwrap();
        for b in &holders[1..] {
            world.wait_in(b, id, &[undo(0, -1)]);
        }
        while holders.len() > 1 {
            holders.remove(0).kill_from_outside(SIGKILL);
            assert_eq!(holders[0].answer(), Ok(()));
            assert_eq!((a.getpid(id, 0), a.getval(id, 0)), (Ok(holders[0].pid), Ok(0)));
            assert_eq!(a.getncnt(id, 0), Ok(holders.len() as i32 - 1));
        }
        holders.remove(0).kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![1]);
    }

    /// Removing a set drops its adjustments. A new set with the same key is independent.
    fn removed_sets(world) {
        let (a, b) = (world.agent(), world.agent());
        let gone = set(&a, &[5]);
        b.semop(gone, &[undo(0, -2)]).unwrap();
        a.sem_remove(gone).unwrap();
        let id = set(&a, &[5]);
        b.exit(0);
        let c = world.agent();
        c.semop(id, &[undo(0, -1)]).unwrap();
        c.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![5]);
    }

    /// Undoing ignores the mode, even if the process has lost all permissions.
    fn undo_ignores_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = a.semget(IPC_PRIVATE, 1, 0o666).unwrap();
        a.setval(id, 0, 5).unwrap();
        b.semop(id, &[undo(0, -2)]).unwrap();
        a.sem_set(id, 0, 0, 0o600).unwrap();
        assert_eq!(b.getval(id, 0), Err(Errno::ACCES));
        let pid = b.pid;
        b.kill_from_outside(SIGKILL);
        assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(5), Ok(pid)));
    }

    /// The same for a process that has changed its user.
    fn after_another_user(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        b.become_user(NOBODY, NOBODY, &[]);
        assert_eq!(b.semop(id, &[undo(0, -1)]), Err(Errno::ACCES));
        b.exit(0);
        assert_eq!(world.values(id), vec![5]);
    }

    /// Undoing sets otime, even if nothing was left to undo. It leaves ctime alone.
    fn otime(world) {
        let a = world.agent();
        let id = set(&a, &[5]);
        for delta in [-2, 0] {
            let b = world.agent();
            b.semop(id, &[undo(0, -2)]).unwrap();
            b.semop(id, &[undo(0, delta + 2).flags(UNDO | NOWAIT)]).unwrap_or_else(|e| assert_eq!((e, delta), (Errno::AGAIN, -2)));
            let before = a.sem_stat(id).unwrap();
            let start = Clock::tick();
            b.exit(0);
            assert!(start.saw(a.sem_stat(id).unwrap().otime));
            let after = a.sem_stat(id).unwrap();
            assert_eq!(after, Set { otime: after.otime, ..before });
        }
    }

    /// A call with SEM_UNDO that fails, even by permission, makes the exit of its process set
    /// otime.
    fn otime_after_failing_calls(world) {
        let (a, b) = (world.agent(), world.ordinary());
        let id = b.semget(IPC_PRIVATE, 1, 0o400).unwrap();
        assert_eq!(b.semop(id, &[undo(0, 1)]), Err(Errno::ACCES));
        b.exit(0);
        let never = world.differs("docs/semantics.md: end of a process without effective undo");
        assert_eq!((a.sem_stat(id).map(|s| s.otime == 0), a.getpid(id, 0)), (Ok(never), Ok(0)));
    }

    /// SEM_UNDO on an operation that waits for zero records nothing.
    fn of_waiting_for_zero(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0]);
        b.semop(id, &[undo(0, 0)]).unwrap();
        assert_eq!(a.getpid(id, 0), Ok(b.pid));
        a.semop(id, &[op(0, 3)]).unwrap();
        b.exit(0);
        assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(3), Ok(a.pid)));
    }

    /// Undoing works after all descriptors are closed, as daemons do.
    fn closed_descriptors(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        b.semop(id, &[undo(0, -2)]).unwrap();
        b.close_from(1);
        b.semop(id, &[undo(0, -1)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(2));
        b.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![5]);
    }

    /// A zombie has exited: its adjustments are undone.
    fn zombies(world) {
        let (a, parent) = (world.agent(), world.agent());
        let id = set(&a, &[5]);
        let child = parent.fork();
        child.semop(id, &[undo(0, -2)]).unwrap();
        let pid = child.pid;
        child.kill_from_outside(SIGKILL);
        assert_eq!(world.values(id), vec![5]);
        assert_eq!(parent.wait(pid), ExitStatus::Signal(SIGKILL));
    }
}
