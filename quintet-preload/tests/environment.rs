//! Programs that a program starts keep the library, whatever becomes of the environment.
//!
//! # Safety
//!
//! The children of `fork` have one thread. Strings and lists passed to exec live until it, or the
//! process, ends. Every list ends with a null pointer.
#![allow(unsafe_code)]

mod support;

use libc::{c_char, c_int, c_void};
use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::ptr::null;
use support::*;

unsafe extern "C" {
    static environ: *const *const c_char;
    fn vfork() -> c_int;
    fn clearenv() -> c_int;
}

/// With this argument, the program was started by a test.
const REPORT: &str = "--what-is-there";

/// The started program: prints whether it has the library, and its environment.
#[test]
fn report_environment() {
    if std::env::var_os("QUINTET_TEST_ASKS").is_none() && std::env::args().all(|argument| argument != REPORT) {
        return;
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let loaded = maps.contains("libquintet_preload.so");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "-".to_owned());
    println!("<{loaded}|{}|{}|{}>", variable("LD_PRELOAD"), variable("QUINTET_NAMESPACE"), variable("QUINTET_LOG"));
}

/// Returns this program with the arguments that make it print.
fn program() -> (PathBuf, Vec<CString>) {
    let path = std::env::current_exe().unwrap();
    let words = ["what", "report_environment", "--exact", "--nocapture", "--test-threads=1", "--skip", REPORT];
    (path, words.into_iter().map(|word| CString::new(word).unwrap()).collect())
}

