//! Calls that take unusual routes: libraries loaded with `RTLD_DEEPBIND`, functions looked up in
//! the C library, calls by number.
//!
//! # Safety
//!
//! A looked-up function is called with its own type; calls by number get the arguments of that
//! number.
#![allow(unsafe_code)]

mod support;

use libc::{c_char, c_int, c_long, c_void, key_t};
use quintet::{Errno, Key, Namespace};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::process::Command;
use support::*;

const KEY: key_t = 0x51a7;

/// Compiles a shared library from C.
fn library(directory: &Path, name: &str, source: &str, flags: &[&str]) -> CString {
    let (input, output) = (directory.join(name).with_extension("c"), directory.join(name));
    std::fs::write(&input, source).unwrap();
    let mut cc = Command::new("cc");
    let built = cc.args(["-shared", "-fPIC", "-o"]).arg(&output).arg(&input).args(flags).status().expect("cc");
    assert!(built.success());
    CString::new(output.into_os_string().into_encoded_bytes()).unwrap()
}

fn load(path: &CStr, flags: c_int) -> *mut c_void {
    // SAFETY: see the module.
    let handle = unsafe { libc::dlopen(path.as_ptr(), flags) };
    // SAFETY: the loader's own message.
    assert!(!handle.is_null(), "{}", unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy());
    handle
}

type Semget = unsafe extern "C" fn(key_t, c_int, c_int) -> c_int;

fn semget_of(handle: *mut c_void, name: &CStr) -> Semget {
    // SAFETY: see the module.
    unsafe {
        let found = libc::dlsym(handle, name.as_ptr());
        assert!(!found.is_null());
        std::mem::transmute::<*mut c_void, Semget>(found)
    }
}

/// Checks that the set with this key is in the namespace, and not in the kernel.
#[track_caller]
fn is_intercepted(id: c_int) {
    assert!(id >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::semget(KEY, 0, 0) }, id);
    assert_eq!(Namespace::kernel().semget(Key::new(KEY), 0, 0), Err(Errno::NOENT));
    assert_eq!(control(id, 0, libc::IPC_RMID, 0), 0);
}

const GETS: &str = "#include <sys/sem.h>\nint get(int key, int n, int flags) { return semget(key, n, flags); }\n";

#[test]
fn library_loaded_with_deepbind() {
    preloaded("library_loaded_with_deepbind", || {
        let directory = tempfile::tempdir().unwrap();
        let path = library(directory.path(), "libgets.so", GETS, &[]);
        let handle = load(&path, libc::RTLD_NOW | libc::RTLD_DEEPBIND);
        // SAFETY: see the module.
        is_intercepted(unsafe { semget_of(handle, c"get")(KEY, 1, libc::IPC_CREAT | 0o600) });
        // SAFETY: see the module.
        let handle = unsafe { libc::dlmopen(libc::LM_ID_BASE, path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_DEEPBIND) };
        // SAFETY: see the module.
        is_intercepted(unsafe { semget_of(handle, c"get")(KEY, 1, libc::IPC_CREAT | 0o600) });
        // SAFETY: a NUL-terminated name.
        assert!(unsafe { libc::dlopen(c"/nonexistent.so".as_ptr(), libc::RTLD_NOW) }.is_null());
        // SAFETY: the loader's own message.
        let error = unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy();
        assert!(error.contains("/nonexistent.so"), "{error}");
    });
}

