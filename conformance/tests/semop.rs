//! semop(2), clause by clause: what proceeds at once, and what is refused. Waiting is in
//! `semop_wait.rs`, `SEM_UNDO` in `sem_undo.rs`.

use conformance::*;
use libc::{IPC_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE};
use std::time::Duration;

const PAGE: usize = 4096;
const SEMVMX: i32 = 32767;

fn set(a: &Agent, values: &[u16]) -> i32 {
    let id = a.semget(IPC_PRIVATE, values.len() as i32, 0o600).unwrap();
    a.setall(id, values).unwrap();
    id
}

clauses! {
    /// "If sem_op is a positive integer, the operation adds this value to the semaphore value".
    fn adds(world) {
        let a = world.agent();
        let id = set(&a, &[0, 5]);
        assert_eq!(a.semop(id, &[op(0, 3)]), Ok(()));
        assert_eq!(a.semop(id, &[op(1, 32762)]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![3, 32767]));
    }

    /// "If sem_op is less than zero ... If semval is greater than or equal to the absolute value of
    /// sem_op, the operation can proceed immediately".
    fn takes(world) {
        let a = world.agent();
        let id = set(&a, &[5, 32767]);
        assert_eq!(a.semop(id, &[op(0, -2), op(1, -32767)]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![3, 0]));
        assert_eq!(a.semop(id, &[op(0, -3)]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![0, 0]));
        assert_eq!(a.semop(id, &[op(0, i16::MIN).flags(NOWAIT)]), Err(Errno::AGAIN));
    }

    /// "If sem_op is zero ... If semval is zero, the operation can proceed immediately."
    fn waits_for_zero(world) {
        let a = world.agent();
        let id = set(&a, &[0, 1]);
        assert_eq!(a.semop(id, &[op(0, 0)]), Ok(()));
        assert_eq!(a.semop(id, &[op(1, 0).flags(NOWAIT)]), Err(Errno::AGAIN));
        assert_eq!(a.semop(id, &[op(1, -1), op(1, 0)]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![0, 0]));
    }

    /// "The set of operations contained in sops is performed in array order".
    fn in_order(world) {
        let a = world.agent();
        let id = set(&a, &[0]);
        assert_eq!(a.semop(id, &[op(0, 2), op(0, -2), op(0, 0), op(0, 7), op(0, -1)]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![6]));
        assert_eq!(a.semop(id, &[op(0, -7).flags(NOWAIT), op(0, 7)]), Err(Errno::AGAIN));
        assert_eq!(a.semop(id, &[op(0, 1), op(0, -7)]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![0]));
    }

    /// "... and atomically, that is, the operations are performed either as a complete unit, or not
    /// at all."
    fn all_or_nothing(world) {
        let a = world.agent();
        let id = set(&a, &[1, 1, 0]);
        let before = a.semaphores(id).unwrap();
        let b = world.agent();
        assert_eq!(b.semop(id, &[op(0, 5), op(1, -1), op(2, -1).flags(NOWAIT)]), Err(Errno::AGAIN));
        assert_eq!(b.semop(id, &[op(0, 5).flags(UNDO), op(0, -6).flags(UNDO), op(1, 0).flags(NOWAIT)]), Err(Errno::AGAIN));
        assert_eq!(b.semop(id, &[op(0, 5), op(1, 32767)]), Err(Errno::RANGE));
        assert_eq!(a.semaphores(id), Ok(before), "values and pids");
        b.exit(0);
        assert_eq!(world.values(id), vec![1, 1, 0]);
    }

    /// IPC_NOWAIT applies to the operation that cannot proceed.
    fn nowait_of_one_operation(world) {
        let a = world.agent();
        let id = set(&a, &[0, 0]);
        assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT), op(1, -1)]), Err(Errno::AGAIN));
        world.wait_in(&a, id, &[op(0, -1), op(1, -1).flags(NOWAIT)]);
        a.kill_from_outside(libc::SIGKILL);
    }

    /// "sempid ... PID of process that last modified": all semaphores in the call, including those
    /// that waited for zero.
    fn sempid(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = a.semget(IPC_PRIVATE, 4, 0o600).unwrap();
        a.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(a.semaphores(id).unwrap().pids, [a.pid, 0, 0, 0]);
        b.semop(id, &[op(1, 0), op(2, 1)]).unwrap();
        assert_eq!(a.semaphores(id).unwrap().pids, [a.pid, b.pid, b.pid, 0]);
        a.semop(id, &[op(2, -1), op(2, 1)]).unwrap();
        assert_eq!(a.semaphores(id).unwrap().pids, [a.pid, b.pid, a.pid, 0]);
        b.semop(id, &[op(3, 0)]).unwrap();
        assert_eq!(a.semaphores(id).unwrap().pids, [a.pid, b.pid, a.pid, b.pid]);
    }

    /// "The sem_otime ... member is set to the current time": by each call that succeeds, and by no
    /// call that fails.
    fn otime(world) {
        let a = world.agent();
        let id = set(&a, &[0, 0]);
        let before = a.sem_stat(id).unwrap();
        assert_eq!(before.otime, 0);
        for ops in [&[op(0, 1)][..], &[op(1, 0)], &[op(0, -1), op(1, 0)]] {
            let start = Clock::tick();
            a.semop(id, ops).unwrap();
            let after = a.sem_stat(id).unwrap();
            assert!(start.saw(after.otime), "{ops:?}");
            assert_eq!(after, Set { otime: after.otime, ..before });
        }
        let before = a.sem_stat(id).unwrap();
        Clock::tick();
        assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT)]), Err(Errno::AGAIN));
        assert_eq!(a.semop(id, &[op(0, SEMVMX as i16), op(0, 1)]), Err(Errno::RANGE));
        assert_eq!(a.sem_stat(id), Ok(before));
    }

    /// "EINVAL: The semaphore set doesn't exist, or semid is less than zero, or nsops has a
    /// nonpositive value."
    fn invalid(world) {
        let a = world.agent();
        let gone = set(&a, &[1]);
        a.sem_remove(gone).unwrap();
        let there = set(&a, &[1]);
        for id in [-1, i32::MIN, i32::MAX, gone, there ^ (1 << 15), there ^ (1 << 30), there ^ 1] {
            assert_eq!(a.semop(id, &[op(0, 1)]), Err(Errno::INVAL), "{id}");
            assert_eq!(a.semop(id, &[op(0, 1).flags(UNDO)]), Err(Errno::INVAL), "{id}");
            assert_eq!(a.semop(id, &[op(7, 1)]), Err(Errno::INVAL), "before the number of the semaphore");
        }
        assert_eq!(a.semop(there, &[]), Err(Errno::INVAL));
        assert_eq!(a.getall(there), Ok(vec![1]));
    }

    /// "E2BIG: The argument nsops is greater than SEMOPM, the maximum number of operations allowed
    /// per system call."
    fn too_many(world) {
        let a = world.agent();
        let id = set(&a, &[0]);
        assert_eq!(a.semop(id, &[op(0, 1); 500]), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![500]));
        assert_eq!(a.semop(id, &[op(0, 1); 501]), Err(Errno::TOOBIG));
        assert_eq!(a.semop(id ^ (1 << 15), &[op(0, 1); 501]), Err(Errno::TOOBIG), "before the identifier");
        assert_eq!(a.semop(-1, &[op(0, 1); 501]), Err(Errno::TOOBIG), "a negative one, too");
        assert_eq!(a.getall(id), Ok(vec![500]));
    }

    /// "This limit is a per-... setting": a lowered SEMOPM.
    fn lowered_semopm(world) {
        if !world.limit("semopm", 2) {
            return;
        }
        let a = world.agent();
        let id = set(&a, &[0]);
        assert_eq!(a.semop(id, &[op(0, 1); 2]), Ok(()));
        assert_eq!(a.semop(id, &[op(0, 1); 3]), Err(Errno::TOOBIG));
    }

    /// "EFBIG: For some operation the value of sem_num is less than 0 or greater than or equal to
    /// the number of semaphores in the set."
    fn no_such_semaphore(world) {
        let a = world.ordinary();
        let id = set(&a, &[0, 0]);
        for num in [2, 3, 64, 65535] {
            assert_eq!(a.semop(id, &[op(num, 1)]), Err(Errno::FBIG), "{num}");
            assert_eq!(a.semop(id, &[op(0, 1), op(num, 0)]), Err(Errno::FBIG), "{num}");
            assert_eq!(a.semop(id, &[op(0, -1).flags(NOWAIT), op(num, 1).flags(UNDO)]), Err(Errno::FBIG), "{num}");
        }
        assert_eq!(a.getall(id), Ok(vec![0, 0]));
        let untouchable = a.semget(IPC_PRIVATE, 1, 0).unwrap();
        assert_eq!(a.semop(untouchable, &[op(1, 1)]), Err(Errno::FBIG), "before the permissions");
    }

    /// "ERANGE: For some operation sem_op+semval is greater than SEMVMX".
    fn out_of_range(world) {
        let a = world.agent();
        let id = set(&a, &[32767, 32766]);
        assert_eq!(a.semop(id, &[op(0, 1)]), Err(Errno::RANGE));
        assert_eq!(a.semop(id, &[op(0, 1).flags(NOWAIT)]), Err(Errno::RANGE));
        assert_eq!(a.semop(id, &[op(1, 2)]), Err(Errno::RANGE));
        assert_eq!(a.semop(id, &[op(1, i16::MAX)]), Err(Errno::RANGE));
        assert_eq!(a.semop(id, &[op(1, 1)]), Ok(()));
        assert_eq!(a.semop(id, &[op(0, 1), op(0, -1)]), Err(Errno::RANGE), "also in passing");
        assert_eq!(a.semop(id, &[op(0, -1), op(0, 1)]), Ok(()));
        assert_eq!(a.semop(id, &[op(0, 1), op(1, 0)]), Err(Errno::RANGE), "whatever comes first");
        assert_eq!(a.semop(id, &[op(1, 0).flags(NOWAIT), op(0, 1)]), Err(Errno::AGAIN), "whatever comes first");
        assert_eq!(a.getall(id), Ok(vec![32767, 32767]));
    }

    /// "EACCES: The calling process does not have the permissions required": write to alter, read
    /// to wait for zero.
    fn permission(world) {
        let a = world.ordinary();
        let cases = [(0o600, true, true), (0o400, false, true), (0o200, true, false), (0o000, false, false), (0o066, false, false)];
        for (mode, alters, reads) in cases {
            let id = a.semget(IPC_PRIVATE, 2, mode).unwrap();
            let (altering, reading) = (
                if alters { Ok(()) } else { Err(Errno::ACCES) },
                if reads { Ok(()) } else { Err(Errno::ACCES) },
            );
            assert_eq!(a.semop(id, &[op(0, 0)]), reading, "{mode:o}");
            assert_eq!(a.semop(id, &[op(0, 0), op(1, 0)]), reading, "{mode:o}");
            assert_eq!(a.semop(id, &[op(0, 1)]), altering, "{mode:o}");
            assert_eq!(a.semop(id, &[op(1, 0), op(0, 1)]), altering, "{mode:o}: and for nothing else");
            assert_eq!(a.semop(id, &[op(0, -30000).flags(NOWAIT)]), altering.and(Err(Errno::AGAIN)), "{mode:o}");
        }
    }

    /// The same for sets of other users.
    fn permission_for_other_users(world) {
        if !world.users() {
            return;
        }
        let owner = world.agent_as(NOBODY, NOBODY, &[]);
        let member = world.agent_as(STRANGER, NOBODY, &[]);
        let other = world.agent_as(STRANGER, STRANGER, &[]);
        let (read, alter) = ([op(0, 0)], [op(1, 1)]);
        for (mode, group, others) in [(0o600, 0, 0), (0o640, 4, 0), (0o604, 0, 4), (0o620, 2, 0), (0o662, 6, 2), (0o606, 0, 6)] {
            let id = owner.semget(IPC_PRIVATE, 2, mode).unwrap();
            for (agent, bits) in [(&member, group), (&other, others)] {
                let granted = |bit| if bits & bit != 0 { Ok(()) } else { Err(Errno::ACCES) };
                assert_eq!(agent.semop(id, &read), granted(4), "{mode:o}");
                assert_eq!(agent.semop(id, &alter), granted(2), "{mode:o}");
            }
            assert_eq!(world.agent().semop(id, &alter), Ok(()), "the superuser may");
        }
    }

    /// semtimedop: "behaves identically to semop() except that in those cases where the calling
    /// thread would sleep, the duration of that sleep is limited".
    fn timeout(world) {
        let a = world.agent();
        let id = set(&a, &[0, 1]);
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(20)] {
            assert_eq!(a.semtimedop(id, &[op(0, -1)], timeout), Err(Errno::AGAIN));
            assert_eq!(a.semtimedop(id, &[op(1, 0)], timeout), Err(Errno::AGAIN));
            assert_eq!(a.semtimedop(id, &[op(1, 1), op(0, -1)], timeout), Err(Errno::AGAIN));
            assert_eq!(a.semtimedop(id, &[op(1, -1), op(1, 1)], timeout), Ok(()));
        }
        assert_eq!(a.semaphores(id).map(|l| (l.values.clone(), l.waiting())), Ok((vec![0, 1], 0)));
    }

    /// A timeout beyond the clock's range never expires.
    fn timeout_without_end(world) {
        let (a, b) = (world.agent(), world.agent());
        let id = set(&a, &[0]);
        a.start_semop(id, &[op(0, -1)], Some(Duration::from_secs(u64::from(u32::MAX))));
        while b.getncnt(id, 0) != Ok(1) {}
        b.semop(id, &[op(0, 1)]).unwrap();
        assert_eq!(a.answer(), Ok(()));
    }

    /// Numbers reach to the end of a large set.
    fn large_set(world) {
        let a = world.agent();
        let id = a.semget(IPC_PRIVATE, 32000, 0o600).unwrap();
        let ops: Vec<SemOp> = (0..500).map(|i| op(i * 64, 1)).collect();
        assert_eq!(a.semop(id, &ops), Ok(()));
        let values = a.getall(id).unwrap();
        assert!((0..32000).all(|i| values[i] == u16::from(i % 64 == 0)));
    }
}

