//! Flags, paths and permissions of opens.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use crate::compare::{Found, compare};
use crate::files::*;
use crate::support::errno;
use libc::{O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY};
use libc::{c_char, c_int};

#[test]
fn open_flags() {
    compare("opening::open_flags", |found| {
        let ways = [
            O_RDONLY,
            O_WRONLY,
            O_RDWR,
            O_RDWR | O_CREAT | O_EXCL,
            O_RDWR | O_EXCL,
            O_RDONLY | O_DIRECT,
            O_DIRECTORY,
            O_RDONLY | libc::O_CLOEXEC,
            O_RDWR | libc::O_NOFOLLOW,
            O_RDONLY | libc::O_PATH,
            O_RDONLY | libc::O_NONBLOCK,
        ];
        for path in [SHMMNI, SEM, LIST] {
            for flags in ways {
                let before = 77;
                // SAFETY: the location is valid for the thread's life.
                unsafe { *libc::__errno_location() = before };
                let opened = open(path, flags);
                found.add(&format!("{path:?} {flags:o}"), (opened, errno()));
                let Ok(fd) = opened else { continue };
                // SAFETY: numbers.
                let (access, cloexec) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
                let access = access & (libc::O_ACCMODE | libc::O_PATH | libc::O_NONBLOCK);
                let reads = read(fd).map(|text| text.starts_with([' ', '3', '4']));
                found.add("descriptor", (access, cloexec, reads, write(fd, b"x")));
                close(fd);
            }
        }
        // SAFETY: bad pointers on purpose, which the kernel refuses.
        unsafe {
            let bad = 16 as *const c_char;
            found.add("bad", outcome(libc::open(bad, O_RDONLY) as isize));
            found.add("bad", outcome(libc::openat(libc::AT_FDCWD, bad, O_RDONLY) as isize));
            found.add("bad", outcome(libc::access(bad, 0) as isize));
            found.add("bad", (libc::fopen(bad, c"r".as_ptr()).is_null(), errno()));
        }
        let kept: Vec<_> = (0..3).map(|_| open(LIST, O_RDONLY)).collect();
        found.add("the lowest numbers", kept);
        let next = open(LIST, O_RDONLY).unwrap();
        close(next);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a local.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
            let few = libc::rlimit { rlim_cur: next as libc::rlim_t + 1, ..limit };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few), 0);
        }
        found.add("the last descriptor", open(SHMMNI, O_RDONLY).map(|fd| (fd, read(fd))));
        found.add("one more", open(SHMMNI, O_RDONLY));
        // SAFETY: a local.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    });
}

/// As above through `syscall(2)`, with each number that opens a file or checks access.
#[test]
fn calls_by_number() {
    use libc::{AT_FDCWD, syscall};
    // SAFETY: see the module; a bad pointer on purpose, which the kernel refuses.
    compare("opening::calls_by_number", |found| unsafe {
        let path = SHMMNI.as_ptr();
        let content = |fd: libc::c_long| {
            let fd = outcome(fd as isize)? as c_int;
            let content = read(fd);
            close(fd);
            content
        };
        let (how, create) = ([O_RDONLY as u64, 0, 0], [(O_RDONLY | O_CREAT | O_EXCL) as u64, 0o600, 0]);
        let openat2 = |how: *const u64| content(syscall(libc::SYS_openat2, AT_FDCWD, path, how, 24usize));
        found.add("open", content(syscall(libc::SYS_open, path, O_RDONLY)));
        found.add("open, exclusive", content(syscall(libc::SYS_open, path, O_RDONLY | O_CREAT | O_EXCL, 0o600)));
        found.add("openat", content(syscall(libc::SYS_openat, AT_FDCWD, path, O_RDONLY)));
        found.add("openat2", (openat2(how.as_ptr()), openat2(create.as_ptr()), openat2(std::ptr::null())));
        let fd = syscall(libc::SYS_creat, path, 0o600) as c_int;
        found.add("creat", (write(fd, b"76"), text(SHMMNI)));
        close(fd);
        for permissions in [0, libc::R_OK, libc::W_OK, libc::X_OK, 8] {
            let asked = [
                syscall(libc::SYS_access, path, permissions),
                syscall(libc::SYS_faccessat, AT_FDCWD, path, permissions),
                syscall(libc::SYS_faccessat2, AT_FDCWD, path, permissions, libc::AT_EACCESS),
            ];
            found.add(&format!("access {permissions}"), (asked, errno()));
        }
        let fd = open(SHMMNI, O_WRONLY).unwrap();
        let pieces = [b"7".as_slice(), b"7"];
        let pieces = pieces.map(|text| libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() });
        found.add("write", (syscall(libc::SYS_write, fd, c"75".as_ptr(), 2usize), text(SHMMNI)));
        found.add("writev", (syscall(libc::SYS_writev, fd, pieces.as_ptr(), 2usize), text(SHMMNI)));
        found.add("pwrite", (syscall(libc::SYS_pwrite64, fd, c"78".as_ptr(), 2usize, 0usize), text(SHMMNI)));
        close(fd);
    });
}