#[test]
fn loader_sees_the_real_caller() {
    preloaded("loader_sees_the_real_caller", || {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let next = "int answer(void) { return 42; }\nint step(void) { return 5; }\n";
        library(&inner, "libinner.so", next, &[]);
        let own = format!("-L{}", inner.display());
        let source = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <unistd.h>\n\
            int outer_answer(void) { void *l = dlopen(\"libinner.so\", RTLD_NOW | RTLD_DEEPBIND); int (*f)(void) = l ? (int (*)(void))dlsym(l, \"answer\") : 0; return f ? f() : -1; }\n\
            int step(void) { int (*next)(void) = (int (*)(void))dlsym(RTLD_NEXT, \"step\"); return next() + 100; }\n";
        let flags = ["-Wl,-rpath,$ORIGIN/inner", "-Wl,--no-as-needed", &own, "-linner"];
        let outer = library(directory.path(), "libouter.so", source, &flags);
        let handle = load(&outer, libc::RTLD_NOW);
        let call = |name: &CStr| {
            // SAFETY: takes nothing, gives an int.
            unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(libc::dlsym(handle, name.as_ptr()))() }
        };
        assert_eq!(call(c"outer_answer"), 42, "by the library's own path");
        assert_eq!(call(c"step"), 105, "the next one after the library");
    });
}

#[test]
fn lookup_in_the_c_library() {
    preloaded("lookup_in_the_c_library", || {
        let c_library = load(c"libc.so.6", libc::RTLD_NOW);
        // SAFETY: see the module.
        is_intercepted(unsafe { semget_of(c_library, c"semget")(KEY, 1, libc::IPC_CREAT | 0o600) });
        // SAFETY: see the module.
        is_intercepted(unsafe { semget_of(libc::RTLD_DEFAULT, c"semget")(KEY, 1, libc::IPC_CREAT | 0o600) });
        // SAFETY: see the module.
        let calls_by_number = unsafe { libc::dlsym(c_library, c"syscall".as_ptr()) };
        // SAFETY: the C library's prototype.
        let calls_by_number =
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_long, ...) -> c_long>(calls_by_number) };
        // SAFETY: see the module.
        is_intercepted(unsafe { calls_by_number(libc::SYS_semget, KEY, 1, libc::IPC_CREAT | 0o600) } as c_int);
        // A library's own function of that name is not replaced.
        let directory = tempfile::tempdir().unwrap();
        let own =
            library(directory.path(), "libown.so", "int semget(int key, int n, int flags) { return key + n + flags; }\n", &[]);
        // SAFETY: see the module.
        assert_eq!(unsafe { semget_of(load(&own, libc::RTLD_NOW), c"semget")(1, 2, 3) }, 6);
        for missing in [c"no_such_function", c"semge", c"semgett"] {
            // SAFETY: a NUL-terminated name.
            assert!(unsafe { libc::dlsym(c_library, missing.as_ptr()) }.is_null());
        }
    });
}

/// Other numbers reach the kernel unchanged.
#[test]
fn calls_by_number() {
    preloaded("calls_by_number", || {
        // SAFETY: see the module.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_getpid), c_long::from(libc::getpid()));
            for (number, expected) in
                [(-1, libc::ENOSYS), (511, libc::ENOSYS), (512, libc::ENOSYS), (i64::from(i32::MAX), libc::ENOSYS)]
            {
                assert_eq!((libc::syscall(number), errno()), (-1, expected), "{number}");
            }
            assert_eq!(libc::syscall(1 << 40 | libc::SYS_getpid), c_long::from(libc::getpid()));
            is_intercepted(libc::syscall(1 << 40 | libc::SYS_semget, KEY, 1, libc::IPC_CREAT | 0o600) as c_int);
            // Six arguments, and a result that uses the upper half.
            let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
            let file = std::fs::File::open("/proc/self/exe").unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            let at = libc::syscall(libc::SYS_mmap, 0usize, PAGE, prot, flags, fd, 0usize);
            assert_eq!(std::slice::from_raw_parts((at as usize as *const u8).add(1), 3), b"ELF");
            *libc::__errno_location() = 77;
            assert_eq!((libc::syscall(libc::SYS_munmap, at, PAGE), errno()), (0, 77));
            assert_eq!((libc::syscall(libc::SYS_munmap, at + 1, PAGE), errno()), (-1, libc::EINVAL));
            let fd = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/proc/self/comm".as_ptr(), libc::O_RDONLY);
            let mut name = [0 as c_char; 4];
            assert_eq!(libc::syscall(libc::SYS_read, fd, name.as_mut_ptr(), 4), 4);
            assert_eq!(libc::syscall(libc::SYS_close, fd), 0);
            assert_eq!((libc::syscall(libc::SYS_shmctl, 0, libc::IPC_STAT, 16), errno()), (-1, libc::EINVAL));
            // A segment is attached and unmapped by number.
            let id = libc::syscall(libc::SYS_shmget, KEY, PAGE, libc::IPC_CREAT | 0o600);
            let at = libc::syscall(libc::SYS_shmat, id, 0usize, 0);
            assert_ne!(at, -1);
            *(at as usize as *mut u64) = 7;
            assert_eq!(libc::syscall(libc::SYS_munmap, at, PAGE), 0);
            let mut ds: libc::shmid_ds = std::mem::zeroed();
            assert_eq!(libc::syscall(libc::SYS_shmctl, id, libc::IPC_STAT, &raw mut ds), 0);
            assert_eq!(ds.shm_nattch, 0);
            assert_eq!(libc::syscall(libc::SYS_shmctl, id, libc::IPC_RMID, 0usize), 0);
        }
    });
}

