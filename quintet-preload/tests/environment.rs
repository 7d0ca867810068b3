//! The drop-in stays in the programs that a program starts, whatever becomes of the environment.
//!
//! # Safety
//!
//! The children of `fork` have one thread. Strings and lists passed to exec live until it, or the process, ends; every list ends with a
//! null pointer.
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

/// By this argument the program knows that it was started by a test.
const ASKED: &str = "--what-is-there";

/// What a started program finds: whether it has the drop-in, and its environment.
#[test]
fn what_is_there() {
    if std::env::var_os("QUINTET_TEST_ASKS").is_none() && std::env::args().all(|argument| argument != ASKED) {
        return;
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let loaded = maps.contains("libquintet_preload.so");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "-".to_owned());
    println!("<{loaded}|{}|{}|{}>", variable("LD_PRELOAD"), variable("QUINTET_NAMESPACE"), variable("QUINTET_LOG"));
}

/// This program, so that it tells what it finds.
fn program() -> (PathBuf, Vec<CString>) {
    let path = std::env::current_exe().unwrap();
    let words = ["what", "what_is_there", "--exact", "--nocapture", "--test-threads=1", "--skip", ASKED];
    (path, words.into_iter().map(|word| CString::new(word).unwrap()).collect())
}

fn list(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

fn strings(entries: &[&str]) -> Vec<CString> {
    entries.iter().map(|entry| CString::new(*entry).unwrap()).collect()
}

/// What the program says that a child starts by `start`.
fn told(start: impl FnOnce(&CString, &[*const c_char])) -> String {
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
    // SAFETY: nobody else owns them.
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

/// What is found where all is kept.
fn all() -> String {
    format!("true|{}|{}|-", given("LD_PRELOAD"), given("QUINTET_NAMESPACE"))
}

/// What the program finds if it is executed with this environment.
fn with(environment: &[&str]) -> String {
    let environment = strings(environment);
    // SAFETY: see the module.
    told(|path, argv| unsafe { _ = libc::execve(path.as_ptr(), argv.as_ptr(), list(&environment).as_ptr()) })
}

#[test]
fn an_environment_of_its_own() {
    preloaded("an_environment_of_its_own", || {
        let (ours, namespace) = (given("LD_PRELOAD"), given("QUINTET_NAMESPACE"));
        assert_eq!(with(&[]), all());
        assert_eq!(with(&["QUINTET_NAMESPACE=/elsewhere"]), format!("true|{ours}|/elsewhere|-"));
        assert_eq!(with(&["LD_PRELOAD=", "QUINTET_LOG=off"]), format!("true|{ours}|{namespace}|off"));
        // The program's own comes after; it was there before, and stays where it was.
        let other = "/lib/x86_64-linux-gnu/libm.so.6";
        if std::path::Path::new(other).exists() {
            assert_eq!(with(&[&format!("LD_PRELOAD={other}")]), format!("true|{ours}:{other}|{namespace}|-"));
            assert_eq!(with(&[&format!("LD_PRELOAD={other} {ours}")]), format!("true|{other} {ours}|{namespace}|-"));
        }
        // The drop-in of another version, which a `quintet run` has put there.
        assert_eq!(with(&["LD_PRELOAD=/x/libquintet-1.so"]), format!("false|/x/libquintet-1.so|{namespace}|-"));
        // Entries too many to be listed on the stack, and a long list of libraries.
        let many: Vec<String> = (0..2100).map(|n| format!("V{n}=x")).collect();
        assert_eq!(with(&many.iter().map(String::as_str).collect::<Vec<_>>()), all());
        let long = format!("LD_PRELOAD={}", format!("{ours}:").repeat(2000 / ours.len()).replace("libquintet", "./libquintet"));
        assert!(with(&[&long, "QUINTET_LOG=off"]).starts_with(&format!("true|{ours}:")));
        // SAFETY: see the module.
        assert_eq!(told(|path, argv| unsafe { _ = libc::execve(path.as_ptr(), argv.as_ptr(), null()) }), all());
    });
}

/// A thread with the smallest stack that there is starts programs, by each of the ways.
#[test]
fn from_a_small_stack() {
    extern "C" fn thread(start: *mut c_void) -> *mut c_void {
        // SAFETY: what is passed below, which waits for this thread.
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

    preloaded("from_a_small_stack", || {
        let nothing = [null()];
        // SAFETY: see the module.
        unsafe {
            let told_by = |call: &dyn Fn(&CString, &[*const c_char])| told(|path, argv| on_small_stack(&|| call(path, argv)));
            assert_eq!(told_by(&|path, argv| _ = libc::execve(path.as_ptr(), argv.as_ptr(), nothing.as_ptr())), all());
            assert_eq!(told_by(&|path, argv| _ = libc::execv(path.as_ptr(), argv.as_ptr())), all());
            let one_by_one = |path: &CString, argv: &[*const c_char]| {
                let [a, b, c, d, e, f, g, end] = argv else { panic!("{} arguments", argv.len()) };
                libc::execle(path.as_ptr(), *a, *b, *c, *d, *e, *f, *g, *end, nothing.as_ptr());
            };
            assert_eq!(told_by(&one_by_one), all());
            let spawned = |path: &CString, argv: &[*const c_char]| {
                let (mut child, (actions, attributes)) = (0, (null(), null()));
                let (argv, environment) = (argv.as_ptr().cast(), nothing.as_ptr().cast());
                assert_eq!(libc::posix_spawn(&raw mut child, path.as_ptr(), actions, attributes, argv, environment), 0);
                libc::_exit(end(child));
            };
            assert_eq!(told_by(&spawned), all());
        }
    });
}

#[test]
fn nothing_is_added_if_that_is_not_wanted() {
    preloaded("nothing_is_added_if_that_is_not_wanted", || {
        assert_eq!(with(&["QUINTET_INHERIT=0"]), "false|-|-|-");
        assert_eq!(with(&["QUINTET_INHERIT=1"]), all());
        // What the program itself was given holds where the new environment says nothing.
        let (path, words) = program();
        let words = words.iter().skip(1).map(|word| OsStr::from_bytes(word.as_bytes()));
        let found = |inherit: &str, rest: &[&str]| {
            let mut env = Command::new("env");
            env.env("QUINTET_INHERIT", inherit).arg("-i").args(rest).arg(&path).args(words.clone());
            String::from_utf8(env.output().unwrap().stdout).unwrap()
        };
        assert!(found("0", &[]).contains("<false|-|-|->"), "{}", found("0", &[]));
        assert!(found("1", &[]).contains(&format!("<{}>", all())));
        assert!(found("0", &["QUINTET_INHERIT=1"]).contains("<true|"));
    });
}

#[test]
fn a_child_made_by_vfork() {
    preloaded("a_child_made_by_vfork", || {
        let found = told(|path, argv| {
            let environment = [null::<c_char>()];
            // SAFETY: the child only calls exec, or ends. The location of errno is valid, and shared with the child.
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
        assert_eq!(found, all());
    });
}

#[test]
fn started_by_the_c_library() {
    preloaded("started_by_the_c_library", || {
        for search in [false, true] {
            let found = told(|path, argv| {
                let (mut child, environment) = (0, [std::ptr::null_mut::<c_char>()]);
                let spawn = if search { libc::posix_spawnp } else { libc::posix_spawn };
                // SAFETY: see the module.
                let error =
                    unsafe { spawn(&raw mut child, path.as_ptr(), null(), null(), argv.as_ptr().cast(), environment.as_ptr()) };
                assert_eq!(error, 0);
                // SAFETY: ends the process.
                unsafe { libc::_exit(end(child)) };
            });
            assert_eq!(found, all());
        }
        let command = || {
            let (path, words) = program();
            let words: Vec<&str> = words.iter().skip(1).map(|word| word.to_str().unwrap()).collect();
            CString::new(format!("'{}' {}", path.display(), words.join(" "))).unwrap()
        };
        let shell = told(|_, _| {
            // SAFETY: this process has one thread.
            let status = unsafe {
                assert_eq!(clearenv(), 0);
                libc::system(command().as_ptr())
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(libc::WEXITSTATUS(status)) };
        });
        assert_eq!(shell, all());
        let pipe = told(|_, _| {
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
        assert_eq!(pipe, all());
        // SAFETY: the list of this process.
        assert!(!unsafe { environ }.is_null());
        // SAFETY: null asks whether there is a shell.
        assert_eq!(unsafe { libc::system(null()) }, 1);
    });
}

/// What a shell says on stderr that executes `path`.
fn complaints(path: &str, log: &str) -> Output {
    Command::new("/bin/sh").args(["-c", "exec \"$0\"", path]).env("QUINTET_LOG", log).output().unwrap()
}

#[test]
fn what_is_not_carried_is_said() {
    preloaded("what_is_not_carried_is_said", || {
        let directory = tempfile::tempdir().unwrap();
        let (source, path) = (directory.path().join("static.c"), directory.path().join("static"));
        std::fs::write(&source, "int main(void) { return 7; }\n").unwrap();
        if !Command::new("cc").args(["-static", "-o"]).arg(&path).arg(&source).status().expect("cc").success() {
            return println!("skipped: there is no static C library to link with");
        }
        let path = path.to_str().unwrap();
        let told = complaints(path, "warn");
        assert_eq!(told.status.code(), Some(7));
        let text = String::from_utf8(told.stderr).unwrap();
        assert!(text.contains(&format!("{path} is not carried")) && text.contains("statically linked"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(complaints(path, "error").stderr, b"");
        // What is carried, or cannot be run at all, is nobody's concern.
        assert_eq!(complaints("/bin/true", "warn").stderr, b"");
        let text = String::from_utf8(complaints("/nonexistent", "warn").stderr).unwrap();
        assert!(!text.contains("quintet"), "{text}");
    });
}

/// musl's loader dies of a library that it cannot load, where glibc's only says so.
#[test]
fn a_program_of_another_c_library() {
    preloaded("a_program_of_another_c_library", || {
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
            let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert_eq!(output.status.code(), Some(7), "{said} {errors}");
            (said, errors)
        };
        let ours = given("LD_PRELOAD");
        let (said, errors) = found(&ours, "1");
        assert_eq!(said, "<->");
        assert!(errors.contains("is not carried") && errors.contains("musl"), "{errors}");
        // Nor does it get what was not there; and what else is there stays.
        assert_eq!(found("", "1").0, "<>");
        assert_eq!(found(&format!("/usr/lib/x86_64-linux-musl/libc.so:{ours}"), "1").0, "</usr/lib/x86_64-linux-musl/libc.so>");
        assert_eq!(found(&ours, "0"), ("<->".to_owned(), String::new()));
    });
}
