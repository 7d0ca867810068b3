//! Who is attached is counted exactly, whatever becomes of a process.
//!
//! # Safety
//!
//! Children of `fork`, `vfork` and `clone` call what a child of one thread may; the raw calls get pointers to locals.
#![allow(unsafe_code)]

use crash::support;

use quintet::{Key, Kind, MsgFlags, Namespace, Segment, SemFlags, SemOp};
use std::path::Path;
use std::process::Command;
use support::{Child, End, Signpost, alone, ends_within, fork, is_root, kill, reap, until};

const KEY: Key = Key::new(0xa77);

const MADE: i32 = libc::IPC_CREAT | 0o600;

fn set_up(path: &Path) -> Namespace {
    fork(|| {
        let ns = Namespace::create(path, Kind::Private).unwrap();
        Segment::create(&ns, KEY, 5000).unwrap();
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

/// Nobody is attached, nobody takes part but perhaps the caller.
fn nobody(ns: &Namespace) {
    assert_eq!(nattch(ns), 0);
    let others: Vec<i32> = ns.participants().unwrap().iter().map(|p| p.pid).filter(|pid| *pid != own_pid()).collect();
    assert_eq!(others, Vec::<i32>::new());
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// A child that attaches `times`, says so, does `then`.
fn attached(path: &Path, times: usize, then: impl FnOnce(&Namespace)) -> Child {
    let ready = Signpost::new();
    let child = fork(|| {
        let ns = Namespace::open(path).unwrap();
        let segment = Segment::open(&ns, KEY).unwrap();
        let all: Vec<_> = (0..times).map(|_| segment.attach().unwrap()).collect();
        ready.tell(1);
        then(&ns);
        std::mem::forget(all);
    });
    ready.wait();
    child
}

#[test]
fn ends_of_processes() {
    alone("ends_of_processes", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let go = Signpost::new();
        let ends: [(&str, &dyn Fn(), End); 8] = [
            ("_exit", &|| {}, End::Exit(0)),
            ("exit", &|| std::process::exit(3), End::Exit(3)),
            ("abort", &|| std::process::abort(), End::Signal(libc::SIGABRT)),
            // SAFETY: none: nothing is mapped there, and the fault ends the process.
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
            go.tell(1);
            // Before it is waited for: a zombie is attached to nothing.
            assert!(ends_within(child.pid, support::BOUND));
            assert_eq!(nattch(&ns), 0, "{name}: a zombie");
            nobody(&ns);
            assert_eq!(child.end(), how, "{name}");
        }
    });
}

/// The list says who it is, and how often.
#[test]
fn attachers_by_name() {
    alone("attachers_by_name", |directory| {
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
        go.tell(5);
        children.into_iter().for_each(Child::succeeds);
        nobody(&ns);
    });
}

#[test]
fn all_descriptors_closed() {
    alone("all_descriptors_closed", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let child = attached(&path, 2, |ns| {
            // SAFETY: nothing of this process's uses a descriptor any more.
            assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
            let segment = Segment::open(ns, KEY).unwrap();
            let memory = segment.attach().unwrap();
            assert_eq!(segment.stat().unwrap().nattch, 3);
            memory.detach().unwrap();
            // SAFETY: stops itself.
            unsafe { libc::raise(libc::SIGSTOP) };
        });
        until("it has stopped", || std::fs::read_to_string(format!("/proc/{}/stat", child.pid)).unwrap().contains(") T "));
        assert_eq!(nattch(&ns), 2);
        child.signal(libc::SIGCONT);
        child.succeeds();
        nobody(&ns);
    });
}

#[test]
fn forks() {
    alone("forks", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        // Three deep, each with two attachments; the innermost never calls. They end from the outside in.
        let (there, go) = (Signpost::new(), [Signpost::new(), Signpost::new(), Signpost::new(), Signpost::new()]);
        let child = attached(&path, 2, |_| {
            let one = fork(|| {
                let two = fork(|| {
                    let three = fork(|| {
                        there.tell(1);
                        go[3].wait();
                    });
                    std::mem::forget(three);
                    there.tell(1);
                    go[2].wait();
                });
                std::mem::forget(two);
                there.tell(1);
                go[1].wait();
            });
            std::mem::forget(one);
            there.tell(1);
            go[0].wait();
        });
        (0..4).for_each(|_| there.wait());
        assert_eq!(nattch(&ns), 8);
        assert_eq!(ns.participants().unwrap().iter().filter(|p| p.pid != own_pid()).count(), 4);
        go[0].tell(1);
        child.succeeds();
        assert_eq!(nattch(&ns), 6);
        for (i, left) in [(1, 4), (2, 2), (3, 0)] {
            go[i].tell(1);
            until("one less", || nattch(&ns) == left);
        }
        nobody(&ns);
    });
}

/// A child of fork that detaches, execs, or lives longer than its parent.
#[test]
fn children() {
    alone("children", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let (there, go) = (Signpost::new(), Signpost::new());
        attached(&path, 2, |ns| {
            let memory = Segment::open(ns, KEY).unwrap().attach().unwrap();
            let id = memory.segment().id().raw();
            // Detaching in the child is the child's.
            fork(|| {
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 6);
                // SAFETY: nobody uses it in this process.
                unsafe { ns.shmdt(memory.as_ptr() as usize) }.unwrap();
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 5);
            })
            .succeeds();
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 3);
            // An exec ends the child's, while it lives on.
            let sleeper = fork(|| {
                there.tell(1);
                let _ = std::os::unix::process::CommandExt::exec(Command::new("sleep").arg("1000"));
            });
            there.wait();
            until("it has become another program", || ns.shm_stat(id).unwrap().nattch == 3);
            assert!(!ends_within(sleeper.pid, std::time::Duration::ZERO));
            sleeper.kill();
            // An exec that fails ends nothing.
            fork(|| {
                let _ = std::os::unix::process::CommandExt::exec(&mut Command::new("/no/such/program"));
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 6);
            })
            .succeeds();
            // vfork, exec: the program started is none of ours, and what it runs in counts never twice.
            // SAFETY: the child calls exec and _exit only.
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
            // A daemon: forks twice, and its parents end.
            let daemon = fork(|| {
                // SAFETY: no pointers.
                unsafe { libc::setsid() };
                std::mem::forget(fork(|| {
                    there.tell_number(own_pid().into());
                    go.wait();
                }));
            });
            daemon.succeeds();
            there.number();
        })
        .succeeds();
        assert_eq!(nattch(&ns), 3, "the daemon alone");
        go.tell(1);
        until("the daemon has ended", || nattch(&ns) == 0);
        nobody(&ns);
    });
}

