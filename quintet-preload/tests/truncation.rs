//! `QUINTET_TRUNCATION=survive`: a truncated file does not end a program, and the program's own
//! `SIGBUS` handler continues to work.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals and to memory that was attached or mapped here. After
//! `fork` the child has only the thread of the test.
#![allow(unsafe_code)]

mod support;

use libc::{IPC_CREAT, IPC_NOWAIT, c_int, c_void};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use support::*;

fn survive(command: &mut Command, namespace: &Path) {
    command.env("QUINTET_TRUNCATION", "survive").env("QUINTET_LOG_FILE", log_of(namespace));
}

fn log_of(namespace: &Path) -> PathBuf {
    namespace.with_extension("log")
}

fn namespace() -> PathBuf {
    std::env::var_os("QUINTET_NAMESPACE").unwrap().into()
}

static LOST: AtomicUsize = AtomicUsize::new(0);
static CAUGHT: AtomicU32 = AtomicU32::new(0);

extern "C" fn mend(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes the pointer; the page is this test's.
    unsafe {
        assert_eq!((*info).si_addr() as usize, LOST.load(SeqCst));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        libc::mmap(LOST.load(SeqCst) as *mut _, 4096, libc::PROT_READ, flags, -1, 0);
    }
    CAUGHT.fetch_add(1, SeqCst);
}

fn actions() -> [libc::sigaction; 2] {
    // SAFETY: zeroes are an empty sigaction.
    unsafe { std::mem::zeroed() }
}

fn lose_an_unrelated_page() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    // SAFETY: the mapping overlaps nothing. The loss of its page is the subject of the test.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED);
        LOST.store(at as usize, SeqCst);
        file.set_len(0).unwrap();
        at.cast::<u8>().read_volatile();
    }
}

#[test]
fn every_file_is_truncated() {
    preloaded_by("every_file_is_truncated", survive, || {
        // SAFETY: see the module.
        unsafe {
            let segment = libc::shmget(1, 8192, IPC_CREAT | 0o600);
            let memory = libc::shmat(segment, std::ptr::null(), 0).cast::<u8>();
            assert_ne!(memory as isize, -1);
            memory.add(5000).write_volatile(7);
            let (set, queue) = (set(2, 0o600), queue(0o600));
            assert_eq!(operate(set, op(0, 1, IPC_NOWAIT as _)), 0);
            let message = [1u64, 2];
            assert_eq!(send(queue, message.as_ptr() as usize, 8), 0);
            for folder in ["shm", "sem", "msg"] {
                for file in std::fs::read_dir(namespace().join(folder)).unwrap() {
                    std::fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_len(0).unwrap();
                }
            }
            assert_eq!(memory.add(5000).read_volatile(), 0);
            memory.add(5000).write_volatile(8);
            assert_eq!(memory.add(5000).read_volatile(), 8);
            assert_ne!(operate(set, op(0, 1, IPC_NOWAIT as _)), 0);
            assert_ne!(send(queue, message.as_ptr() as usize, 8), 0);
            assert_eq!(libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()), -1);
        }
        let text = std::fs::read_to_string(log_of(&namespace())).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("was truncated while in use")).count(), 1, "{text}");
    });
}

#[test]
fn programs_own_handler_still_works() {
    preloaded_by("programs_own_handler_still_works", survive, || {
        let [mut new, mut old] = actions();
        new.sa_sigaction = mend as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO;
        // SAFETY: see the module.
        unsafe {
            assert_ne!(libc::shmget(1, 8192, IPC_CREAT | 0o600), -1);
            assert_eq!(libc::sigaction(libc::SIGBUS, &raw const new, &raw mut old), 0);
            assert_eq!(libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut old), 0);
            assert_eq!((old.sa_sigaction, old.sa_flags & libc::SA_SIGINFO), (new.sa_sigaction, libc::SA_SIGINFO));
            lose_an_unrelated_page();
            assert_eq!(CAUGHT.load(SeqCst), 1);
            assert_eq!(libc::signal(libc::SIGBUS, libc::SIG_IGN), new.sa_sigaction);
            assert_eq!(libc::raise(libc::SIGBUS), 0);
            assert_eq!(libc::signal(libc::SIGBUS, libc::SIG_DFL), libc::SIG_IGN);
        }
        let child = fork(lose_an_unrelated_page);
        assert_eq!(end(child), -libc::SIGBUS);
    });
}

/// Without the variable no handler is installed.
#[test]
fn guard_is_off_by_default() {
    preloaded("guard_is_off_by_default", || {
        let child = fork(|| {
            // SAFETY: see the module.
            unsafe {
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
                let segment = libc::shmget(1, 8192, IPC_CREAT | 0o600);
                let memory = libc::shmat(segment, std::ptr::null(), 0).cast::<u8>();
                std::fs::File::options().write(true).open(namespace().join("shm/0.data")).unwrap().set_len(0).unwrap();
                memory.read_volatile();
            }
        });
        assert_eq!(end(child), -libc::SIGBUS);
    });
}