fn list(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

fn strings(entries: &[&str]) -> Vec<CString> {
    entries.iter().map(|entry| CString::new(*entry).unwrap()).collect()
}

/// Returns what the program prints that a child starts with `start`.
fn found_by(start: impl FnOnce(&CString, &[*const c_char])) -> String {
    let (path, words) = program();
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let argv = list(&words);
    let (mut out, mut fds) = (String::new(), [0; 2]);
    // SAFETY: a local.
    assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
    let child = fork(|| {
        // SAFETY: descriptors of this process.
        unsafe { libc::dup2(fds[1], 1) };
        start(&path, &argv);
        panic!("{}", std::io::Error::last_os_error());
    });
    // SAFETY: nothing else owns them.
    let (mut from, to) = unsafe {
        use std::os::fd::{FromRawFd, OwnedFd};
        (std::fs::File::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    };
    drop(to);
    std::io::Read::read_to_string(&mut from, &mut out).unwrap();
    assert_eq!(end(child), 0, "{out}");
    let found = out.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    found.unwrap_or_else(|| panic!("{out}")).0.to_owned()
}

fn given(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// What the program prints if everything is inherited.
fn complete() -> String {
    format!("true|{}|{}|-", given("LD_PRELOAD"), given("QUINTET_NAMESPACE"))
}

/// Returns what the program prints if it is executed with this environment.
fn found_with(environment: &[&str]) -> String {
    let environment = strings(environment);
    // SAFETY: see the module.
    found_by(|path, argv| unsafe { _ = libc::execve(path.as_ptr(), argv.as_ptr(), list(&environment).as_ptr()) })
}

#[test]
fn exec_with_a_new_environment() {
    preloaded("exec_with_a_new_environment", || {
        let (library, namespace) = (given("LD_PRELOAD"), given("QUINTET_NAMESPACE"));
        assert_eq!(found_with(&[]), complete());
        assert_eq!(found_with(&["QUINTET_NAMESPACE=/elsewhere"]), format!("true|{library}|/elsewhere|-"));
        assert_eq!(found_with(&["LD_PRELOAD=", "QUINTET_LOG=off"]), format!("true|{library}|{namespace}|off"));
        // The program's own library comes after. An existing entry keeps its place.
        let other = "/lib/x86_64-linux-gnu/libm.so.6";
        if std::path::Path::new(other).exists() {
            assert_eq!(found_with(&[&format!("LD_PRELOAD={other}")]), format!("true|{library}:{other}|{namespace}|-"));
            assert_eq!(found_with(&[&format!("LD_PRELOAD={other} {library}")]), format!("true|{other} {library}|{namespace}|-"));
        }
        // The library of another version, which `quintet run` has installed.
        assert_eq!(found_with(&["LD_PRELOAD=/x/libquintet-1.so"]), format!("false|/x/libquintet-1.so|{namespace}|-"));
        // More entries than fit on the stack, and a long list of libraries.
        let many: Vec<String> = (0..2100).map(|n| format!("V{n}=x")).collect();
        assert_eq!(found_with(&many.iter().map(String::as_str).collect::<Vec<_>>()), complete());
        let long =
            format!("LD_PRELOAD={}", format!("{library}:").repeat(2000 / library.len()).replace("libquintet", "./libquintet"));
        assert!(found_with(&[&long, "QUINTET_LOG=off"]).starts_with(&format!("true|{library}:")));
        // SAFETY: see the module.
        assert_eq!(found_by(|path, argv| unsafe { _ = libc::execve(path.as_ptr(), argv.as_ptr(), null()) }), complete());
    });
}

/// A thread with the smallest possible stack starts programs in each way.
#[test]
fn exec_on_the_smallest_stack() {
    extern "C" fn thread(start: *mut c_void) -> *mut c_void {
        // SAFETY: the pointer that is passed below, by a function that waits for this thread.
        unsafe { (*start.cast::<&dyn Fn()>())() };
        std::ptr::null_mut()
    }

    fn on_small_stack(start: &dyn Fn()) {
        let (mut attributes, mut id) = (MaybeUninit::<libc::pthread_attr_t>::uninit(), MaybeUninit::uninit());
        // SAFETY: locals, which outlive the thread.
        unsafe {
            assert_eq!(libc::pthread_attr_init(attributes.as_mut_ptr()), 0);
            assert_eq!(libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), libc::PTHREAD_STACK_MIN), 0);
            let start = (&raw const start).cast_mut().cast();
            assert_eq!(libc::pthread_create(id.as_mut_ptr(), attributes.as_ptr(), thread, start), 0);
            assert_eq!(libc::pthread_join(id.assume_init(), std::ptr::null_mut()), 0);
        }
    }

    preloaded("exec_on_the_smallest_stack", || {
        let nothing = [null()];
        // SAFETY: see the module.
        unsafe {
            let found_by_thread =
                |call: &dyn Fn(&CString, &[*const c_char])| found_by(|path, argv| on_small_stack(&|| call(path, argv)));
            assert_eq!(
                found_by_thread(&|path, argv| _ = libc::execve(path.as_ptr(), argv.as_ptr(), nothing.as_ptr())),
                complete()
            );
            assert_eq!(found_by_thread(&|path, argv| _ = libc::execv(path.as_ptr(), argv.as_ptr())), complete());
            let one_by_one = |path: &CString, argv: &[*const c_char]| {
                let [a, b, c, d, e, f, g, end] = argv else { panic!("{} arguments", argv.len()) };
                libc::execle(path.as_ptr(), *a, *b, *c, *d, *e, *f, *g, *end, nothing.as_ptr());
            };
            assert_eq!(found_by_thread(&one_by_one), complete());
            let spawned = |path: &CString, argv: &[*const c_char]| {
                let (mut child, (actions, attributes)) = (0, (null(), null()));
                let (argv, environment) = (argv.as_ptr().cast(), nothing.as_ptr().cast());
                assert_eq!(libc::posix_spawn(&raw mut child, path.as_ptr(), actions, attributes, argv, environment), 0);
                libc::_exit(end(child));
            };
            assert_eq!(found_by_thread(&spawned), complete());
        }
    });
}

#[test]
fn inheritance_can_be_disabled() {
    preloaded("inheritance_can_be_disabled", || {
        assert_eq!(found_with(&["QUINTET_INHERIT=0"]), "false|-|-|-");
        assert_eq!(found_with(&["QUINTET_INHERIT=1"]), complete());
        // The program's own variable counts if the new environment does not have it.
        let (path, words) = program();
        let words = words.iter().skip(1).map(|word| OsStr::from_bytes(word.as_bytes()));
        let found = |inherit: &str, rest: &[&str]| {
            let mut env = Command::new("env");
            env.env("QUINTET_INHERIT", inherit).arg("-i").args(rest).arg(&path).args(words.clone());
            String::from_utf8(env.output().unwrap().stdout).unwrap()
        };
        assert!(found("0", &[]).contains("<false|-|-|->"), "{}", found("0", &[]));
        assert!(found("1", &[]).contains(&format!("<{}>", complete())));
        assert!(found("0", &["QUINTET_INHERIT=1"]).contains("<true|"));
    });
}

#[test]
fn vfork_child_inherits() {
    preloaded("vfork_child_inherits", || {
        let found = found_by(|path, argv| {
            let environment = [null::<c_char>()];
            // SAFETY: the child only calls exec, or ends. The location of errno is valid, and
            // shared with the child.
            let status = unsafe {
                *libc::__errno_location() = 4242;
                match vfork() {
                    0 => {
                        libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr());
                        libc::_exit(99)
                    }
                    child => {
                        assert_eq!(errno(), 4242);
                        end(child)
                    }
                }
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(status) };
        });
        assert_eq!(found, complete());
    });
}

