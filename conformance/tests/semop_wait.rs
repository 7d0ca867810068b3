//! semop(2), clause by clause: calls that wait, what ends the wait, and in which order.

use conformance::*;
use libc::{IPC_PRIVATE, SIGCONT, SIGKILL, SIGSTOP, SIGUSR1};
use std::time::Duration;

fn set(a: &Agent, values: &[u16]) -> i32 {
    let id = a.semget(IPC_PRIVATE, values.len() as i32, 0o600).unwrap();
    a.setall(id, values).unwrap();
    id
}

fn agents<const N: usize>(world: &World) -> [Agent; N] {
    std::array::from_fn(|_| world.agent())
}

clauses! {
    /// "semncnt (the counter of threads waiting for this semaphore's value to increase) is
    /// incremented by one and the thread sleeps until ... semval becomes greater than or equal to
    /// the absolute value of sem_op: ... the value of semncnt is decremented".
    fn waits_for_more(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[1, 0]);
        world.wait_in(&b, id, &[op(0, -3)]);
        assert_eq!((a.getncnt(id, 0), a.getzcnt(id, 0), a.getncnt(id, 1)), (Ok(1), Ok(0), Ok(0)));
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!((a.getncnt(id, 0), a.getval(id, 0)), (Ok(1), Ok(2)));
        a.semop(id, &[op(0, 2)]).unwrap();
        let done = Semaphores { values: vec![1, 0], pids: vec![b.pid, a.pid], ncnt: vec![0, 0], zcnt: vec![0, 0] };
        assert_eq!(a.semaphores(id), Ok(done), "what was waited for is done when semop returns");
        assert_eq!(b.answer(), Ok(()));
    }

    /// "If semval is nonzero ... semzcnt (the count of threads waiting until this semaphore's value
    /// becomes zero) is incremented".
    fn waits_for_zero(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[2, 0]);
        world.wait_in(&b, id, &[op(0, 0)]);
        assert_eq!((a.getncnt(id, 0), a.getzcnt(id, 0), a.getzcnt(id, 1)), (Ok(0), Ok(1), Ok(0)));
        a.semop(id, &[op(0, -1)]).unwrap();
        assert_eq!(a.getzcnt(id, 0), Ok(1));
        a.semop(id, &[op(0, -1)]).unwrap();
        let done = Semaphores { values: vec![0, 0], pids: vec![b.pid, a.pid], ncnt: vec![0, 0], zcnt: vec![0, 0] };
        assert_eq!(a.semaphores(id), Ok(done));
        assert_eq!(b.answer(), Ok(()));
    }

    /// Waiting calls see a zero between two calls, but not a zero within a call.
    fn short_zero(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[1]);
        world.wait_in(&b, id, &[op(0, 0)]);
        a.semop(id, &[op(0, -1), op(0, 1)]).unwrap();
        assert_eq!(a.getzcnt(id, 0), Ok(1));
        a.semop(id, &[op(0, -1)]).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!((a.getzcnt(id, 0), b.answer()), (Ok(0), Ok(())));
    }

    /// SETVAL and SETALL end waits, too. They perform the operations of the waiting calls before
    /// they return.
    fn set_values_wake(world) {
        let [a, b, c] = agents(world);
        let id = set(&a, &[0, 1]);
        world.wait_in(&b, id, &[op(0, -2)]);
        a.setval(id, 0, 1).unwrap();
        assert_eq!(a.getncnt(id, 0), Ok(1));
        a.setval(id, 0, 5).unwrap();
        assert_eq!(a.semaphores(id).map(|l| (l.values.clone(), l.pids.clone(), l.waiting())), Ok((vec![3, 1], vec![b.pid, a.pid], 0)));
        assert_eq!(b.answer(), Ok(()));
        world.wait_in(&b, id, &[op(0, -4)]);
        world.wait_in(&c, id, &[op(1, 0)]);
        a.setall(id, &[4, 0]).unwrap();
        assert_eq!(a.semaphores(id).map(|l| (l.values.clone(), l.pids.clone(), l.waiting())), Ok((vec![0, 0], vec![b.pid, c.pid], 0)));
        assert_eq!((b.answer(), c.answer()), (Ok(()), Ok(())));
    }

    /// Among calls that can proceed, the one that has waited longest is first.
    fn first_come_first_served(world) {
        let waiting: [Agent; 4] = agents(world);
        let a = world.agent();
        let id = set(&a, &[0]);
        for b in &waiting {
            world.wait_in(b, id, &[op(0, -1)]);
        }
        for b in &waiting {
            a.semop(id, &[op(0, 1)]).unwrap();
            assert_eq!(a.getpid(id, 0), Ok(b.pid));
            assert_eq!(b.answer(), Ok(()));
        }
    }

    /// A call that asks for less overtakes one that asks for more than there is.
    fn overtaking(world) {
        let [a, greedy, modest, late] = agents(world);
        let id = set(&a, &[0]);
        world.wait_in(&greedy, id, &[op(0, -3)]);
        world.wait_in(&modest, id, &[op(0, -2)]);
        a.semop(id, &[op(0, 2)]).unwrap();
        assert_eq!((a.getpid(id, 0), a.getval(id, 0), a.getncnt(id, 0)), (Ok(modest.pid), Ok(0), Ok(1)));
        assert_eq!(modest.answer(), Ok(()));
        a.semop(id, &[op(0, 2)]).unwrap();
        assert_eq!(late.semop(id, &[op(0, -1)]), Ok(()), "a new call need not queue");
        a.semop(id, &[op(0, 2)]).unwrap();
        assert_eq!((a.getpid(id, 0), a.getval(id, 0)), (Ok(greedy.pid), Ok(0)));
        assert_eq!(greedy.answer(), Ok(()));
    }

    /// One call may satisfy several.
    fn several_at_once(world) {
        let [a, b, c, d] = agents(world);
        let id = set(&a, &[0]);
        world.wait_in(&b, id, &[op(0, -2)]);
        world.wait_in(&c, id, &[op(0, -2)]);
        world.wait_in(&d, id, &[op(0, -1)]);
        a.semop(id, &[op(0, 3)]).unwrap();
        assert_eq!((a.getval(id, 0), a.getncnt(id, 0), a.getpid(id, 0)), (Ok(0), Ok(1), Ok(d.pid)));
        assert_eq!((b.answer(), d.answer()), (Ok(()), Ok(())));
        a.semop(id, &[op(0, 2)]).unwrap();
        assert_eq!(c.answer(), Ok(()));
    }

    /// Calls that wait for zero come before calls that alter, however long those have waited.
    fn zero_before_change(world) {
        let [a, taker, zero, adder] = agents(world);
        let id = set(&a, &[1, 0]);
        world.wait_in(&adder, id, &[op(0, 0), op(0, 1)]);
        world.wait_in(&zero, id, &[op(0, 0)]);
        world.wait_in(&taker, id, &[op(0, -2)]);
        a.semop(id, &[op(0, -1)]).unwrap();
        assert_eq!((zero.answer(), adder.answer()), (Ok(()), Ok(())));
        assert_eq!(a.semaphores(id).map(|l| (l.values.clone(), l.ncnt.clone(), l.zcnt.clone())), Ok((vec![1, 0], vec![1, 0], vec![0, 0])));
        assert_eq!(a.getpid(id, 0), Ok(adder.pid), "a call that alters after one that waited for zero");
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(taker.answer(), Ok(()));
    }

    /// An operation performed for a waiting call may let the next one proceed, and so on.
    fn cascade(world) {
        let [a, b, c, d, zero] = agents(world);
        let id = set(&a, &[0, 0, 0, 1]);
        world.wait_in(&zero, id, &[op(3, 0)]);
        world.wait_in(&d, id, &[op(2, -1), op(3, -1)]);
        world.wait_in(&c, id, &[op(1, -1), op(2, 1)]);
        world.wait_in(&b, id, &[op(0, -1), op(1, 1)]);
        a.semop(id, &[op(0, 1)]).unwrap();
        let l = a.semaphores(id).unwrap();
        assert_eq!((l.values, l.pids, l.ncnt, l.zcnt), (vec![0; 4], vec![b.pid, c.pid, d.pid, zero.pid], vec![0; 4], vec![0; 4]));
        for agent in [b, c, d] {
            assert_eq!(agent.answer(), Ok(()));
        }
        assert_eq!(zero.answer(), Ok(()), "also one that has waited for zero");
    }

    /// After each call that proceeds, the queue is scanned from its head for the longest waiting
    /// call that can proceed now.
    fn cascade_from_the_head(world) {
        let [a, first, second, giver] = agents(world);
        let id = set(&a, &[0, 0]);
        world.wait_in(&first, id, &[op(1, -1), op(1, 0)]);
        world.wait_in(&giver, id, &[op(0, -1), op(1, 1)]);
        world.wait_in(&second, id, &[op(1, -1)]);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(first.answer(), Ok(()));
        assert_eq!((giver.answer(), a.getncnt(id, 1), a.getpid(id, 1)), (Ok(()), Ok(1), Ok(first.pid)));
        a.semop(id, &[op(1, 1)]).unwrap();
        assert_eq!(second.answer(), Ok(()));
    }

    /// A call waits at its first operation that cannot proceed, and is counted there. The place
    /// moves with the values.
    fn counted_at_the_first_obstacle(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0, 0, 1]);
        world.wait_in(&b, id, &[op(0, -1), op(1, -1), op(2, 0)]);
        let counts = |ncnt: [i32; 3], zcnt: [i32; 3]| assert_eq!(a.semaphores(id).map(|l| (l.ncnt, l.zcnt)), Ok((ncnt.to_vec(), zcnt.to_vec())));
        counts([1, 0, 0], [0, 0, 0]);
        a.semop(id, &[op(0, 1)]).unwrap();
        counts([0, 1, 0], [0, 0, 0]);
        a.semop(id, &[op(1, 1)]).unwrap();
        counts([0, 0, 0], [0, 0, 1]);
        assert_eq!(a.getall(id), Ok(vec![1, 1, 1]), "nothing is taken before all can be");
        a.semop(id, &[op(0, -1)]).unwrap();
        counts([1, 0, 0], [0, 0, 0]);
        a.setval(id, 2, 0).unwrap();
        a.setval(id, 0, 1).unwrap();
        counts([0, 0, 0], [0, 0, 0]);
        assert_eq!((b.answer(), a.getall(id)), (Ok(()), Ok(vec![0, 0, 0])));
    }

    /// A call that only waits for zeros is checked again only when a semaphore becomes 0. Until
    /// then it stays counted where it was.
    fn counts_of_those_that_only_wait_for_zero(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[1, 1, 5]);
        world.wait_in(&b, id, &[op(0, 0), op(1, 0)]);
        let zcnt = || a.semaphores(id).unwrap().zcnt;
        assert_eq!(zcnt(), [1, 0, 0]);
        a.semop(id, &[op(0, -1)]).unwrap();
        assert_eq!(zcnt(), [0, 1, 0]);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(zcnt(), [0, 1, 0], "though it is the first that could not proceed");
        a.semop(id, &[op(2, -1)]).unwrap();
        assert_eq!(zcnt(), [0, 1, 0]);
        a.semop(id, &[op(2, -4)]).unwrap();
        assert_eq!(zcnt(), [1, 0, 0], "any zero will do");
        a.setval(id, 0, 0).unwrap();
        assert_eq!(zcnt(), [0, 1, 0]);
        a.setval(id, 1, 0).unwrap();
        assert_eq!((zcnt(), b.answer()), (vec![0, 0, 0], Ok(())));
    }

    /// SETVAL and SETALL consider all semaphores: any that is 0 makes calls that wait for zeros
    /// check again.
    fn set_values_look_at_all(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[1, 1, 0]);
        world.wait_in(&b, id, &[op(0, 0), op(1, 0)]);
        let zcnt = || a.semaphores(id).unwrap().zcnt;
        a.setval(id, 0, 0).unwrap();
        assert_eq!(zcnt(), [0, 1, 0]);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(zcnt(), [0, 1, 0]);
        a.setval(id, 2, 0).unwrap();
        assert_eq!(zcnt(), [1, 0, 0]);
    }

    /// A waiting call fails if a later operation with IPC_NOWAIT now cannot proceed.
    fn nowait_after_waiting(world) {
        let [a, b, c] = agents(world);
        let id = set(&a, &[0, 0]);
        world.wait_in(&b, id, &[op(0, -1), op(1, -1).flags(NOWAIT)]);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!((b.answer(), a.semaphores(id).map(|l| (l.values.clone(), l.waiting()))), (Err(Errno::AGAIN), Ok((vec![1, 0], 0))));
        a.setall(id, &[1, 1]).unwrap();
        world.wait_in(&c, id, &[op(0, 0), op(1, 0).flags(NOWAIT)]);
        a.semop(id, &[op(0, -1)]).unwrap();
        assert_eq!((c.answer(), a.getpid(id, 0)), (Err(Errno::AGAIN), Ok(a.pid)));
    }

    /// A waiting call fails with ERANGE if its operations now overflow. It does not hold up the
    /// calls behind it.
    fn out_of_range_after_waiting(world) {
        let [a, b, c] = agents(world);
        let id = set(&a, &[0, 32767, 0]);
        world.wait_in(&b, id, &[op(0, -1), op(1, 1)]);
        world.wait_in(&c, id, &[op(0, -1)]);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!((b.answer(), c.answer()), (Err(Errno::RANGE), Ok(())));
        assert_eq!(a.semaphores(id).map(|l| (l.values, l.pids)), Ok((vec![0, 32767, 0], vec![c.pid, a.pid, a.pid])));
    }

    /// A call that fails after waiting does not set otime, nor does SETVAL. A call that SETVAL lets
    /// proceed sets it.
    fn otime_after_waiting(world) {
        let [a, b, c] = agents(world);
        let id = set(&a, &[0, 0]);
        world.wait_in(&b, id, &[op(0, -1), op(1, -1).flags(NOWAIT)]);
        a.setval(id, 0, 1).unwrap();
        assert_eq!((b.answer(), a.sem_stat(id).map(|s| s.otime)), (Err(Errno::AGAIN), Ok(0)));
        world.wait_in(&c, id, &[op(0, -2)]);
        assert_eq!(a.sem_stat(id).map(|s| s.otime), Ok(0), "waiting alone does not set it either");
        let start = Clock::tick();
        a.setval(id, 0, 2).unwrap();
        assert_eq!(c.answer(), Ok(()));
        let s = a.sem_stat(id).unwrap();
        assert!(start.saw(s.otime) && start.saw(s.ctime), "{s:?}");
    }

    /// "EINTR: While blocked in this system call, the thread caught a signal": even with
    /// SA_RESTART, see signal(7).
    fn interrupted(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0, 1]);
        for (nth, restart) in [(1, false), (2, true)] {
            b.handle(SIGUSR1, restart);
            world.wait_in(&b, id, &[op(0, -1).flags(UNDO)]);
            b.signal(SIGUSR1);
            assert_eq!((b.answer(), b.handled()), (Err(Errno::INTR), 2 * nth - 1));
            assert_eq!(a.semaphores(id).map(|l| l.waiting()), Ok(0));
            world.wait_in(&b, id, &[op(1, 0), op(0, 0)]);
            b.signal(SIGUSR1);
            assert_eq!(b.answer(), Err(Errno::INTR));
        }
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(a.getall(id), Ok(vec![1, 1]), "it waits no longer");
    }

    /// semtimedop is interrupted as well: "is never restarted after being interrupted by a signal
    /// handler".
    fn interrupted_with_a_timeout(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0]);
        b.handle(SIGUSR1, true);
        b.start_semop(id, &[op(0, -1)], Some(Duration::from_secs(3600)));
        while !(a.getncnt(id, 0) == Ok(1) && b.sleeps()) {}
        b.signal(SIGUSR1);
        assert_eq!((b.answer(), a.getncnt(id, 0)), (Err(Errno::INTR), Ok(0)));
    }

    /// An ignored signal does not interrupt.
    fn ignored_signals(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0]);
        b.ignore(SIGUSR1);
        world.wait_in(&b, id, &[op(0, -1)]);
        for signal in [SIGUSR1, libc::SIGCHLD, libc::SIGWINCH] {
            b.signal(signal);
        }
        assert_eq!(a.getncnt(id, 0), Ok(1));
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(b.answer(), Ok(()));
    }

    /// The signal handler runs when the call no longer waits: what it adds to the semaphore stays.
    fn a_handler_that_gives(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0]);
        b.handle(SIGUSR1, false);
        b.handle_with_semop(id, op(0, 1));
        world.wait_in(&b, id, &[op(0, -1)]);
        b.signal(SIGUSR1);
        assert_eq!((b.answer(), a.getval(id, 0), b.handled()), (Err(Errno::INTR), Ok(1), 1));
    }

    /// signal(7): "certain blocking interfaces can fail with the error EINTR after the process is
    /// stopped by one of the stop signals and then resumed via SIGCONT". semop and semtimedop do. A
    /// stopped process no longer waits.
    fn stopped_and_continued(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0]);
        world.wait_in(&b, id, &[op(0, -1)]);
        b.signal(SIGSTOP);
        while b.thread_state(b.pid) != 'T' {}
        if world.differs("docs/semantics.md: a stop signal while waiting (SIGSTOP)") {
            assert_eq!(a.getncnt(id, 0), Ok(1), "it still waits");
            a.semop(id, &[op(0, 1)]).unwrap();
            assert_eq!((a.getval(id, 0), a.getpid(id, 0), a.getncnt(id, 0)), (Ok(0), Ok(b.pid), Ok(0)), "and is served");
            b.signal(SIGCONT);
            assert_eq!(b.answer(), Ok(()));
            return;
        }
        assert_eq!(a.getncnt(id, 0), Ok(0));
        b.signal(SIGCONT);
        assert_eq!(b.answer(), Err(Errno::INTR));
    }

    /// "EIDRM: The semaphore set, referred to by semid, was removed": all waiting calls get it.
    fn removed(world) {
        let [a, b, c, d, e] = agents(world);
        let id = set(&a, &[0, 1]);
        world.wait_in(&b, id, &[op(0, -1)]);
        world.wait_in(&c, id, &[op(1, 0)]);
        world.wait_in(&d, id, &[op(1, -1), op(0, -1)]);
        world.wait_in(&e, id, &[op(1, 0), op(0, 0)]);
        a.sem_remove(id).unwrap();
        for waiting in [b, c, d, e] {
            assert_eq!(waiting.answer(), Err(Errno::IDRM));
            assert_eq!(waiting.semop(id, &[op(0, 1)]), Err(Errno::INVAL));
        }
    }

    /// A process that is killed while it waits takes nothing and is not counted.
    fn killed(world) {
        let [a, b, c] = agents(world);
        let id = set(&a, &[0]);
        world.wait_in(&b, id, &[op(0, -1)]);
        world.wait_in(&c, id, &[op(0, -1)]);
        assert_eq!(a.getncnt(id, 0), Ok(2));
        b.kill_from_outside(SIGKILL);
        assert_eq!(a.getncnt(id, 0), Ok(1));
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(c.answer(), Ok(()));
        assert_eq!((a.getval(id, 0), a.getpid(id, 0)), (Ok(0), Ok(c.pid)));
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(1));
    }

    /// A unit that is given right after an exit does not go to the process that exited.
    fn killed_just_before(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0, 1]);
        for ops in [&[op(0, -1)][..], &[op(1, 0)], &[op(0, -1), op(1, 1)]] {
            let victim = world.agent();
            world.wait_in(&victim, id, ops);
            victim.kill_from_outside(SIGKILL);
            a.semop(id, &[op(0, 1), op(1, -1)]).unwrap();
            assert_eq!(a.semaphores(id).map(|l| (l.values, l.pids)), Ok((vec![1, 0], vec![a.pid, a.pid])), "{ops:?}");
            assert_eq!(b.semop(id, &[op(0, -1).flags(NOWAIT), op(1, 1)]), Ok(()));
        }
    }

    /// A process that exits gives up its place in the queue.
    fn killed_in_the_middle(world) {
        let [a, b, c, d] = agents(world);
        let id = set(&a, &[0, 0]);
        world.wait_in(&b, id, &[op(0, -2)]);
        world.wait_in(&c, id, &[op(0, -1), op(1, 1)]);
        world.wait_in(&d, id, &[op(1, -1)]);
        c.kill_from_outside(libc::SIGTERM);
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(a.semaphores(id).map(|l| (l.values, l.ncnt)), Ok((vec![1, 0], vec![1, 1])));
        a.semop(id, &[op(0, 1), op(1, 1)]).unwrap();
        assert_eq!((b.answer(), d.answer()), (Ok(()), Ok(())));
    }

    /// Permission is checked when the call begins: a later IPC_SET does not affect a waiting call.
    fn permission_while_waiting(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = b.semget(IPC_PRIVATE, 1, 0o600).unwrap();
        world.wait_in(&b, id, &[op(0, -1)]);
        a.sem_set(id, STRANGER, STRANGER, 0).unwrap();
        assert_eq!(a.getncnt(id, 0), Ok(1));
        a.setval(id, 0, 1).unwrap();
        assert_eq!((b.answer(), a.getpid(id, 0)), (Ok(()), Ok(b.pid)));
    }

    /// A process with read permission only may wait for zero.
    fn zero_without_alter_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = a.semget(IPC_PRIVATE, 1, 0o644).unwrap();
        a.setval(id, 0, 1).unwrap();
        let before = a.sem_stat(id).unwrap();
        if world.differs("docs/semantics.md: waiting for zero with read but not alter permission") {
            b.start_semop(id, &[op(0, 0)], None);
            while !b.sleeps() {}
            assert_eq!(a.getzcnt(id, 0), Ok(0), "not counted");
            a.setval(id, 0, 0).unwrap();
            assert_eq!((b.answer(), a.getpid(id, 0)), (Ok(()), Ok(a.pid)), "nor recorded");
            assert_eq!(a.sem_stat(id).map(|s| s.otime), Ok(before.otime));
            return;
        }
        world.wait_in(&b, id, &[op(0, 0)]);
        a.setval(id, 0, 0).unwrap();
        assert_eq!((b.answer(), a.getpid(id, 0)), (Ok(()), Ok(b.pid)));
        assert_ne!(a.sem_stat(id).map(|s| s.otime), Ok(before.otime));
    }

    /// EIDRM and EINTR end such a wait as any other one.
    fn end_of_wait_without_alter_permission(world) {
        if !world.users() {
            return;
        }
        let (a, b) = (world.agent(), world.agent_as(NOBODY, NOBODY, &[]));
        let id = a.semget(IPC_PRIVATE, 1, 0o644).unwrap();
        a.setval(id, 0, 1).unwrap();
        b.handle(SIGUSR1, true);
        b.start_semop(id, &[op(0, 0)], None);
        while !b.sleeps() {}
        b.signal(SIGUSR1);
        assert_eq!(b.answer(), Err(Errno::INTR));
        assert_eq!(b.semtimedop(id, &[op(0, 0)], Duration::from_millis(30)), Err(Errno::AGAIN));
        b.start_semop(id, &[op(0, 0)], None);
        while !b.sleeps() {}
        a.sem_remove(id).unwrap();
        assert_eq!(b.answer(), Err(Errno::IDRM));
    }

    /// Each thread of a process waits on its own. GETPID reports the process.
    fn threads(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0, 1]);
        let first = world.wait_in_a_thread(&b, id, &[op(0, -1)]);
        let second = world.wait_in_a_thread(&b, id, &[op(0, -1)]);
        let zero = world.wait_in_a_thread(&b, id, &[op(1, 0)]);
        assert_eq!(a.semaphores(id).map(|l| (l.ncnt, l.zcnt)), Ok((vec![2, 0], vec![0, 1])));
        b.semop(id, &[op(1, -1)]).unwrap();
        assert_eq!(b.join(zero), Ok(()));
        a.semop(id, &[op(0, 2)]).unwrap();
        assert_eq!((b.join(second), b.join(first)), (Ok(()), Ok(())));
        assert_eq!(a.getpid(id, 0), Ok(b.pid));
    }

    /// When a process exits, its threads stop waiting.
    fn threads_end_with_their_process(world) {
        let [a, b, c, d] = agents(world);
        let id = set(&a, &[0]);
        for agent in [&b, &c, &d] {
            world.wait_in_a_thread(agent, id, &[op(0, -1)]);
            world.wait_in_a_thread(agent, id, &[op(0, -2)]);
        }
        assert_eq!(a.getncnt(id, 0), Ok(6));
        b.exit_immediately(0);
        assert_eq!(a.getncnt(id, 0), Ok(4));
        c.kill_from_outside(SIGKILL);
        assert_eq!(a.getncnt(id, 0), Ok(2));
        d.exec();
        assert_eq!(a.getncnt(id, 0), Ok(0));
        a.semop(id, &[op(0, 3)]).unwrap();
        assert_eq!(a.getval(id, 0), Ok(3));
    }

    /// A fork while another thread waits: the child does not wait.
    fn fork_beside_a_waiting_thread(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0]);
        let tid = world.wait_in_a_thread(&b, id, &[op(0, -1)]);
        let child = b.fork();
        assert_eq!(a.getncnt(id, 0), Ok(1));
        assert_eq!(child.semop(id, &[op(0, 1)]), Ok(()));
        assert_eq!((b.join(tid), a.getval(id, 0), a.getpid(id, 0)), (Ok(()), Ok(0), Ok(b.pid)));
        child.exit(0);
        assert_eq!(a.getval(id, 0), Ok(0));
    }

    /// Many processes wait, and each gets what it asked for.
    fn many(world) {
        let a = world.agent();
        let id = set(&a, &[0, 0]);
        let waiting: Vec<Agent> = (0..40).map(|_| world.agent()).collect();
        for (i, b) in waiting.iter().enumerate() {
            let ops = if i % 2 == 0 { vec![op(0, -1)] } else { vec![op(0, -1), op(1, -1)] };
            world.wait_in(b, id, &ops);
        }
        assert_eq!(a.getncnt(id, 0), Ok(40));
        a.semop(id, &[op(0, 40)]).unwrap();
        assert_eq!(a.semaphores(id).map(|l| (l.values, l.ncnt)), Ok((vec![20, 0], vec![0, 20])));
        a.semop(id, &[op(1, 20)]).unwrap();
        for b in &waiting {
            assert_eq!(b.answer(), Ok(()));
        }
        assert_eq!(a.getall(id), Ok(vec![0, 0]));
    }

    /// Two processes take turns, each waiting for the other one.
    fn turns(world) {
        let [a, b] = agents(world);
        let id = set(&a, &[0, 0]);
        for _ in 0..200 {
            b.start_semop(id, &[op(0, -1), op(1, 1)], None);
            assert_eq!(a.semop(id, &[op(0, 1)]), Ok(()));
            assert_eq!(a.semop(id, &[op(1, -1)]), Ok(()));
            assert_eq!(b.answer(), Ok(()));
        }
        assert_eq!(a.getall(id), Ok(vec![0, 0]));
    }

    /// A call waits with the maximal number of operations, and all are performed for it.
    fn the_longest_call(world) {
        let [a, b] = agents(world);
        let id = set(&a, &vec![1; 500]);
        let mut ops: Vec<SemOp> = (0..500).map(|num| op(num, -1).flags(UNDO)).collect();
        a.setval(id, 499, 0).unwrap();
        ops[499] = op(499, -2);
        world.wait_in(&b, id, &ops);
        assert_eq!(a.getncnt(id, 499), Ok(1));
        a.semop(id, &[op(499, 2)]).unwrap();
        assert_eq!((b.answer(), a.getall(id)), (Ok(()), Ok(vec![0; 500])));
        b.exit(0);
        let mut back = vec![1; 500];
        back[499] = 0;
        assert_eq!(world.values(id), back);
    }
}
