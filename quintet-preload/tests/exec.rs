//! The adjustments of `SEM_UNDO` outlive every kind of exec.
//!
//! # Safety
//!
//! The children of `fork` have one thread. Strings passed to exec live until it, or the process,
//! ends. Every list ends with a null pointer.
#![allow(unsafe_code)]

mod support;

use libc::{c_char, c_int};
use std::ffi::CString;
use std::ptr::null;
use support::*;

const SET: &str = "QUINTET_TEST_SET";
const ADDED: &str = "QUINTET_TEST_ADDED";

unsafe extern "C" {
    static environ: *const *const c_char;
    fn execvpe(file: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn vfork() -> c_int;
}

/// The executed program: exits with the value of the semaphore.
#[test]
fn report_value() {
    if let Ok(id) = std::env::var(SET) {
        assert!(std::env::var_os("QUINTET_UNDO").is_none());
        let value = value(id.parse().unwrap());
        std::process::exit(value + if std::env::var_os(ADDED).is_some() { 100 } else { 0 });
    }
}

/// This program, with its arguments.
struct Program {
    path: CString,
    arguments: Vec<CString>,
}

impl Program {
    fn new(set: c_int) -> Program {
        // SAFETY: the test's process has no other busy thread.
        unsafe { std::env::set_var(SET, set.to_string()) };
        let path = std::env::current_exe().unwrap().into_os_string().into_encoded_bytes();
        let path = CString::new(path).unwrap();
        let arguments = [path.to_str().unwrap(), "report_value", "--exact", "--test-threads=1"];
        Program { arguments: arguments.into_iter().map(|word| CString::new(word).unwrap()).collect(), path }
    }

    fn path(&self) -> *const c_char {
        self.path.as_ptr()
    }

    fn list(&self) -> Vec<*const c_char> {
        self.arguments.iter().map(|word| word.as_ptr()).chain([null()]).collect()
    }
}

/// Returns the environment with one more variable.
fn added() -> Vec<*const c_char> {
    let variable = CString::new(format!("{ADDED}=1")).unwrap().into_raw().cast_const();
    // SAFETY: the list of this process, which does not change.
    let inherited = (0..).map(|index| unsafe { *environ.add(index) }).take_while(|entry| !entry.is_null());
    inherited.chain([variable, null()]).collect()
}

/// Checks that a program that takes one of five units and calls `exec` finds four, and that five
/// remain at its end.
fn outlives(exec: impl Fn(&Program) -> c_int) -> c_int {
    let id = set(1, 0o600);
    assert_eq!(control(id, 0, SETVAL, 5), 0);
    let program = Program::new(id);
    let child = fork(|| {
        assert_eq!(operate(id, op(0, -1, SEM_UNDO)), 0);
        exec(&program);
        panic!("{}", std::io::Error::last_os_error());
    });
    let status = end(child);
    assert_eq!(value(id), 5);
    status
}

/// The name of the function, the expected status, and the call.
type Way<'a> = (&'a str, c_int, &'a dyn Fn(&Program) -> c_int);

#[test]
fn undo_outlives_exec_with_lists() {
    preloaded("undo_outlives_exec_with_lists", || {
        let list = |program: &Program| program.list();
        let ways: [Way; 9] = [
            // SAFETY: see the module.
            ("execv", 4, &|p| unsafe { libc::execv(p.path(), list(p).as_ptr()) }),
            // SAFETY: see the module.
            ("execvp", 4, &|p| unsafe { libc::execvp(p.path(), list(p).as_ptr()) }),
            // SAFETY: see the module.
            ("execvpe", 104, &|p| unsafe { execvpe(p.path(), list(p).as_ptr(), added().as_ptr()) }),
            // SAFETY: see the module.
            ("execve", 104, &|p| unsafe { libc::execve(p.path(), list(p).as_ptr(), added().as_ptr()) }),
            ("fexecve", 104, &|p| {
                // SAFETY: see the module.
                unsafe { libc::fexecve(libc::open(p.path(), libc::O_RDONLY), list(p).as_ptr(), added().as_ptr()) }
            }),
            ("execveat", 104, &|p| {
                let (argv, envp) = (list(p), added());
                // SAFETY: see the module.
                unsafe { libc::execveat(libc::AT_FDCWD, p.path(), argv.as_ptr().cast(), envp.as_ptr().cast(), 0) }
            }),
            ("execve by number", 104, &|p| {
                let (argv, envp) = (list(p), added());
                // SAFETY: see the module.
                unsafe { libc::syscall(libc::SYS_execve, p.path(), argv.as_ptr(), envp.as_ptr()) as c_int }
            }),
            ("execveat by number", 104, &|p| {
                let (argv, envp) = (list(p), added());
                // SAFETY: see the module.
                unsafe { libc::syscall(libc::SYS_execveat, libc::AT_FDCWD, p.path(), argv.as_ptr(), envp.as_ptr(), 0) as c_int }
            }),
            ("after a failure", 4, &|p| {
                for path in [c"/nonexistent", c"/"] {
                    // SAFETY: see the module.
                    assert_eq!(unsafe { libc::execv(path.as_ptr(), list(p).as_ptr()) }, -1);
                    assert_eq!(errno(), if path == c"/" { libc::EACCES } else { libc::ENOENT });
                }
                // SAFETY: bad pointers on purpose, which the kernel refuses.
                let bad = unsafe { libc::execve(p.path(), list(p).as_ptr(), 16 as *const *const c_char) };
                assert_eq!((bad, errno()), (-1, libc::EFAULT));
                // SAFETY: see the module.
                unsafe { libc::execv(p.path(), list(p).as_ptr()) }
            }),
        ];
        for (name, status, exec) in ways {
            assert_eq!(outlives(exec), status, "{name}");
        }
    });
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn undo_outlives_exec_with_variadic_arguments() {
    preloaded("undo_outlives_exec_with_variadic_arguments", || {
        let end = null::<c_char>();
        assert_eq!(
            outlives(|p| {
                let a = p.list();
                // SAFETY: see the module.
                unsafe { libc::execl(p.path(), a[0], a[1], a[2], a[3], end) }
            }),
            4
        );
        assert_eq!(
            outlives(|p| {
                let a = p.list();
                // SAFETY: see the module.
                unsafe { libc::execlp(p.path(), a[0], a[1], a[2], a[3], end) }
            }),
            4
        );
        // The null pointer in a register and the environment on the stack; then both on the stack.
        assert_eq!(
            outlives(|p| {
                let (a, environment) = (p.list(), added());
                // SAFETY: see the module.
                unsafe { libc::execle(p.path(), a[0], a[1], a[2], a[3], end, environment.as_ptr()) }
            }),
            104
        );
        assert_eq!(
            outlives(|p| {
                let (a, environment) = (p.list(), added());
                let (not, there) = (c"--skip".as_ptr(), c"x".as_ptr());
                // SAFETY: see the module.
                unsafe { libc::execle(p.path(), a[0], a[1], a[2], a[3], not, there, not, there, end, environment.as_ptr()) }
            }),
            104
        );
    });
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn variadic_arguments_arrive_in_order() {
    preloaded("variadic_arguments_arrive_in_order", || {
        let script = c"test \"$*\" = \"$1 2 3 4 5 6 7 8 9\" && exit $#".as_ptr();
        let end_of_list = null::<c_char>();
        let (one, two, three, four, five) = (c"1".as_ptr(), c"2".as_ptr(), c"3".as_ptr(), c"4".as_ptr(), c"5".as_ptr());
        let (six, seven, eight, nine) = (c"6".as_ptr(), c"7".as_ptr(), c"8".as_ptr(), c"9".as_ptr());
        let (sh, c) = (c"sh".as_ptr(), c"-c".as_ptr());
        let child = fork(|| {
            // SAFETY: see the module.
            unsafe {
                libc::execlp(sh, sh, c, script, sh, one, two, three, four, five, six, seven, eight, nine, end_of_list);
            }
        });
        assert_eq!(end(child), 9);
        let child = fork(|| {
            // SAFETY: see the module.
            unsafe { libc::execl(c"/bin/sh".as_ptr(), end_of_list) };
            panic!("an empty list is refused, or begun with an empty word");
        });
        assert!([0, 101].contains(&end(child)));
    });
}

/// A vfork child shares its parent's memory, and the undo records stay with the parent.
#[test]
fn undo_stays_with_the_parent_of_a_vfork_child() {
    preloaded("undo_stays_with_the_parent_of_a_vfork_child", || {
        let id = set(1, 0o600);
        assert_eq!(control(id, 0, SETVAL, 5), 0);
        let holder = fork(|| {
            assert_eq!(operate(id, op(0, -1, SEM_UNDO)), 0);
            let program = Program::new(id);
            let list = program.list();
            // SAFETY: the child only calls exec, or ends.
            let child = unsafe {
                match vfork() {
                    0 => {
                        libc::execl(program.path(), list[0], list[1], list[2], list[3], null::<c_char>());
                        libc::_exit(99)
                    }
                    pid => pid,
                }
            };
            assert_eq!(end(child), 4);
            assert_eq!(value(id), 4);
        });
        assert_eq!(end(holder), 0);
        assert_eq!(value(id), 5);
    });
}