/// A child of the bare system call is counted from its first call on.
#[test]
fn a_bare_clone() {
    alone("a_bare_clone", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let (there, go) = (Signpost::new(), Signpost::new());
        attached(&path, 2, |ns| {
            let id = ns.shmget(KEY, 0, 0).unwrap().raw();
            // SAFETY: a process of one thread; the child ends by _exit.
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
            if pid == 0 {
                let counted = ns.shm_stat(id).unwrap().nattch;
                there.tell_number(counted as i64);
                go.wait();
                // SAFETY: ends the process.
                unsafe { libc::_exit(if counted == 4 { 0 } else { 1 }) };
            }
            assert_eq!(there.number(), 4);
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 4);
            let pids: Vec<i32> = ns.participants().unwrap().iter().map(|p| p.pid).collect();
            assert!(pids.contains(&pid), "{pids:?}");
            go.tell(1);
            let status = reap(pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            assert_eq!(ns.shm_stat(id).unwrap().nattch, 2);
        })
        .succeeds();
        nobody(&ns);
    });
}

/// Whatever it calls first, it calls in its own name.
#[test]
fn a_bare_clones_first_call() {
    alone("a_bare_clones_first_call", |directory| {
        let path = directory.join("ns");
        let ns = Namespace::create(&path, Kind::Private).unwrap();
        let [set, queue] = [ns.semget(KEY, 2, MADE), ns.msgget(KEY, MADE)].map(|id| id.unwrap().raw());
        ns.msgsnd(queue, 1, b"first", MsgFlags::NOWAIT, None).unwrap();
        let calls: [fn(&Namespace, i32, i32); 4] = [
            |ns, set, _| ns.semtimedop(set, &[SemOp::new(0, 1)], None).unwrap(),
            |ns, set, _| ns.semtimedop(set, &[SemOp::new(0, 1).flags(SemFlags::UNDO), SemOp::new(1, 1)], None).unwrap(),
            |ns, _, queue| ns.msgsnd(queue, 2, b"second", MsgFlags::NOWAIT, None).unwrap(),
            |ns, _, queue| assert_eq!(ns.msgrcv(queue, &mut [0; 8], 0, MsgFlags::NOWAIT, None), Ok((1, 5))),
        ];
        let last = |ns: &Namespace| (ns.sem_pid(set, 0).unwrap(), ns.msg_stat(queue).unwrap());
        fork(|| {
            // The parent has used both, also with something to take back.
            ns.semtimedop(set, &[SemOp::new(1, 5).flags(SemFlags::UNDO)], None).unwrap();
            ns.msgsnd(queue, 9, b"", MsgFlags::NOWAIT, None).unwrap();
            let mut children = Vec::new();
            for call in calls {
                // SAFETY: a process of one thread; the child ends by _exit.
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
            // What the child had to take back has been taken back, and its parent's has not.
            assert_eq!(ns.sem_values(set).unwrap(), [1, 6]);
        })
        .succeeds();
        assert_eq!(ns.sem_values(set).unwrap(), [1, 1]);
    });
}

/// 200 children come and go, a few at a time: slots are used again.
#[test]
fn many_children() {
    alone("many_children", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        for round in 0..40 {
            let go = Signpost::new();
            let children: Vec<Child> = (0..5).map(|n| attached(&path, 1 + n % 2, |_| go.wait())).collect();
            assert_eq!(nattch(&ns), 7, "round {round}");
            go.tell(5);
            for (i, child) in children.into_iter().enumerate() {
                if i % 2 == 0 {
                    child.kill();
                } else {
                    child.succeeds();
                }
            }
            nobody(&ns);
        }
    });
}

