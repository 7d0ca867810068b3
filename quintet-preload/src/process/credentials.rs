//! What changes a process's rights. The engine remembers what it found out about a thread's rights until it is told of
//! a change; to ask the kernel at each operation would cost more than the operation.
//!
//! It is told before the change and after it: what another thread finds out meanwhile may be true of either time.
//!
//! Calls by number come here, too (`syscall.rs`). (A program that execs another begins anew in any case.)
//!
//! # Safety
//!
//! The functions have the C library's types and pass their arguments on to it.
#![allow(unsafe_code)]

use crate::base::errno::missing;
use crate::base::next::next_functions;
use crate::base::preload_api;
use crate::log;
use libc::{c_char, c_int, c_void, gid_t, size_t, uid_t};

/// Tells of a change, before it and after it.
pub fn told(function: &str, change: impl FnOnce() -> c_int) -> c_int {
    preload_api::credentials_changed();
    let ret = change();
    preload_api::credentials_changed();
    log::changed_credentials(function, ret);
    ret
}

macro_rules! told {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        next_functions! { $($name: unsafe extern "C" fn($($type),*) -> c_int;)* }

        $(
            #[doc = concat!(stringify!($name), "(2)")]
            ///
            /// # Safety
            ///
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
                let Some(real) = next::$name.get() else { return missing(-1) };
                // SAFETY: the caller's contract is the same.
                told(stringify!($name), || unsafe { real($($arg),*) })
            }
        )*
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
