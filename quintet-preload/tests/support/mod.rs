//! Runs the body of a test a second time, in a process of its own with the library preloaded.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals. After `fork` the child has only the thread of the
//! test.
// Not every test file uses all of it.
#![allow(dead_code, unsafe_code)]

pub mod filter;
pub mod run;

use libc::{c_int, c_long, c_void, sembuf};
use quintet::{Kind, Namespace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::{Builder, TempDir};

/// The upper bound of every wait. It guards against hanging and measures nothing.
pub const BOUND: Duration = Duration::from_secs(60);
pub const PRELOADED: &str = "QUINTET_TEST_PRELOADED";

/// Runs `body` in a process with the library, on a new namespace that every user may enter. `name`
/// is the name of the test.
pub fn preloaded(name: &str, body: impl FnOnce()) {
    preloaded_by(name, |_, _| {}, body);
}

/// As [`preloaded`]; `prepare` changes the command of the process and gets the path of the
/// namespace.
pub fn preloaded_by(name: &str, prepare: impl FnOnce(&mut Command, &Path), body: impl FnOnce()) {
    if std::env::var_os(PRELOADED).is_some() {
        return body();
    }
    let directory = place();
    let namespace = directory.path().join("ns");
    Namespace::create(&namespace, Kind::Shared).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env("LD_PRELOAD", library())
        .env("QUINTET_NAMESPACE", &namespace)
        .env(PRELOADED, "1");
    prepare(&mut command, &namespace);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{name}: {}", output.status);
    assert!(text.contains("1 passed"), "{name} is not the name of a test");
}

/// Returns the directory for namespaces.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() }
}

/// Returns a new directory that every user may enter, in memory if possible.
pub fn place() -> TempDir {
    let directory = Builder::new().prefix("quintet-test-").tempdir_in(memory()).unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), all).unwrap();
    directory
}

/// Returns the path of the library, built once in the profile and the target directory of this
/// test.
pub fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| library_for(None)).clone()
}

/// As [`library`], for another target.
pub fn library_for(target: Option<&str>) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let profile = exe.parent().and_then(Path::parent).expect("a test is in PROFILE/deps");
    let directory = profile.parent().unwrap();
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "quintet-preload", "--lib", "--profile", name, "--target-dir"]).arg(directory);
    let built = match target {
        Some(target) => {
            let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
            build.args(["--target", target]).env("RUSTFLAGS", "-C target-feature=-crt-static").env(linker, "musl-gcc");
            directory.join(target).join(profile.file_name().unwrap())
        }
        None => profile.to_owned(),
    };
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "cannot build quintet-preload");
    built.join("libquintet_preload.so")
}

/// Compiles `c/NAME.c` and runs it on the kernel, and with the library on new namespaces. The
/// program exits with 0 if everything is as expected.
pub fn c_program(name: &str) {
    c_program_with(name, None);
}

/// As [`c_program`], with a further library preloaded before.
pub fn c_program_with(name: &str, further: Option<&Path>) {
    let Some((_place, program)) = compiled(name, &["-pthread"]) else { return };
    let preloaded = |libraries: &[&Path]| {
        let all = further.iter().copied().chain(libraries.iter().copied());
        all.map(|library| library.to_str().unwrap()).collect::<Vec<_>>().join(":")
    };
    let run = |what: &str, command: &mut Command| {
        let output = match command.output() {
            Err(e) if what == "kernel" && e.raw_os_error() == Some(libc::EPERM) => {
                println!("skipped on the kernel: no IPC namespace of its own: {e}");
                return;
            }
            output => output.unwrap(),
        };
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        println!("{what}: {text}");
        assert!(output.status.success(), "{name}, {what}: {}: {text}", output.status);
    };
    run("kernel", in_own_ipc(Command::new(&program).env("LD_PRELOAD", preloaded(&[]))));
    let directory = Builder::new().prefix("quintet-test-").tempdir_in(memory()).unwrap();
    for kind in [Kind::Private, Kind::Shared] {
        let namespace = directory.path().join(format!("{kind:?}"));
        Namespace::create(&namespace, kind).unwrap();
        let mut command = Command::new(&program);
        command.env("LD_PRELOAD", preloaded(&[&library()])).env("QUINTET_NAMESPACE", &namespace);
        run(&format!("{kind:?}"), &mut command);
        check_clean(&namespace);
    }
}

