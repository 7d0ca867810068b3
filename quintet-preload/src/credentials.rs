//! What changes a process's rights. The engine remembers what it found out about a thread's rights until it is told of
//! a change; to ask the kernel at each operation would cost more than the operation.
//!
//! It is told before the change and after it: what another thread finds out meanwhile may be true of either time.
//!
//! Not seen: a system call by number. (A program that execs another begins anew in any case.)
//!
//! # Safety
//!
//! The functions have the C library's types and pass their arguments on to it.
#![allow(unsafe_code)]

use crate::log;
use crate::next::Next;
use libc::{c_char, c_int, c_void, gid_t, size_t, uid_t};
use quintet::drop_in;

macro_rules! told {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        mod next {
            use super::*;
            $(
                #[allow(non_upper_case_globals)]
                pub static $name: Next<unsafe extern "C" fn($($type),*) -> c_int> = {
                    // SAFETY: the C library's prototype.
                    unsafe { Next::new(cstr(concat!(stringify!($name), "\0"))) }
                };
            )*
        }

        $(
            #[doc = concat!(stringify!($name), "(2)")]
            ///
            /// # Safety
            ///
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
                let Some(real) = next::$name.get() else { return missing() };
                drop_in::credentials_changed();
                // SAFETY: the caller's contract is the same.
                let ret = unsafe { real($($arg),*) };
                drop_in::credentials_changed();
                log::changed_rights(stringify!($name), ret);
                ret
            }
        )*

        /// Looks all of them up.
        pub fn at_load() {
            $(next::$name.resolve();)*
        }
    };
}

told! {
    setuid(uid: uid_t);
    seteuid(euid: uid_t);
    setreuid(ruid: uid_t, euid: uid_t);
    setresuid(ruid: uid_t, euid: uid_t, suid: uid_t);
    setgid(gid: gid_t);
    setegid(egid: gid_t);
    setregid(rgid: gid_t, egid: gid_t);
    setresgid(rgid: gid_t, egid: gid_t, sgid: gid_t);
    setgroups(size: size_t, list: *const gid_t);
    initgroups(user: *const c_char, group: gid_t);
    capset(header: *mut c_void, data: *const c_void);
    unshare(flags: c_int);
    setns(fd: c_int, nstype: c_int);
}

pub const fn cstr(name: &'static str) -> &'static std::ffi::CStr {
    match std::ffi::CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name ends with NUL"),
    }
}

fn missing() -> c_int {
    // SAFETY: the location is valid for the thread's life.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}
