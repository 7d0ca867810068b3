//! A program that uses musl and one that uses glibc share a namespace.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals and to an attached segment.
#![allow(unsafe_code)]

mod support;

use libc::{EFAULT, c_int, c_long};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use support::*;

const TARGET: &str = "x86_64-unknown-linux-musl";
const KEY: c_int = 0x6d75;
const PROGRAM: &str = "QUINTET_TEST_PROGRAM";
const LIBRARY: &str = "QUINTET_TEST_LIBRARY";

/// Returns `true` if programs can be built for musl; otherwise prints what is missing.
fn can_be_built() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned()).unwrap_or_default();
    let missing = if !Path::new(&sysroot).join("lib/rustlib").join(TARGET).exists() {
        Some(format!("rustup target add {TARGET}"))
    } else if Command::new("musl-gcc").arg("--version").output().is_err() {
        Some("musl-gcc, of musl-tools".to_owned())
    } else {
        None
    };
    if let Some(missing) = &missing {
        // CI sets this variable where the target cannot be installed.
        let excused = std::env::var("QUINTET_WITHOUT_TARGETS").is_ok_and(|value| !value.is_empty());
        assert!(excused || std::env::var("CI").as_deref() != Ok("true"), "missing: {missing}");
        println!("skipped: missing: {missing}");
    }
    missing.is_none()
}

#[test]
#[cfg_attr(not(all(target_arch = "x86_64", target_env = "gnu")), ignore = "the other side is x86-64 and glibc")]
fn shares_a_namespace_with_glibc() {
    if std::env::var_os(PRELOADED).is_none() && !can_be_built() {
        return;
    }
    let build = |command: &mut Command, namespace: &Path| {
        let program = namespace.with_file_name("musl");
        let mut compiler = Command::new("musl-gcc");
        compiler.args(["-Wall", "-Werror", "-o"]).arg(&program).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/musl.c"));
        assert!(compiler.status().unwrap().success(), "musl-gcc");
        command.env(PROGRAM, program).env(LIBRARY, library_for(Some(TARGET)));
    };
    preloaded_by("shares_a_namespace_with_glibc", build, || {
        // SAFETY: see the module.
        let (memory, at, set, queue) = unsafe {
            let flags = 0o600 | libc::IPC_CREAT;
            let memory = libc::shmget(KEY, PAGE, flags);
            (memory, libc::shmat(memory, std::ptr::null(), 0) as usize, libc::semget(KEY, 2, flags), libc::msgget(KEY, flags))
        };
        assert!(memory >= 0 && at != usize::MAX && set >= 0 && queue >= 0);
        let text = |offset: usize| {
            // SAFETY: a page of zeroes except for the text that both sides write.
            unsafe { std::ffi::CStr::from_ptr((at + offset) as *const _) }.to_string_lossy().into_owned()
        };
        // SAFETY: as above.
        unsafe { (at as *mut [u8; 10]).write(*b"from glibc") };
        let mut command = Command::new(std::env::var_os(PROGRAM).unwrap());
        command.env("LD_PRELOAD", std::env::var_os(LIBRARY).unwrap()).stdout(Stdio::piped());
        let mut musl = command.spawn().unwrap();
        let mut said = BufReader::new(musl.stdout.take().unwrap()).lines();
        let mut says = |what: &str| assert_eq!(said.next().expect("it lives").unwrap(), what);
        says("found 0");
        until("it waits", || control(set, 0, GETNCNT, 0) == 1 && waits(musl.id() as c_int));
        assert_eq!(text(100), "from glibc");
        assert_eq!(operate(set, op(0, 1, 0)), 0);
        says("waited 0");
        let message: [c_long; 5] = [1, 11, 22, 33, 44];
        assert_eq!(send(queue, message.as_ptr() as usize, 32), 0);
        says("received 32");
        says("sent 0");
        let mut answer = [0 as c_long; 5];
        assert_eq!(receive(queue, answer.as_mut_ptr() as usize, 32, 2, 0), 32);
        assert_eq!(answer, [2, 11, 22, 33, 44]);
        for what in ["attached 2", "semaphores 2", "bytes 16384", "values 0"] {
            says(what);
        }
        says(&format!("bad pointer -{EFAULT}"));
        says(&format!("bad buffer -{EFAULT}"));
        says("given 0");
        assert_eq!((attach_count(memory), value(set), control(set, 1, GETVAL, 0)), (2, 0, 1));
        musl.kill().unwrap();
        musl.wait().unwrap();
        // The adjustments of the killed process are undone.
        assert_eq!((operate(set, op(0, -1, 0)), attach_count(memory)), (0, 1));
    });
}
