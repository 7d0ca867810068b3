//! Functions of the next library, usually the C library, which this library also exports under the
//! same names.
//!
//! They are resolved when the library is loaded: signal handlers call some of them, and a handler
//! must not resolve symbols.
//!
//! # Safety
//!
//! A symbol has the type that the caller of [`Next::new`] declares for its name.
#![allow(unsafe_code)]

use libc::c_void;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// Returns the next library's symbol of this name, or null. A program may define a `dlsym` of its
/// own, for which the next library would be this one. The C library's `dlsym` is therefore called
/// where it can be identified.
pub fn find(name: &CStr) -> *mut c_void {
    #[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
    return crate::base::dlsym::find_next(name);
    #[cfg(not(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))))]
    // SAFETY: a NUL-terminated name.
    unsafe {
        libc::dlsym(libc::RTLD_NEXT, name.as_ptr())
    }
}

/// Converts a name for the loader. In a constant, a name without a final NUL does not compile.
pub const fn name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name ends with NUL"),
    }
}

/// Declares the next library's functions of these names and types in a module `next`, and
/// `at_load`, which resolves them.
macro_rules! next_functions {
    ($($name:ident: $type:ty;)*) => {
        mod next {
            use super::*;
            $(
                #[allow(non_upper_case_globals)]
                // SAFETY: the C library's prototype.
                pub static $name: $crate::base::next::Next<$type> = unsafe {
                    $crate::base::next::Next::new($crate::base::next::name(concat!(stringify!($name), "\0")))
                };
            )*
        }

        /// Resolves the next library's functions.
        pub fn at_load() {
            $(next::$name.resolve();)*
        }
    };
}
pub(crate) use next_functions;

/// A function of the next library, as a function pointer of type `F`.
pub struct Next<F> {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
    function: std::marker::PhantomData<F>,
}

impl<F: Copy> Next<F> {
    /// # Safety
    ///
    /// `F` is a function pointer of the type that the C library's function of this name has.
    pub const unsafe fn new(name: &'static CStr) -> Next<F> {
        Next { name, found: AtomicPtr::new(std::ptr::null_mut()), function: std::marker::PhantomData }
    }

    /// Resolves the function and returns its address, or null.
    pub fn resolve(&self) -> *mut c_void {
        let found = find(self.name);
        self.found.store(found, Release);
        found
    }

    /// Returns the function, or `None` if this C library does not have it.
    pub fn get(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let found = match self.found.load(Acquire) {
            // A library that was initialized before this one calls.
            found if found.is_null() => self.resolve(),
            found => found,
        };
        // SAFETY: the caller of `new` guarantees the type.
        (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
    }
}