/// Checks that processes that have ended hold nothing and are not attached.
fn check_clean(namespace: &Path) {
    let namespace = Namespace::open(namespace).unwrap();
    namespace.sweep().unwrap();
    let attached: u64 = namespace.segments().unwrap().iter().map(|segment| segment.stat.nattch).sum();
    assert_eq!(attached, 0);
}

/// Compiles a C program. Returns its path and the directory that keeps it, or `None` if there is no
/// compiler.
pub fn compiled(name: &str, flags: &[&str]) -> Option<(TempDir, PathBuf)> {
    let around = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(around).unwrap();
    let place = Builder::new().tempdir_in(around).unwrap();
    let program = place.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/c/{name}.c"));
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g"]).args(flags).arg("-o").arg(&program).arg(source);
    match compiler.output() {
        Ok(output) => assert!(output.status.success(), "{name}.c: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => {
            assert!(std::env::var_os("CI").is_none(), "cc: {e}");
            println!("skipped: no C compiler: {e}");
            return None;
        }
    }
    Some((place, program))
}

/// Puts the command in an IPC namespace of its own. An ordinary user needs a user namespace for
/// that, with the same ids.
fn in_own_ipc(command: &mut Command) -> &mut Command {
    // SAFETY: cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ];
    // SAFETY: the closure makes system calls only.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(command, move || {
            if libc::unshare(libc::CLONE_NEWIPC) == 0 {
                return Ok(());
            }
            if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWIPC) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            maps.iter().try_for_each(|(path, text)| std::fs::write(path, text))
        })
    }
}

pub const PAGE: usize = 4096;

/// Maps this many pages, followed by one that cannot be accessed.
pub fn brink(pages: usize) -> usize {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, and a change of its last page.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), (pages + 1) * PAGE, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(at.byte_add(pages * PAGE), PAGE, libc::PROT_NONE), 0);
        at as usize
    }
}

pub const GETVAL: c_int = 12;
pub const GETALL: c_int = 13;
pub const GETNCNT: c_int = 14;
pub const SETVAL: c_int = 16;
pub const SETALL: c_int = 17;
pub const SEM_INFO: c_int = 19;
pub const IPC_INFO: c_int = 3;
pub const SEM_UNDO: i16 = 0x1000;

pub fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

pub const fn op(sem_num: u16, sem_op: i16, sem_flg: i16) -> sembuf {
    sembuf { sem_num, sem_op, sem_flg }
}

/// Creates a private set of semaphores, all 0.
pub fn set(nsems: c_int, mode: c_int) -> c_int {
    // SAFETY: numbers only.
    let id = unsafe { libc::semget(libc::IPC_PRIVATE, nsems, mode) };
    assert!(id >= 0, "semget: {}", std::io::Error::last_os_error());
    id
}

/// Calls `semop` with one operation. Returns 0 or the error number.
pub fn operate(id: c_int, mut operation: sembuf) -> c_int {
    // SAFETY: a local.
    if unsafe { libc::semop(id, &raw mut operation, 1) } == 0 { 0 } else { errno() }
}

/// Calls `semctl` with a number.
pub fn control(id: c_int, num: c_int, command: c_int, value: c_int) -> c_int {
    // SAFETY: numbers only.
    unsafe { libc::semctl(id, num, command, value) }
}

pub fn value(id: c_int) -> c_int {
    control(id, 0, GETVAL, 0)
}

