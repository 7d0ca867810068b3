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

/// The next library's function of this name; null: there is none. A program may have a `dlsym` of its own, for which what comes next would be ours: so
/// the C library's is called, where that is told from others.
pub fn find(name: &CStr) -> *mut c_void {
    #[cfg(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
    return crate::base::dlsym::find_next(name);
    #[cfg(not(all(target_env = "gnu", any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))))]
    // SAFETY: a NUL-terminated name.
    unsafe {
        libc::dlsym(libc::RTLD_NEXT, name.as_ptr())
    }
}

/// A name, as the loader takes it. In a constant: what has no NUL at its end does not compile.
pub const fn name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("a name ends with NUL"),
    }
}

/// Declares the next library's functions of these names and types, in a module `next`, and `at_load`, which looks all of them up.
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

        /// Looks all of them up.
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
    /// `F` is a function pointer, of the type that the C library's function of this name has.
    pub const unsafe fn new(name: &'static CStr) -> Next<F> {
        Next { name, found: AtomicPtr::new(std::ptr::null_mut()), function: std::marker::PhantomData }
    }

    /// Looks it up.
    pub fn resolve(&self) -> *mut c_void {
        let found = find(self.name);
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
