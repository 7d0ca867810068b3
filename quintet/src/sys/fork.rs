//! Being told of a fork.
//!
//! # Safety
//!
//! `pthread_atfork` keeps the three function pointers, which are `'static` and do not unwind
//! (`extern "C"` functions abort instead).
#![allow(unsafe_code)]

/// Has `prepare` called before each `fork` in the parent, `parent` after it there, and `child` in the child.
pub fn handlers(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> libc::c_int;
    }
    // SAFETY: see the module.
    unsafe { pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}