/// The same of one parent that is attached itself.
#[test]
fn many_forks() {
    alone("many_forks", |directory| {
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
                    go.tell(1);
                    child.succeeds();
                }
                assert_eq!(ns.shm_stat(id).unwrap().nattch, 1, "round {round}");
            }
        })
        .succeeds();
        nobody(&ns);
        assert_eq!(ns.participants().unwrap().iter().filter(|p| p.pid != own_pid()).count(), 0);
    });
}

/// In another PID namespace its pid means nothing here, and its death is seen all the same.
#[test]
fn another_pid_namespace() {
    alone("another_pid_namespace", |directory| {
        let path = directory.join("ns");
        let ns = set_up(&path);
        let flags = if is_root() { libc::CLONE_NEWPID } else { libc::CLONE_NEWPID | libc::CLONE_NEWUSER };
        let (there, go) = (Signpost::new(), Signpost::new());
        let outer = fork(|| {
            // SAFETY: no pointers.
            if unsafe { libc::unshare(flags) } != 0 {
                there.tell_number(0);
                return;
            }
            let inner = fork(|| {
                assert_eq!(own_pid(), 1);
                let ns = Namespace::open(&path).unwrap();
                let memory = Segment::open(&ns, KEY).unwrap().attach().unwrap();
                let stat = memory.segment().stat().unwrap();
                assert_eq!((stat.nattch, stat.lpid), (1, 1));
                there.tell_number(1);
                go.wait();
                // SAFETY: ends the process; the first of a namespace is not killed by its own signals.
                unsafe { libc::_exit(0) };
            });
            std::mem::forget(inner);
            go.wait();
        });
        if there.number() == 0 {
            println!("skipped: this user may not make a PID namespace");
            outer.succeeds();
            return;
        }
        assert_eq!(nattch(&ns), 1);
        let list = ns.segments().unwrap().pop().unwrap().attached;
        assert_eq!((list[0].pid, list[0].pid_visible), (1, false));
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.pid)).unwrap();
        let inner: i32 = children.trim().parse().unwrap();
        kill(inner, libc::SIGKILL);
        until("its death is seen", || nattch(&ns) == 0);
        outer.kill();
        nobody(&ns);
    });
}

/// A removed segment goes with the last one attached, also when that is a child that never calls.
#[test]
fn the_last_one_is_a_child() {
    alone("the_last_one_is_a_child", |directory| {
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
        // Its memory is nobody else's.
        let other = Segment::create_new(&ns, KEY, 5000).unwrap().attach().unwrap();
        other.fill(0, 5000, 7).unwrap();
        go.tell(1);
        until("it has gone", || ns.segments().unwrap().len() == 1);
        assert_eq!(ns.shm_usage().unwrap().segments, 1);
        assert_eq!(other.to_vec(0..5000).unwrap(), [7; 5000]);
        drop(other);
        nobody(&ns);
    });
}
