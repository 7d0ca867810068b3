//! Runs a test's body again, in a process of its own with the drop-in loaded.
//!
//! # Safety
//!
//! Numbers, and pointers to locals. After `fork` the child is the test's own thread alone.
// Not every test file needs all of it.
#![allow(dead_code, unsafe_code)]

pub mod filter;
pub mod run;

use libc::{c_int, c_long, c_void, sembuf};
use quintet::{Kind, Namespace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::{Builder, TempDir};

/// The most that anything may take: an upper bound against hanging, never a measurement.
pub const BOUND: Duration = Duration::from_secs(60);
pub const PRELOADED: &str = "QUINTET_TEST_PRELOADED";

/// `body` in a process with the drop-in, on a fresh namespace that anybody may enter. `name` is the test's own name.
pub fn preloaded(name: &str, body: impl FnOnce()) {
    preloaded_by(name, |_, _| {}, body);
}

/// The same, in a process that `prepare` starts otherwise; it gets the namespace, too.
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

/// Where the namespaces lie.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() }
}

/// A directory that anybody may enter, in memory if that can be.
pub fn place() -> TempDir {
    let directory = Builder::new().prefix("quintet-test-").tempdir_in(memory()).unwrap();
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), all).unwrap();
    directory
}

/// The drop-in, built in the profile and the target directory of this test.
pub fn library() -> PathBuf {
    library_for(None)
}

/// The same, for another target.
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
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "the drop-in cannot be built");
    built.join("libquintet_preload.so")
}

/// Compiles `c/NAME.c` and runs it, on the kernel and with the drop-in on fresh namespaces: it says by its status whether all was as expected.
pub fn c_program(name: &str) {
    c_program_with(name, None);
}

/// The same with a further library preloaded, before the drop-in.
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

/// Who has ended has left nothing that is held or attached.
fn check_clean(namespace: &Path) {
    let namespace = Namespace::open(namespace).unwrap();
    namespace.sweep().unwrap();
    let attached: u64 = namespace.segments().unwrap().iter().map(|segment| segment.stat.nattch).sum();
    assert_eq!(attached, 0);
}

/// A C program of this name, compiled, and where it is as long as it is kept. `None`: there is no compiler.
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

/// In an IPC namespace of its own, for which an ordinary user needs a user namespace; he is the same in that.
fn in_own_ipc(command: &mut Command) -> &mut Command {
    // SAFETY: cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ];
    // SAFETY: system calls only.
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

/// So many pages, and behind them one that cannot be used.
pub fn brink(pages: usize) -> usize {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, and a change to the end of it.
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

/// A private set of this many semaphores, all 0.
pub fn set(nsems: c_int, mode: c_int) -> c_int {
    // SAFETY: numbers only.
    let id = unsafe { libc::semget(libc::IPC_PRIVATE, nsems, mode) };
    assert!(id >= 0, "semget: {}", std::io::Error::last_os_error());
    id
}

/// `semop` with one operation: 0 or the errno.
pub fn operate(id: c_int, mut operation: sembuf) -> c_int {
    // SAFETY: a local.
    if unsafe { libc::semop(id, &raw mut operation, 1) } == 0 { 0 } else { errno() }
}

/// `semctl` with a number.
pub fn control(id: c_int, num: c_int, command: c_int, value: c_int) -> c_int {
    // SAFETY: numbers only.
    unsafe { libc::semctl(id, num, command, value) }
}

pub fn value(id: c_int) -> c_int {
    control(id, 0, GETVAL, 0)
}

/// A private queue.
pub fn queue(mode: c_int) -> c_int {
    // SAFETY: numbers only.
    let id = unsafe { libc::msgget(libc::IPC_PRIVATE, mode) };
    assert!(id >= 0, "msgget: {}", std::io::Error::last_os_error());
    id
}

/// `msgsnd` without waiting: 0 or the errno.
pub fn send(id: c_int, message: usize, len: usize) -> c_int {
    // SAFETY: whoever passes a bad address knows that it is not used.
    if unsafe { libc::msgsnd(id, message as *const c_void, len, libc::IPC_NOWAIT) } == 0 { 0 } else { errno() }
}

/// `msgrcv` without waiting: how many bytes, or the errno as a negative number.
pub fn receive(id: c_int, buffer: usize, size: usize, mtype: c_long, flags: c_int) -> isize {
    // SAFETY: as above.
    let n = unsafe { libc::msgrcv(id, buffer as *mut c_void, size, mtype, flags | libc::IPC_NOWAIT) };
    if n >= 0 { n } else { -(errno() as isize) }
}

/// Runs `body` in a child; what `waitpid` says of its end. The child ends with status 0, or 101 if it panics.
pub fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: see the module.
    match unsafe { libc::fork() } {
        0 => {
            // Whoever waits for this process's output should not wait for a child, too.
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

/// How a child ended: its exit status, or the negative number of the signal.
pub fn end(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: a local.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        assert_eq!(errno(), libc::EINTR);
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}

/// Waits for a condition, for [`BOUND`] at the most.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {BOUND:?}");
        std::thread::yield_now();
    }
}

/// Whether the only thread of a process waits, in a call that was carried here.
pub fn waits(pid: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
    call.split(' ').next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex)
}

/// How many messages and bytes are in a queue.
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

/// Runs `round`, which tells how much of it has failed, again and again in a child that may make no system call but `read`, `write` and `exit`
/// of the thread: any other one kills it. The first rounds are for finding out what there is to know.
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
        // SAFETY: ends the process, whose only thread this is.
        unsafe { libc::syscall(libc::SYS_exit, failed) };
    });
    assert_eq!(end(child), 0);
}

/// A private segment of so many bytes, and where it is attached.
pub fn attached(size: usize) -> (c_int, usize) {
    // SAFETY: a new mapping, where there is room.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, size, 0o600);
        assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        let at = libc::shmat(id, std::ptr::null(), 0);
        assert_ne!(at as isize, -1, "shmat: {}", std::io::Error::last_os_error());
        (id, at as usize)
    }
}

/// How often a segment is attached.
pub fn attach_count(id: c_int) -> u64 {
    let mut ds = std::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: a local of its type, for which zeroes are valid.
    unsafe {
        assert_eq!(libc::shmctl(id, libc::IPC_STAT, ds.as_mut_ptr()), 0);
        ds.assume_init().shm_nattch as u64
    }
}
