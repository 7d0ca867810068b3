//! Registration of fork handlers.
//!
//! # Safety
//!
//! `pthread_atfork` keeps the three function pointers. They are `'static`, and an `extern "C"`
//! function aborts instead of unwinding.
#![allow(unsafe_code)]

/// Registers three functions with `pthread_atfork`: `prepare` runs in the parent before each
/// `fork`, `parent` after it, and `child` in the child.
pub fn register_handlers(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<extern "C" fn()>,
            parent: Option<extern "C" fn()>,
            child: Option<extern "C" fn()>,
        ) -> libc::c_int;
    }
    // SAFETY: the functions have the types that pthread_atfork(3) requires; see the module.
    unsafe { pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}
