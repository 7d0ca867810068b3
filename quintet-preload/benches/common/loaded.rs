//! The preload library in this process, beside the C library's functions of the same names.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An open library. It stays open.
pub struct Loaded(*mut c_void, CString);

impl Loaded {
    /// Opens the library on a namespace, which it keeps. Another namespace needs another copy of
    /// the library.
    pub fn open(library: &Path, namespace: &Path) -> Loaded {
        // SAFETY: this program has one thread.
        unsafe { std::env::set_var("QUINTET_NAMESPACE", namespace) };
        let path = CString::new(library.as_os_str().as_bytes()).expect("a path");
        // SAFETY: a NUL-terminated path of a library with initializers that do not touch this
        // program's data.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "cannot open {}", library.display());
        Loaded(handle, path)
    }

    /// Returns a function that the library itself defines. (A handle also finds functions of its
    /// dependencies.)
    ///
    /// # Safety
    ///
    /// `F` is the function's type.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> F {
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        // SAFETY: an open library, and a NUL-terminated name.
        let at = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        // SAFETY: zeroes are null pointers and numbers.
        let mut origin: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: a local of the right type; every address is allowed.
        let known = unsafe { libc::dladdr(at, &raw mut origin) } != 0 && !origin.dli_fname.is_null();
        // SAFETY: the loader's string, which lives as long as the library.
        let own = known && unsafe { CStr::from_ptr(origin.dli_fname) } == self.1.as_c_str();
        assert!(own, "the library does not define {name:?}");
        // SAFETY: the caller guarantees the type, and both are one pointer.
        unsafe { std::mem::transmute_copy(&at) }
    }
}
