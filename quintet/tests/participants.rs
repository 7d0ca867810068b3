//! Attach counts and lists of participants are exact, no matter how processes start and end.
//!
//! # Safety
//!
//! Children of `fork`, `vfork` and `clone` have one thread and make only calls that such a child
//! may make. The raw calls get pointers to local variables.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::path::Path;
use std::process::Command;
use support::{Child, End, Signpost, alone, ends_within, fork, is_root, kill, reap, until};

const KEY: Key = Key::new(0xa77);

const CREATE: i32 = libc::IPC_CREAT | 0o600;

fn set_up(path: &Path) -> Namespace {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        Segment::open_or_create(&ns, KEY, 5000).unwrap();
    })
    .succeeds();
    Namespace::open(path).unwrap()
}

fn nattch(ns: &Namespace) -> u64 {
    let id = ns.shmget(KEY, 0, 0).unwrap();
    let stat = ns.shm_stat(id.raw()).unwrap();
    let all = ns.segments().unwrap();
    let listed = all.iter().find(|s| s.stat.id == id).unwrap();
    assert_eq!(listed.stat.nattch, stat.nattch);
    assert_eq!(listed.attached.iter().map(|a| u64::from(a.count)).sum::<u64>(), stat.nattch);
    stat.nattch
}

/// Asserts that no process is attached, and that no process but the caller participates.
fn assert_none_attached(ns: &Namespace) {
    assert_eq!(nattch(ns), 0);
    let others: Vec<i32> = ns.participants().unwrap().iter().map(|p| p.pid).filter(|pid| *pid != own_pid()).collect();
    assert_eq!(others, Vec::<i32>::new());
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// Starts a child that attaches the segment `times` times and then runs `then`.
fn attached(path: &Path, times: usize, then: impl FnOnce(&Namespace)) -> Child {
    let ready = Signpost::new();
    let child = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let segment = Segment::open(&ns, KEY).unwrap();
        let all: Vec<_> = (0..times).map(|_| segment.attach().unwrap()).collect();
        ready.post(1);
        then(&ns);
        std::mem::forget(all);
    });
    ready.wait();
    child
}

#[test]
fn attachments_end_however_a_process_ends() {
    alone("attachments_end_however_a_process_ends", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let go = Signpost::new();
        let ends: [(&str, &dyn Fn(), End); 8] = [
            ("_exit", &|| {}, End::Exit(0)),
            ("exit", &|| std::process::exit(3), End::Exit(3)),
            ("abort", &|| std::process::abort(), End::Signal(libc::SIGABRT)),
            // SAFETY: none: no page is mapped there, and the fault ends the process.
            ("segv", &|| unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) }, End::Signal(libc::SIGSEGV)),
            ("kill", &|| kill(own_pid(), libc::SIGKILL), End::Signal(libc::SIGKILL)),
            ("exec", &|| drop(std::os::unix::process::CommandExt::exec(&mut Command::new("true"))), End::Exit(0)),
            ("panic", &|| panic!("on purpose"), End::Exit(101)),
            (
                "thread",
                &|| {
                    std::thread::spawn(|| std::process::exit(4)).join().unwrap();
                },
                End::Exit(4),
            ),
        ];
        for (name, end, how) in ends {
            let child = attached(&path, 3, |_| {
                go.wait();
                end();
            });
            assert_eq!(nattch(&ns), 3, "{name}");
            assert_eq!(ns.participants().unwrap().iter().filter(|p| p.pid == child.pid).count(), 1);
            go.post(1);
            // The child is a zombie here, which has no attachments.
            assert!(ends_within(child.pid, support::BOUND));
            assert_eq!(nattch(&ns), 0, "{name}: a zombie");
            assert_none_attached(&ns);
            assert_eq!(child.end(), how, "{name}");
        }
    });
}

/// The list of attached processes has each process id with its count.
#[test]
fn attached_processes_are_listed_with_their_counts() {
    alone("attached_processes_are_listed_with_their_counts", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let go = Signpost::new();
        let children: Vec<Child> = (1..=5).map(|n| attached(&path, n, |_| go.wait())).collect();
        assert_eq!(nattch(&ns), 15);
        let list = ns.segments().unwrap().pop().unwrap().attached;
        let mut seen: Vec<(i32, u32)> = list.iter().map(|a| (a.pid, a.count)).collect();
        seen.sort_by_key(|(_, count)| *count);
        let wanted: Vec<(i32, u32)> = children.iter().zip(1..).map(|(child, n)| (child.pid, n)).collect();
        assert_eq!(seen, wanted);
        assert!(list.iter().all(|a| a.pid_visible));
        go.post(5);
        children.into_iter().for_each(Child::succeeds);
        assert_none_attached(&ns);
    });
}

