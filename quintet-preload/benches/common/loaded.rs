//! The drop-in in this process, beside the C library's functions of the same names.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An open drop-in. It stays open.
pub struct Loaded(*mut c_void, CString);

impl Loaded {
    /// The library on a namespace, which it keeps for good: another one needs another copy of the library.
    pub fn open(library: &Path, namespace: &Path) -> Loaded {
        // SAFETY: this program has one thread.
        unsafe { std::env::set_var("QUINTET_NAMESPACE", namespace) };
        let path = CString::new(library.as_os_str().as_bytes()).expect("a path");
        // SAFETY: a NUL-terminated path of a library whose initializers touch nothing of ours.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{} cannot be opened", library.display());
        Loaded(handle, path)
    }

    /// A function of the drop-in's own. (A handle finds those of the libraries that it needs, too.)
    ///
    /// # Safety
    ///
    /// `F` is the function's type.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> F {
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        // SAFETY: an open library, and a NUL-terminated name.
        let at = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        // SAFETY: zeroes are null pointers and numbers.
        let mut whose: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: a local of the right type; any address may be asked about.
        let known = unsafe { libc::dladdr(at, &raw mut whose) } != 0 && !whose.dli_fname.is_null();
        // SAFETY: the loader's string, which lives as long as the library.
        let own = known && unsafe { CStr::from_ptr(whose.dli_fname) } == self.1.as_c_str();
        assert!(own, "the drop-in has no {name:?}");
        // SAFETY: the caller's, and both are one pointer.
        unsafe { std::mem::transmute_copy(&at) }
    }
}