clauses! { in C:
    /// "EFAULT: An address specified in either the sops or the timeout argument isn't accessible."
    fn bad_pointers(world) {
        let a = world.agent();
        let id = set(&a, &[1]);
        for bad in [Address::NULL, Address(1), PAD] {
            assert_eq!(a.semop_at(id, bad, 1), Err(Errno::FAULT));
            assert_eq!(a.semop_at(id, bad, 500), Err(Errno::FAULT));
            assert_eq!(a.semop_at(id, bad, 0), Err(Errno::INVAL), "the number comes first");
            assert_eq!(a.semop_at(id, bad, 501), Err(Errno::TOOBIG), "the number comes first");
            for id in [-1, id ^ (1 << 15)] {
                assert_eq!(a.semop_at(id, bad, 1), Err(Errno::FAULT), "the identifier comes last");
                assert_eq!(a.semop_at(id, bad, 501), Err(Errno::TOOBIG));
            }
        }
        assert_eq!(a.getall(id), Ok(vec![1]));
    }

    /// The kernel takes the number of operations as an `unsigned int`, whatever `size_t` is.
    fn numbers_of_operations(world) {
        let a = world.agent();
        let id = set(&a, &[0]);
        let at = a.reserve(PAGE, PROT_READ | PROT_WRITE);
        a.write_ops(at, &[op(0, 1)]);
        assert_eq!(a.semop_at(id, at, usize::MAX), Err(Errno::TOOBIG));
        assert_eq!(a.semop_at(id, at, 1 << 31), Err(Errno::TOOBIG));
        assert_eq!(a.semop_at(id, at, 1 << 32), Err(Errno::INVAL));
        assert_eq!(a.semop_at(id, at, 1 << 32 | 1), Ok(()));
        assert_eq!(a.getall(id), Ok(vec![1]));
    }

    /// An array may be at any address, aligned or not. It must be readable to its end.
    fn arrays_anywhere(world) {
        let a = world.agent();
        let id = set(&a, &[0, 0]);
        let at = a.reserve(2 * PAGE, PROT_READ | PROT_WRITE);
        let ops = [op(0, 1), op(1, 2)];
        for place in [at, at.plus(1), at.plus(3), at.plus(PAGE - 12), at.plus(PAGE - 7)] {
            a.write_ops(place, &ops);
            assert_eq!(a.semop_at(id, place, 2), Ok(()));
        }
        assert_eq!(a.getall(id), Ok(vec![5, 10]));
        a.write_ops(at.plus(PAGE - 12), &ops);
        a.mprotect(at.plus(PAGE), PAGE, PROT_NONE).unwrap();
        assert_eq!(a.semop_at(id, at.plus(PAGE - 6), 2), Err(Errno::FAULT));
        assert_eq!(a.semop_at(id, at.plus(PAGE - 12), 2), Ok(()));
        a.mprotect(at, PAGE, PROT_READ).unwrap();
        assert_eq!(a.semop_at(id, at.plus(PAGE - 6), 1), Ok(()), "it is only read");
    }

    /// An invalid timeout gives EINVAL, after the array is read and before the identifier is looked
    /// up.
    fn bad_timeouts(world) {
        let a = world.agent();
        let id = set(&a, &[1]);
        let at = a.reserve(PAGE, PROT_READ | PROT_WRITE);
        let time = at.plus(64);
        a.write_ops(at, &[op(0, -1), op(7, 0)]);
        for (seconds, nanoseconds) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, 0), (1, i64::MAX)] {
            a.write_timespec(time, seconds, nanoseconds);
            assert_eq!(a.semtimedop_at(id, at, 1, time), Err(Errno::INVAL), "{seconds} {nanoseconds}: also when it need not wait");
            assert_eq!(a.semtimedop_at(id, Address::NULL, 1, time), Err(Errno::FAULT));
            assert_eq!(a.semtimedop_at(id, at, 501, time), Err(Errno::TOOBIG));
            assert_eq!(a.semtimedop_at(id, at, 2, time), Err(Errno::INVAL), "and not EFBIG");
            assert_eq!(a.semtimedop_at(id ^ (1 << 15), at, 1, time), Err(Errno::INVAL));
        }
        for bad in [Address(1), PAD] {
            assert_eq!(a.semtimedop_at(id, at, 1, bad), Err(Errno::FAULT));
            assert_eq!(a.semtimedop_at(-1, at, 0, bad), Err(Errno::FAULT), "before everything else");
            assert_eq!(a.semtimedop_at(id, at, 501, bad), Err(Errno::FAULT), "before everything else");
        }
        assert_eq!(a.getall(id), Ok(vec![1]));
        a.write_timespec(time.plus(1), 0, 999_999_999);
        assert_eq!(a.semtimedop_at(id, at, 1, time.plus(1)), Ok(()), "an unaligned one will do");
        assert_eq!(a.semtimedop_at(id, at, 1, time.plus(1)), Err(Errno::AGAIN));
        a.write_timespec(time, i64::MAX, 0);
        assert_eq!(a.setval(id, 0, 1), Ok(()));
        assert_eq!(a.semtimedop_at(id, at, 1, time), Ok(()));
        assert_eq!(a.setval(id, 0, 1), Ok(()));
        assert_eq!(a.semtimedop_at(id, at, 1, Address::NULL), Ok(()), "a null pointer is no timeout");
    }

    /// Unknown flags are ignored.
    fn unknown_flags(world) {
        let a = world.agent();
        let id = set(&a, &[0]);
        for bit in (0..16).filter(|bit| ![11, 12].contains(bit)) {
            assert_eq!(a.semop(id, &[op(0, 1).flags(SemFlags::from_bits_retain((1u16 << bit) as i16))]), Ok(()));
        }
        assert_eq!(a.getall(id), Ok(vec![14]));
    }
}