#[test]
fn a_process_that_closes_all_descriptors_stays_attached() {
    alone("a_process_that_closes_all_descriptors_stays_attached", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let child = attached(&path, 2, |ns| {
            // SAFETY: this process uses no descriptor any more.
            assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
            let segment = Segment::open(ns, KEY).unwrap();
            let memory = segment.attach().unwrap();
            assert_eq!(segment.stat().unwrap().nattch, 3);
            memory.detach().unwrap();
            // SAFETY: the process stops itself.
            unsafe { libc::raise(libc::SIGSTOP) };
        });
        until("the child stops", || support::state(child.pid) == Some('T'));
        assert_eq!(nattch(&ns), 2);
        child.signal(libc::SIGCONT);
        child.succeeds();
        assert_none_attached(&ns);
    });
}

#[test]
fn nested_forks_inherit_attachments() {
    alone("nested_forks_inherit_attachments", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        // Four nested processes, each with two attachments. The innermost makes no call. The outer
        // ones exit first.
        let (there, go) = (Signpost::new(), [Signpost::new(), Signpost::new(), Signpost::new(), Signpost::new()]);
        let child = attached(&path, 2, |_| {
            let one = fork(|| {
                let two = fork(|| {
                    let three = fork(|| {
                        there.post(1);
                        go[3].wait();
                    });
                    std::mem::forget(three);
                    there.post(1);
                    go[2].wait();
                });
                std::mem::forget(two);
                there.post(1);
                go[1].wait();
            });
            std::mem::forget(one);
            there.post(1);
            go[0].wait();
        });
        (0..4).for_each(|_| there.wait());
        assert_eq!(nattch(&ns), 8);
        assert_eq!(ns.participants().unwrap().iter().filter(|p| p.pid != own_pid()).count(), 4);
        go[0].post(1);
        child.succeeds();
        assert_eq!(nattch(&ns), 6);
        for (i, left) in [(1, 4), (2, 2), (3, 0)] {
            go[i].post(1);
            until("the process has exited", || nattch(&ns) == left);
        }
        assert_none_attached(&ns);
    });
}

/// Children of fork that detach, call exec or outlive their parent.
#[test]
fn a_forked_child_detaches_only_itself() {
    alone("a_forked_child_detaches_only_itself", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let (there, go) = (Signpost::new(), Signpost::new());
        attached(&path, 2, |ns| {
            let memory = Segment::open(ns, KEY).unwrap().attach().unwrap();
            let id = memory.segment().id().raw();
            // Detaching in the child does not affect the parent.
            fork(|| {
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 6);
                // SAFETY: this process does not use the memory any more.
                unsafe { ns.shmdt(memory.as_ptr() as usize) }.unwrap();
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 5);
            })
            .succeeds();
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 3);
            // exec detaches the child, which continues to run.
            let sleeper = fork(|| {
                there.post(1);
                let _ = std::os::unix::process::CommandExt::exec(Command::new("sleep").arg("1000"));
            });
            there.wait();
            until("the child runs another program", || ns.shm_stat(id).unwrap().nattch == 3);
            assert!(!ends_within(sleeper.pid, std::time::Duration::ZERO));
            sleeper.kill();
            // An exec that fails detaches nothing.
            fork(|| {
                let _ = std::os::unix::process::CommandExt::exec(&mut Command::new("/no/such/program"));
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 6);
            })
            .succeeds();
            // vfork and exec: the new program has no attachments, and its memory is never counted
            // twice. SAFETY: the child calls only exec and _exit.
            unsafe {
                let program = c"/bin/true".as_ptr();
                let arguments = [program, std::ptr::null()];
                #[allow(deprecated)]
                let child = libc::vfork();
                if child == 0 {
                    libc::execv(program, arguments.as_ptr());
                    libc::_exit(127);
                }
                assert_eq!(libc::WEXITSTATUS(reap(child)), 0);
            }
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 3);
            assert!(Command::new("true").status().unwrap().success());
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 3);
            // A daemon: forks twice, and its parents exit.
            let daemon = fork(|| {
                // SAFETY: the calls take no pointers.
                unsafe { libc::setsid() };
                std::mem::forget(fork(|| {
                    there.send_number(own_pid().into());
                    go.wait();
                }));
            });
            daemon.succeeds();
            there.number();
        })
        .succeeds();
        assert_eq!(nattch(&ns), 3, "only the daemon is attached");
        go.post(1);
        until("the daemon has ended", || nattch(&ns) == 0);
        assert_none_attached(&ns);
    });
}