#[test]
fn paths() {
    compare("opening::paths", |found| {
        std::os::unix::fs::symlink("/proc/sys", "link").unwrap();
        std::fs::write("shmmni", "a file of its own\n").unwrap();
        std::fs::create_dir("sys").unwrap();
        let absolute = [
            c"//proc//sys/./kernel/shmmni",
            c"/proc/self/../sys/kernel/shmmni",
            c"/proc/sys/kernel/../../sysvipc/shm",
            c"/proc/sys/kernel/shmmni/",
            c"/proc/sysvipc",
            c"/proc/sysvipc/shmmni",
            c"/proc/sys/kernel/shm",
            c"/nonexistent/shm",
            c"link/kernel/shmmni",
            c"shmmni",
            c"./shmmni",
            c"sys/shmmni",
            c"",
        ];
        for path in absolute {
            found.add(&format!("{path:?}"), text(path));
        }
        // SAFETY: see the module.
        unsafe {
            let folder = open(c"/proc/sys", O_RDONLY | O_DIRECTORY).unwrap();
            found.add("a directory", outcome(libc::openat(folder, c"kernel/sem".as_ptr(), O_RDONLY) as isize));
            found.add("what is in it", read(folder + 1));
            found.add("creat", outcome(libc::creat(SHMMNI.as_ptr(), 0o600) as isize));
            found.add("access", outcome(libc::faccessat(folder, c"kernel/sem".as_ptr(), libc::R_OK, 0) as isize));
            found.add("no directory", outcome(libc::openat(77, c"sem".as_ptr(), O_RDONLY) as isize));
            assert_eq!(libc::chdir(c"/proc/sys/kernel".as_ptr()), 0);
        }
        for path in [c"shmmni", c"./sem", c"../../sysvipc/sem", c"shm", c"../kernel//msgmni"] {
            found.add(&format!("{path:?}"), text(path));
        }
    });
}

#[test]
fn permissions() {
    compare("opening::permissions", |found| {
        let ask = |found: &mut Found| {
            for path in [LIST, SEM, c"/proc/sys/kernel/shm_next_id"] {
                for mode in [libc::F_OK, libc::R_OK, libc::W_OK, libc::X_OK, libc::R_OK | libc::W_OK] {
                    // SAFETY: see the module.
                    let answers = unsafe {
                        let path = path.as_ptr();
                        let (a, b) = (libc::access(path, mode), libc::eaccess(path, mode));
                        [a, b, libc::euidaccess(path, mode), libc::faccessat(libc::AT_FDCWD, path, mode, libc::AT_EACCESS)]
                    };
                    found.add(&format!("{path:?} {mode}"), answers);
                }
                found.add("opened", [O_RDONLY, O_WRONLY, O_RDWR].map(|flags| open(path, flags).map(close)));
            }
        };
        ask(found);
        // SAFETY: numbers. A user namespace of this test has no other user.
        let another = unsafe { libc::getuid() == 0 && libc::setgroups(0, std::ptr::null()) == 0 };
        if another {
            let before = open(SHMMNI, O_WRONLY).unwrap();
            // SAFETY: numbers.
            assert_eq!(unsafe { (libc::setgid(65534), libc::setuid(65534)) }, (0, 0));
            ask(found);
            found.add("opened before", write(before, b"9"));
        }
    });
}