/// Creates a private queue.
pub fn queue(mode: c_int) -> c_int {
    // SAFETY: numbers only.
    let id = unsafe { libc::msgget(libc::IPC_PRIVATE, mode) };
    assert!(id >= 0, "msgget: {}", std::io::Error::last_os_error());
    id
}

/// Calls `msgsnd` without waiting. Returns 0 or the error number.
pub fn send(id: c_int, message: usize, len: usize) -> c_int {
    // SAFETY: a bad address is passed on purpose, and must not be used.
    if unsafe { libc::msgsnd(id, message as *const c_void, len, libc::IPC_NOWAIT) } == 0 { 0 } else { errno() }
}

/// Calls `msgrcv` without waiting. Returns the number of bytes, or the negative error number.
pub fn receive(id: c_int, buffer: usize, size: usize, mtype: c_long, flags: c_int) -> isize {
    // SAFETY: as above.
    let n = unsafe { libc::msgrcv(id, buffer as *mut c_void, size, mtype, flags | libc::IPC_NOWAIT) };
    if n >= 0 { n } else { -(errno() as isize) }
}

/// Runs `body` in a child and returns its process id. The child exits with 0, or with 101 if it
/// panics.
pub fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: see the module.
    match unsafe { libc::fork() } {
        0 => {
            // A process that waits for this one's output must not wait for a child.
            // SAFETY: numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the process.
            unsafe { libc::_exit(if ok { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "fork: {}", std::io::Error::last_os_error());
            pid
        }
    }
}

/// Waits for a child. Returns its exit status, or the negative number of its signal.
pub fn end(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: a local.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        assert_eq!(errno(), libc::EINTR);
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// Waits until a condition holds, for at most [`BOUND`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {BOUND:?}");
        std::thread::yield_now();
    }
}

/// Returns `true` if the only thread of a process waits in an intercepted call.
pub fn waits(pid: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
    call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex)
}

/// Returns the number of messages and of bytes in a queue.
pub fn content(id: c_int) -> (u64, u64) {
    let mut ds = std::mem::MaybeUninit::<libc::msqid_ds>::zeroed();
    // SAFETY: a local of its type, for which zeroes are valid.
    let ds = unsafe {
        assert_eq!(libc::msgctl(id, libc::IPC_STAT, ds.as_mut_ptr()), 0);
        ds.assume_init()
    };
    (ds.msg_qnum as u64, ds.__msg_cbytes as u64)
}

pub fn is_root() -> bool {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Runs `round` repeatedly in a child that may call only `read`, `write` and the `exit` of a
/// thread; any other system call kills it. `round` returns the number of its failures. The first
/// rounds fill the library's caches.
#[track_caller]
pub fn without_system_calls(mut round: impl FnMut() -> c_int) {
    let child = fork(|| {
        assert_eq!((round(), round()), (0, 0));
        // SAFETY: a number.
        if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } != 0 {
            println!("skipped: no seccomp: {}", std::io::Error::last_os_error());
            return;
        }
        let failed: c_int = (0..100).map(|_| round()).sum();
        // SAFETY: ends the process, which has only this thread.
        unsafe { libc::syscall(libc::SYS_exit, failed) };
    });
    assert_eq!(end(child), 0);
}

/// Creates a private segment and attaches it. Returns its identifier and its address.
pub fn attached(size: usize) -> (c_int, usize) {
    // SAFETY: a new mapping at an address that the kernel chooses.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, size, 0o600);
        assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        let at = libc::shmat(id, std::ptr::null(), 0);
        assert_ne!(at as isize, -1, "shmat: {}", std::io::Error::last_os_error());
        (id, at as usize)
    }
}

/// Returns the number of attachments of a segment.
pub fn attach_count(id: c_int) -> u64 {
    let mut ds = std::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: a local of its type, for which zeroes are valid.
    unsafe {
        assert_eq!(libc::shmctl(id, libc::IPC_STAT, ds.as_mut_ptr()), 0);
        ds.assume_init().shm_nattch as u64
    }
}
