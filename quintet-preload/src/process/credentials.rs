//! Functions that change credentials. The engine caches what it has found out about the permissions
//! of a thread until a change is reported. Asking the kernel at each operation would cost more than
//! the operation.
//!
//! A change is reported both before and after it, because the findings of another thread in between
//! may reflect either state.
//!
//! Calls by number are reported, too (`entry/syscall.rs`). A program that executes another one
//! starts without a cache in any case.
//!
//! # Safety
//!
//! The functions have the C library's types and forward their arguments.
#![allow(unsafe_code)]

use crate::base::errno::missing;
use crate::base::next::next_functions;
use crate::base::preload_api;
use crate::log;
use libc::{c_char, c_int, c_void, gid_t, size_t, uid_t};

/// Reports a change of credentials to the engine, before it and after it.
pub fn report_change(function: &str, change: impl FnOnce() -> c_int) -> c_int {
    preload_api::credentials_changed();
    let ret = change();
    preload_api::credentials_changed();
    log::changed_credentials(function, ret);
    ret
}

macro_rules! credential_functions {
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
                report_change(stringify!($name), || unsafe { real($($arg),*) })
            }
        )*
    };
}

credential_functions! {
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