#[test]
fn spawn_system_and_popen_inherit() {
    preloaded("spawn_system_and_popen_inherit", || {
        for search in [false, true] {
            let found = found_by(|path, argv| {
                let (mut child, environment) = (0, [std::ptr::null_mut::<c_char>()]);
                let spawn = if search { libc::posix_spawnp } else { libc::posix_spawn };
                // SAFETY: see the module.
                let error =
                    unsafe { spawn(&raw mut child, path.as_ptr(), null(), null(), argv.as_ptr().cast(), environment.as_ptr()) };
                assert_eq!(error, 0);
                // SAFETY: ends the process.
                unsafe { libc::_exit(end(child)) };
            });
            assert_eq!(found, complete());
        }
        let command = || {
            let (path, words) = program();
            let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str().unwrap()).collect();
            CString::new(format!("'{}' {}", path.display(), words.join(" "))).unwrap()
        };
        let shell = found_by(|_, _| {
            // SAFETY: this process has one thread.
            let status = unsafe {
                assert_eq!(clearenv(), 0);
                libc::system(command().as_ptr())
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(libc::WEXITSTATUS(status)) };
        });
        assert_eq!(shell, complete());
        let pipe = found_by(|_, _| {
            // SAFETY: this process has one thread; the stream is closed once.
            unsafe {
                assert_eq!(clearenv(), 0);
                let stream = libc::popen(command().as_ptr(), c"r".as_ptr());
                let mut line = [0 as c_char; 4096];
                while !libc::fgets(line.as_mut_ptr(), 4096, stream).is_null() {
                    libc::write(1, line.as_ptr().cast(), libc::strlen(line.as_ptr()));
                }
                libc::_exit(libc::WEXITSTATUS(libc::pclose(stream)));
            }
        });
        assert_eq!(pipe, complete());
        // SAFETY: the list of this process.
        assert!(!unsafe { environ }.is_null());
        // SAFETY: null asks whether there is a shell.
        assert_eq!(unsafe { libc::system(null()) }, 1);
    });
}

/// Returns the output of a shell that executes `path`.
fn run_by_shell(path: &str, log: &str) -> Output {
    Command::new("/bin/sh").args(["-c", "exec \"$0\"", path]).env("QUINTET_LOG", log).output().unwrap()
}

#[test]
fn warning_for_a_static_program() {
    preloaded("warning_for_a_static_program", || {
        let directory = tempfile::tempdir().unwrap();
        let (source, path) = (directory.path().join("static.c"), directory.path().join("static"));
        std::fs::write(&source, "int main(void) { return 7; }\n").unwrap();
        if !Command::new("cc").args(["-static", "-o"]).arg(&path).arg(&source).status().expect("cc").success() {
            return println!("skipped: there is no static C library to link with");
        }
        let path = path.to_str().unwrap();
        let output = run_by_shell(path, "warn");
        assert_eq!(output.status.code(), Some(7));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(&format!("cannot intercept {path}: ")) && text.contains("statically linked"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(run_by_shell(path, "error").stderr, b"");
        // A program that is intercepted, or that cannot run at all, causes no warning.
        assert_eq!(run_by_shell("/bin/true", "warn").stderr, b"");
        let text = String::from_utf8(run_by_shell("/nonexistent", "warn").stderr).unwrap();
        assert!(!text.contains("quintet"), "{text}");
    });
}

/// musl's loader fails if it cannot load a library; glibc's only prints a message.
#[test]
fn program_with_another_c_library() {
    preloaded("program_with_another_c_library", || {
        let directory = tempfile::tempdir().unwrap();
        let (source, path) = (directory.path().join("musl.c"), directory.path().join("musl"));
        let text = "#include <stdio.h>\n#include <stdlib.h>\n\
            int main(void) { char *p = getenv(\"LD_PRELOAD\"); printf(\"<%s>\", p ? p : \"-\"); return 7; }\n";
        std::fs::write(&source, text).unwrap();
        match Command::new("musl-gcc").arg("-o").arg(&path).arg(&source).status() {
            Ok(status) if status.success() => {}
            _ => {
                assert!(std::env::var_os("CI").is_none(), "musl-tools must be installed in CI");
                return println!("skipped: musl-gcc is not installed");
            }
        }
        let found = |preload: &str, inherit: &str| {
            let mut env = Command::new("env");
            let output = env.arg(format!("LD_PRELOAD={preload}")).arg(format!("QUINTET_INHERIT={inherit}")).arg(&path).output();
            let output = output.unwrap();
            let (output_text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert_eq!(output.status.code(), Some(7), "{output_text} {errors}");
            (output_text, errors)
        };
        let library = given("LD_PRELOAD");
        let (output_text, errors) = found(&library, "1");
        assert_eq!(output_text, "<->");
        assert!(errors.contains("cannot intercept ") && errors.contains("musl"), "{errors}");
        // The library is not added either, and other entries stay.
        assert_eq!(found("", "1").0, "<>");
        assert_eq!(
            found(&format!("/usr/lib/x86_64-linux-musl/libc.so:{library}"), "1").0,
            "</usr/lib/x86_64-linux-musl/libc.so>"
        );
        assert_eq!(found(&library, "0"), ("<->".to_owned(), String::new()));
    });
}