/// The emulated files are served by number, too.
#[test]
fn files_by_number() {
    preloaded("files_by_number", || {
        let (path, mut text) = (c"/proc/sys/kernel/msgmni", [0u8; 16]);
        // SAFETY: see the module.
        unsafe {
            let fd = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) as c_int;
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            assert_eq!(libc::syscall(libc::SYS_write, fd, c"77\n".as_ptr(), 3), 3);
            let vector = libc::iovec { iov_base: c"x".as_ptr().cast_mut().cast(), iov_len: 1 };
            assert_eq!((libc::syscall(libc::SYS_pwrite64, fd, c"x".as_ptr(), 1, 0), errno()), (-1, libc::EINVAL));
            assert_eq!(libc::syscall(libc::SYS_writev, fd, &raw const vector, 1), 1, "further data is ignored");
            assert_eq!(libc::pread(fd, text.as_mut_ptr().cast(), 16, 0), 3);
            assert_eq!(&text[..3], b"77\n");
            assert_eq!(libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::W_OK), 0);
            let bad = libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, 16, libc::W_OK);
            assert_eq!((bad, errno()), (-1, libc::EFAULT));
            assert_eq!((libc::syscall(libc::SYS_openat, libc::AT_FDCWD, 16, libc::O_RDONLY), errno()), (-1, libc::EFAULT));
            assert_eq!(libc::close(fd), 0);
        }
        assert_eq!(Namespace::open_default().unwrap().limits().unwrap().msgmni, 77);
    });
}

/// An exit by number applies the adjustments of `SEM_UNDO`.
#[test]
fn exit_group_by_number_undoes() {
    preloaded("exit_group_by_number_undoes", || {
        let id = set(1, 0o600);
        assert_eq!(control(id, 0, SETVAL, 5), 0);
        let child = fork(|| {
            assert_eq!(operate(id, op(0, -1, SEM_UNDO)), 0);
            // SAFETY: ends the process.
            unsafe { libc::syscall(libc::SYS_exit_group, 3) };
        });
        assert_eq!(end(child), 3);
        assert_eq!(value(id), 5);
    });
}

/// A program or a library that defines `dlsym`, and a library behind this one that defines the same
/// functions.
#[test]
fn other_libraries_wrap_dlsym_and_exit() {
    preloaded("other_libraries_wrap_dlsym_and_exit", || {
        let directory = tempfile::tempdir().unwrap();
        let look_up = "#define _GNU_SOURCE\n#include <dlfcn.h>\n\
            void *dlsym(void *handle, const char *name) {\n\
                static void *(*real)(void *, const char *);\n\
                static const char *const versions[] = {\"GLIBC_2.34\", \"GLIBC_2.2.5\", \"GLIBC_2.17\"};\n\
                for (int i = 0; i < 3 && !real; i++) real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, \"dlsym\", versions[i]);\n\
                return real(handle, name);\n\
            }\n";
        let end = "#include <sys/syscall.h>\n#include <unistd.h>\n#include <string.h>\n\
            void _exit(int status) { syscall(SYS_exit_group, status + 1); for (;;); }\n\
            void _Exit(int status) { syscall(SYS_exit_group, status + 2); for (;;); }\n";
        let start = "#include <stdlib.h>\n#include <unistd.h>\n#include <fcntl.h>\n\
            int main(int argc, char **argv) { close(open(\"/dev/null\", O_RDONLY)); if (argc > 1) _Exit(10); _exit(10); }\n";
        let looks_up = library(directory.path(), "liblooksup.so", look_up, &[]).into_string().unwrap();
        let ends = library(directory.path(), "libends.so", end, &[]).into_string().unwrap();
        let (source, plain, own) =
            (directory.path().join("start.c"), directory.path().join("plain"), directory.path().join("own"));
        std::fs::write(&source, start).unwrap();
        assert!(Command::new("cc").arg("-o").arg(&plain).arg(&source).status().expect("cc").success());
        let looks_up_itself = directory.path().join("liblooksup.c");
        let mut cc = Command::new("cc");
        cc.args(["-rdynamic", "-o"]).arg(&own).arg(&source).arg(looks_up_itself);
        assert!(cc.status().expect("cc").success());
        let preload = std::env::var("LD_PRELOAD").unwrap();
        let status = |program: &Path, preload: &[&str], arguments: &[&str]| {
            Command::new(program).env("LD_PRELOAD", preload.join(":")).args(arguments).status().unwrap().code()
        };
        assert_eq!(status(&own, &[&preload], &[]), Some(10));
        assert_eq!(status(&plain, &[&looks_up, &preload], &[]), Some(10));
        assert_eq!(status(&plain, &[&preload, &looks_up], &[]), Some(10));
        assert_eq!(status(&plain, &[&preload, &ends], &[]), Some(11));
        assert_eq!(status(&plain, &[&preload, &ends], &["at once"]), Some(12));
    });
}