/// A child of a raw `clone` system call is counted from its first call on.
#[test]
fn a_child_of_raw_clone_is_counted_from_its_first_call() {
    alone("a_child_of_raw_clone_is_counted_from_its_first_call", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let (there, go) = (Signpost::new(), Signpost::new());
        attached(&path, 2, |ns| {
            let id = ns.shmget(KEY, 0, 0).unwrap().raw();
            // SAFETY: the process has one thread; the child calls _exit.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
            if pid == 0 {
                let counted = ns.shm_stat(id).unwrap().nattch;
                there.send_number(counted as i64);
                go.wait();
                // SAFETY: ends the process.
                unsafe { libc::_exit(if counted == 4 { 0 } else { 1 }) };
            }
            assert_eq!(there.number(), 4);
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 4);
            let pids: Vec<i32> = ns.participants().unwrap().iter().map(|p| p.pid).collect();
            assert!(pids.contains(&pid), "{pids:?}");
            go.post(1);
            let status = reap(pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 2);
        })
        .succeeds();
        assert_none_attached(&ns);
    });
}

/// The first call of such a child records the child's process id, whichever call it is.
#[test]
fn a_child_of_raw_clone_makes_its_first_call_under_its_own_pid() {
    alone("a_child_of_raw_clone_makes_its_first_call_under_its_own_pid", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let [set, queue] = [ns.semget(KEY, 2, CREATE), ns.msgget(KEY, CREATE)].map(|id| id.unwrap().raw());
        ns.msgsnd(queue, 1, b"first", MsgFlags::NOWAIT, None).unwrap();
        let calls: [fn(&Namespace, i32, i32); 4] = [
            |ns, set, _| ns.semtimedop(set, &[SemOp::new(0, 1)], None).unwrap(),
            |ns, set, _| ns.semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO), SemOp::new(1, 1)], None).unwrap(),
            |ns, _, queue| ns.msgsnd(queue, 2, b"second", MsgFlags::NOWAIT, None).unwrap(),
            |ns, _, queue| assert_eq!(ns.msgrcv(queue, &mut [0; 8], 0, MsgFlags::NOWAIT, None), Ok((1, 5))),
        ];
        let last = |ns: &Namespace| (ns.sem_pid(set, 0).unwrap(), ns.msg_stat(queue).unwrap());
        fork(|| {
            // The parent has used both objects and has an adjustment.
            ns.semtimedop(set, &[SemOp::new(1, 5).flags(SemFlags::UNDO)], None).unwrap();
            ns.msgsnd(queue, 9, b"", MsgFlags::NOWAIT, None).unwrap();
            let mut children = Vec::new();
            for call in calls {
                // SAFETY: the process has one thread; the child calls _exit.
                let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
                if pid == 0 {
                    call(&ns, set, queue);
                    support::exit(0);
                }
                assert_eq!(reap(pid), 0);
                children.push(pid);
                if children.len() == 2 {
                    assert_eq!(last(&ns).0, pid);
                }
            }
            let stat = last(&ns).1;
            assert_eq!((stat.lspid, stat.lrpid, stat.messages), (children[2], children[3], 2));
            // The child's adjustment is undone, and its parent's is not.
            assert_eq!(ns.sem_values(set).unwrap(), [1, 6]);
        })
        .succeeds();
        assert_eq!(ns.sem_values(set).unwrap(), [1, 1]);
    });
}

