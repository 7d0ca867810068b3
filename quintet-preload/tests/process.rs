//! Programs that change their own process. Each is a C program that must behave alike on the kernel
//! and with the library.
//!
//! # Safety
//!
//! A child of `fork` has one thread, and execs or ends. Its strings live as long.
#![allow(unsafe_code)]

mod support;

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use support::*;

#[test]
fn cancelled_threads() {
    c_program("cancel");
}

#[test]
fn no_descriptor_is_free() {
    c_program("nofile");
}

#[test]
fn children_of_every_kind() {
    c_program("children");
}

#[test]
fn descriptors_directory_and_umask() {
    c_program("surroundings");
}

#[test]
fn small_stack() {
    c_program("small");
}

#[test]
fn changed_root() {
    if !is_root() {
        println!("skipped: only the superuser changes the root");
        return;
    }
    c_program("chroot");
}

#[test]
fn shifted_and_stopped_clocks() {
    let Some((_place, clocks)) = compiled("clock", &["-shared", "-fPIC", "-DCLOCKS"]) else { return };
    c_program_with("clock", Some(&clocks));
}

/// The adjustments of `SEM_UNDO` outlive exec of a program that does not have the library.
#[test]
fn undo_outlives_exec_of_a_static_program() {
    preloaded("undo_outlives_exec_of_a_static_program", || {
        let Some((_place, program)) = compiled("holder", &["-static"]) else { return };
        let program = CString::new(program.to_str().unwrap()).unwrap();
        let id = set(1, 0o600);
        assert_eq!(control(id, 0, SETVAL, 3), 0);
        let (started, go) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let holder = fork(|| {
            assert_eq!(operate(id, op(0, -2, SEM_UNDO)), 0);
            let arguments = [program.as_ptr(), std::ptr::null()];
            // SAFETY: see the module.
            unsafe {
                libc::dup2(go.0.as_raw_fd(), 0);
                libc::dup2(started.1.as_raw_fd(), 1);
                libc::execv(program.as_ptr(), arguments.as_ptr());
            }
        });
        (&started.0).read_exact(&mut [0]).unwrap();
        assert_eq!((value(id), operate(id, op(0, -2, libc::IPC_NOWAIT as i16))), (1, libc::EAGAIN));
        (&go.1).write_all(&[0]).unwrap();
        assert_eq!(end(holder), 0);
        assert_eq!((operate(id, op(0, -3, 0)), value(id)), (0, 0));
    });
}
