//! A fork of an attached process. The parent or the child is killed, and the other one keeps the
//! effects of the fork.
//!
//! # Safety
//!
//! `fork` is called in processes with one thread.
#![allow(unsafe_code)]

use super::segments::{KEY, clear_all, consistent};
use crate::campaign::{Run, operations};
use crate::support::{
    Child, Scenario, Signpost, Tracee, begin, completed, exit, finish, fork, forked, reap, sleep_for_ever, state, until,
};
use quintet::{Namespace, Segment};
use std::cell::RefCell;
use std::path::Path;

operations! { "forks": the_parent the_child }

fn make(ns: &Namespace) {
    Segment::open_or_create(ns, KEY, 100).unwrap();
}

fn nattch(path: &Path) -> i64 {
    let answer = Signpost::new();
    fork(|| {
        let ns = Namespace::open(path).unwrap();
        let id = ns.shmget(KEY, 0, 0).unwrap();
        consistent(&ns);
        answer.send_number(ns.shm_stat(id.raw()).unwrap().nattch as i64);
    })
    .succeeds();
    answer.number()
}

/// Attaches twice and forks.
fn forking(path: &Path, in_child: impl FnOnce(&Segment)) {
    let ns = Namespace::open(path).unwrap();
    let segment = Segment::open(&ns, KEY).unwrap();
    let memory = segment.attach().unwrap();
    let _second = segment.attach().unwrap();
    begin();
    // SAFETY: a process of one thread.
    if unsafe { libc::fork() } == 0 {
        memory.write(0, b"child").unwrap();
        in_child(&segment);
        exit(0);
    }
    finish();
}

fn the_parent(run: &Run) {
    let (ask, answer) = (Signpost::new(), Signpost::new());
    Scenario {
        setup: &make,
        process: Some(&|path| {
            forking(path, |segment| {
                ask.wait();
                answer.send_number(segment.stat().unwrap().nattch as i64);
                sleep_for_ever();
            });
        }),
        check: &|path, _| {
            let pid = forked();
            assert!(pid != 0 || !completed());
            if pid != 0 {
                // It is traced, as its parent was.
                let child = Tracee::forked_child(pid).release(0);
                assert_eq!(nattch(path), 2);
                ask.post(1);
                assert_eq!(answer.number(), 2);
                assert_eq!(nattch(path), 2);
                child.kill();
            }
            assert_eq!(nattch(path), 0);
        },
        clear: &clear_all,
        ..Scenario::default()
    }
    .run(run);
}

/// From the child's first instruction to its first use of the inheritance.
fn the_child(run: &Run) {
    let parent = RefCell::new(None);
    let process = |path: &Path| {
        forking(path, |segment| {
            assert_eq!(segment.stat().unwrap().nattch, 4);
            finish();
        });
    };
    Scenario {
        setup: &make,
        process: Some(&process),
        forked_child: Some(&parent),
        check: &|path, _| {
            let parent: Child = parent.take().unwrap();
            // The fork has prepared the child's lock, and keeps it until it returns.
            until("the fork has returned", || state(parent.pid) == Some('T'));
            assert_eq!(nattch(path), 2);
            parent.kill();
            // It is now a child of this process.
            reap(forked());
            assert_eq!(nattch(path), 0);
        },
        clear: &clear_all,
        ..Scenario::default()
    }
    .run(run);
}