/// 200 children start and exit, five at a time. Their slots are reused.
#[test]
fn slots_of_exited_processes_are_reused() {
    alone("slots_of_exited_processes_are_reused", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        for round in 0..40 {
            let go = Signpost::new();
            let children: Vec<Child> = (0..5).map(|n| attached(&path, 1 + n % 2, |_| go.wait())).collect();
            assert_eq!(nattch(&ns), 7, "round {round}");
            go.post(5);
            for (i, child) in children.into_iter().enumerate() {
                if i % 2 == 0 {
                    child.kill();
                } else {
                    child.succeeds();
                }
            }
            assert_none_attached(&ns);
        }
    });
}

/// The same with forks of one attached parent.
#[test]
fn slots_of_exited_forks_are_reused() {
    alone("slots_of_exited_forks_are_reused", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        attached(&path, 1, |ns| {
            let id = ns.shmget(KEY, 0, 0).unwrap().raw();
            for round in 0..200 {
                let go = Signpost::new();
                let child = fork(|| go.wait());
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 2, "round {round}");
                if round % 2 == 0 {
                    child.kill();
                } else {
                    go.post(1);
                    child.succeeds();
                }
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 1, "round {round}");
            }
        })
        .succeeds();
        assert_none_attached(&ns);
        assert_eq!(ns.participants().unwrap().iter().filter(|p| p.pid != own_pid()).count(), 0);
    });
}

/// The process id of a process in another PID namespace has no meaning here. Its exit is noticed
/// all the same.
#[test]
fn the_exit_of_a_process_in_another_pid_namespace_is_noticed() {
    alone("the_exit_of_a_process_in_another_pid_namespace_is_noticed", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let flags = if is_root() { libc::CLONE_NEWPID } else { libc::CLONE_NEWPID | libc::CLONE_NEWUSER };
        let (there, go) = (Signpost::new(), Signpost::new());
        let outer = fork(|| {
            // SAFETY: the calls take no pointers.
            if unsafe { libc::unshare(flags) } != 0 {
                there.send_number(0);
                return;
            }
            let inner = fork(|| {
                assert_eq!(own_pid(), 1);
                let ns = Namespace::open(&path).unwrap();
                let memory = Segment::open(&ns, KEY).unwrap().attach().unwrap();
                let stat = memory.segment().stat().unwrap();
                assert_eq!((stat.nattch, stat.lpid), (1, 1));
                there.send_number(1);
                go.wait();
                // SAFETY: ends the process. Its own signals would not kill the init process of a
                // namespace.
                unsafe { libc::_exit(0) };
            });
            std::mem::forget(inner);
            go.wait();
        });
        if there.number() == 0 {
            println!("skipped: cannot create a PID namespace");
            outer.succeeds();
            return;
        }
        assert_eq!(nattch(&ns), 1);
        let list = ns.segments().unwrap().pop().unwrap().attached;
        assert_eq!((list[0].pid, list[0].pid_visible), (1, false));
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.pid)).unwrap();
        let inner: i32 = children.trim().parse().unwrap();
        kill(inner, libc::SIGKILL);
        until("the exit is noticed", || nattch(&ns) == 0);
        outer.kill();
        assert_none_attached(&ns);
    });
}

/// A removed segment is destroyed when the last process detaches it, even a child that makes no
/// call.
#[test]
fn a_removed_segment_lasts_until_a_silent_child_exits() {
    alone("a_removed_segment_lasts_until_a_silent_child_exits", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let go = Signpost::new();
        attached(&path, 1, |ns| {
            let memory = Segment::open(ns, KEY).unwrap().attach().unwrap();
            memory.write(0, b"mine").unwrap();
            memory.segment().remove().unwrap();
            let memory = std::mem::ManuallyDrop::new(memory);
            std::mem::forget(fork(|| {
                go.wait();
                assert_eq!(memory.to_vec(0..4).unwrap(), b"mine");
            }));
        })
        .succeeds();
        let all = ns.segments().unwrap();
        assert_eq!((all.len(), all[0].stat.nattch, all[0].stat.key), (1, 2, Key::PRIVATE));
        // No other segment gets its memory.
        let other = Segment::create_new(&ns, KEY, 5000).unwrap().attach().unwrap();
        other.fill(0, 5000, 7).unwrap();
        go.post(1);
        until("the segment is destroyed", || ns.segments().unwrap().len() == 1);
        assert_eq!(ns.shm_usage().unwrap().segments, 1);
        assert_eq!(other.to_vec(0..5000).unwrap(), [7; 5000]);
        drop(other);
        assert_none_attached(&ns);
    });
}
