//! The functions of the next library, most often the C library, behind those that we export under the same name.
//!
//! They are looked up when the drop-in is loaded: some are called by signal handlers, where looking up is not allowed.
//!
//! # Safety
//!
//! What is found under a name has that function's type; the caller of [`Next::get`] says which one it is.
#![allow(unsafe_code)]

use libc::c_void;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// A function of the next library, as a function pointer of type `F`.
pub struct Next<F> {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
    function: std::marker::PhantomData<F>,
}

impl<F: Copy> Next<F> {
    /// # Safety
    ///
    /// `F` is a function pointer, of the type that the C library's function of this name has.
    pub const unsafe fn new(name: &'static CStr) -> Next<F> {
        Next { name, found: AtomicPtr::new(std::ptr::null_mut()), function: std::marker::PhantomData }
    }

    /// Looks it up.
    pub fn resolve(&self) -> *mut c_void {
        // SAFETY: a NUL-terminated name.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Release);
        found
    }

    /// The function; `None` if this C library has none.
    pub fn get(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let found = match self.found.load(Acquire) {
            // Called by a library that was loaded before us.
            found if found.is_null() => self.resolve(),
            found => found,
        };
        // SAFETY: `new`'s caller says that a function of this name has this type.
        (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
    }
}
