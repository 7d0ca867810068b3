//! The log of the library, which the program must not notice.
//!
//! # Safety
//!
//! Calls get numbers, and pointers to locals. After `fork` the child has only the thread of the
//! test.
#![allow(unsafe_code)]

mod support;

use libc::{EACCES, EAGAIN, EFAULT, ENOSYS, c_int, c_long, c_void};
use std::ffi::CString;
use std::process::Command;
use support::run::*;
use support::*;

unsafe extern "C" {
    fn semtimedop(id: c_int, ops: *mut libc::sembuf, count: usize, timeout: *const libc::timespec) -> c_int;
}

/// Returns a line without process, time and duration.
fn bare(line: &str) -> String {
    let text = line.splitn(3, ' ').nth(2).unwrap_or(line);
    let end = text.rfind(" <").unwrap_or(text.len());
    text[..end].to_owned()
}

fn log_file(level: &'static str, name: &'static str) -> impl FnOnce(&mut Command, &Place) {
    move |command, place| {
        command.env("QUINTET_LOG", level).env("QUINTET_LOG_FILE", place.join(name));
    }
}

#[test]
fn debug_lines_look_like_strace() {
    let debug = |command: &mut Command, _: &Place| {
        command.env("QUINTET_LOG", "debug");
    };
    let ran = run("debug_lines_look_like_strace", debug, || {
        // SAFETY: see the module.
        unsafe {
            let null = std::ptr::null();
            assert_eq!(libc::shmget(0x5149, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o640), 0);
            let at = libc::shmat(0, null, libc::SHM_RDONLY);
            let mut ds: libc::shmid_ds = std::mem::zeroed();
            assert_eq!(libc::shmctl(0, libc::IPC_STAT, &raw mut ds), 0);
            (ds.shm_perm.mode, ds.shm_perm.uid, ds.shm_perm.gid) = (0o600, 3, 4);
            fails(libc::shmctl(7, libc::IPC_SET, &raw mut ds), libc::EINVAL);
            fails(libc::shmctl(0, 99, std::ptr::null_mut()), libc::EINVAL);
            fails(libc::shmctl(0, libc::IPC_STAT, 16 as *mut _), EFAULT);
            assert_eq!(libc::shmdt(at), 0);
            assert_eq!(libc::shmctl(0, libc::IPC_RMID, std::ptr::null_mut()), 0);

            assert_eq!(libc::semget(libc::IPC_PRIVATE, 2, 0o600), 0);
            assert_eq!((control(0, 1, SETVAL, 5), control(0, 1, GETVAL, 0)), (0, 5));
            let mut ops = [op(0, 1, SEM_UNDO), op(1, -6, libc::IPC_NOWAIT as i16)];
            fails(libc::semop(0, ops.as_mut_ptr(), 2), EAGAIN);
            let time = libc::timespec { tv_sec: 0, tv_nsec: 1000 };
            fails(semtimedop(0, &raw mut ops[1], 1, &raw const time), EAGAIN);
            fails(libc::semop(0, 16 as *mut _, 1), EFAULT);
            let mut ds: libc::semid_ds = std::mem::zeroed();
            assert_eq!(libc::semctl(0, 0, libc::IPC_STAT, &raw mut ds), 0);
            (ds.sem_perm.mode, ds.sem_perm.uid) = (0o640, 3);
            fails(libc::semctl(7, 0, libc::IPC_SET, &raw mut ds), libc::EINVAL);
            fails(libc::semctl(0, 0, 99, 16), libc::EINVAL);
            assert_eq!(libc::semctl(0, 0, libc::IPC_RMID), 0);

            assert_eq!(libc::msgget(0x7149, libc::IPC_CREAT | 0o600), 0);
            let mut message: [c_long; 2] = [3, 0];
            assert_eq!(libc::msgsnd(0, message.as_ptr().cast(), 5, libc::IPC_NOWAIT), 0);
            assert_eq!(libc::msgrcv(0, message.as_mut_ptr().cast(), 3, -4, 0o10000), 3);
            let mut ds: libc::msqid_ds = std::mem::zeroed();
            assert_eq!(libc::msgctl(0, libc::IPC_STAT, &raw mut ds), 0);
            (ds.msg_perm.mode, ds.msg_qbytes) = (0o620, 77);
            fails(libc::msgctl(7, libc::IPC_SET, &raw mut ds), libc::EINVAL);
            fails(libc::msgctl(0, 99, std::ptr::null_mut()), libc::EINVAL);
            // Unknown flags.
            fails(libc::shmget(0x5150, 1, 0x4000_0000 | 0o600), libc::ENOENT);
            fails(libc::shmget(0x5150, 1, 0x4000_0000), libc::ENOENT);
            fails(libc::ftok(c"/no\nsuch".as_ptr(), 1), libc::ENOENT);
        }
    });
    let Some((output, _)) = ran else { return };
    let lines: Vec<String> = reported(&output).iter().map(|line| bare(line)).collect();
    let known = |line: &str| {
        let line = line.split(", cpid=").next().unwrap_or(line).split(", otime=").next().unwrap_or(line);
        let line = line.split(", lspid=").next().unwrap_or(line).to_owned();
        let hidden = |line: &str, from: &str, to: &str| {
            let Some(start) = line.find(from).map(|at| at + from.len()) else { return line.to_owned() };
            let end = line[start..].find(to).map_or(line.len(), |at| start + at);
            format!("{}?{}", &line[..start], &line[end..])
        };
        let line = hidden(&line, "uid=", ", mode");
        if line.starts_with("shmat") || line.starts_with("shmdt") || line.starts_with("msgrcv") {
            return hidden(&line, "0x", if line.starts_with("shmdt") { ")" } else { "," });
        }
        line
    };
    let lines: Vec<String> = lines.iter().map(|line| known(line)).collect();
    let expected = [
        "shmget(0x5149, 4096, IPC_CREAT|IPC_EXCL|0640) = 0",
        "shmat(0, NULL, SHM_RDONLY) = 0x?",
        "shmctl(0, IPC_STAT, {key=0x5149, uid=?, mode=0640, seq=0, segsz=4096, nattch=1",
        "shmctl(7, IPC_SET, {uid=?, mode=0600}) = -1 EINVAL (invalid argument)",
        "shmctl(0, 99, NULL) = -1 EINVAL (invalid argument)",
        "shmctl(0, IPC_STAT, 0x10) = -1 EFAULT (bad address)",
        "shmdt(0x?) = 0",
        "shmctl(0, IPC_RMID, NULL) = 0",
        "semget(IPC_PRIVATE, 2, 0600) = 0",
        "semctl(0, 1, SETVAL, 5) = 0",
        "semctl(0, 1, GETVAL) = 5",
        "semop(0, [{0, 1, SEM_UNDO}, {1, -6, IPC_NOWAIT}], 2) = -1 EAGAIN (resource temporarily unavailable)",
        "semtimedop(0, [{1, -6, IPC_NOWAIT}], 1, {0, 1000}) = -1 EAGAIN (resource temporarily unavailable)",
        "semop(0, 0x10, 1) = -1 EFAULT (bad address)",
        "semctl(0, 0, IPC_STAT, {key=IPC_PRIVATE, uid=?, mode=0600, seq=0, nsems=2",
        "semctl(7, 0, IPC_SET, {uid=?, mode=0640}) = -1 EINVAL (invalid argument)",
        "semctl(0, 0, 99, 0x10) = -1 EINVAL (invalid argument)",
        "semctl(0, 0, IPC_RMID) = 0",
        "msgget(0x7149, IPC_CREAT|0600) = 0",
        "msgsnd(0, {type 3}, 5, IPC_NOWAIT) = 0",
        "msgrcv(0, 0x?, 3, -4, MSG_NOERROR, {type 3}) = 3",
        "msgctl(0, IPC_STAT, {key=0x7149, uid=?, mode=0600, seq=0, qnum=0, cbytes=0, qbytes=16384",
        "msgctl(7, IPC_SET, {uid=?, mode=0620, qbytes=77}) = -1 EINVAL (invalid argument)",
        "msgctl(0, 99, NULL) = -1 EINVAL (invalid argument)",
        "shmget(0x5150, 1, 0x40000000|0600) = -1 ENOENT (no such object)",
        "shmget(0x5150, 1, 0x40000000|0000) = -1 ENOENT (no such object)",
        "ftok(\"/no?such\", 1) = -1 ENOENT (no such object)",
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !line.starts_with("uses the private")).collect();
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(*line, expected);
    }
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
}

#[test]
fn levels_select_messages() {
    let name = "levels_select_messages";
    for (level, expected) in [
        (None, 1),
        (Some(""), 1),
        (Some("off"), 0),
        (Some("error"), 1),
        (Some("warn"), 1),
        (Some("info"), 1),
        (Some("debug"), 3),
        (Some("loud"), 2),
    ] {
        let set = |command: &mut Command, _: &Place| {
            level.map(|level| command.env("QUINTET_LOG", level));
            command.env("QUINTET_NAMESPACE", "/proc");
        };
        let ran = run(name, set, || {
            for _ in 0..2 {
                // SAFETY: numbers only.
                fails(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) }, ENOSYS);
            }
        });
        let Some((output, _)) = ran else { return };
        let lines = reported(&output);
        assert_eq!(lines.len(), expected, "{level:?}: {lines:?}");
        if level == Some("loud") {
            assert_eq!(lines[0], "quintet: warning: there is no QUINTET_LOG=loud; use off, error, warn, info or debug");
        }
        let error = "quintet: error: no System V IPC for this program: cannot create the namespace /proc: ";
        assert_eq!(lines.iter().filter(|line| line.starts_with(error)).count(), usize::from(level != Some("off")));
    }
}

#[test]
fn info_reports_forks_and_credentials() {
    let info = |command: &mut Command, _: &Place| {
        command.env("QUINTET_LOG", "info");
    };
    let ran = run("info_reports_forks_and_credentials", info, || {
        set(1, 0o600);
        assert_eq!(end(fork(|| {})), 0);
        // SAFETY: numbers only.
        unsafe {
            assert_eq!(libc::seteuid(libc::geteuid()), 0);
            fails(libc::seteuid(u32::MAX), libc::EINVAL);
        }
        println!("\npid {}", std::process::id());
    });
    let Some((output, place)) = ran else { return };
    let out = String::from_utf8_lossy(&output.stdout);
    let pid = out.lines().find_map(|line| line.strip_prefix("pid ")).unwrap();
    let lines: Vec<String> = reported(&output).iter().map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned()).collect();
    let real = place.join("ns").canonicalize().unwrap();
    // SAFETY: cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let expected = [
        format!("uses the private namespace {}", real.display()),
        format!("is a child of {pid}"),
        format!("seteuid: the effective user id is now {user}, the group id {group}"),
        "seteuid failed".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn lines_of_several_processes_do_not_mix() {
    const PROCESSES: usize = 4;
    const EACH: usize = 200;
    let ran = run("lines_of_several_processes_do_not_mix", log_file("debug", "lines"), || {
        let id = set(1, 0o600);
        let children: Vec<c_int> =
            (0..PROCESSES).map(|_| fork(|| (0..EACH).for_each(|_| assert_eq!(operate(id, op(0, 1, 0)), 0)))).collect();
        for child in children {
            assert_eq!(end(child), 0);
        }
    });
    let Some((output, place)) = ran else { return };
    assert!(reported(&output).is_empty());
    let text = std::fs::read_to_string(place.join("lines")).unwrap();
    let lines = text.lines().filter(|line| bare(line) == "semop(0, [{0, 1, 0}], 1) = 0").count();
    assert_eq!(lines, PROCESSES * EACH);
    assert!(text.lines().all(|line| line.starts_with("quintet[")));
    let mode = std::os::unix::fs::MetadataExt::mode(&place.join("lines").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

/// Each process has its own file, in the working directory of the start.
#[test]
fn percent_p_names_a_file_for_each_process() {
    let relative = |command: &mut Command, _: &Place| {
        command.env("QUINTET_LOG", "debug").env("QUINTET_LOG_FILE", "lines.%p.100%%");
    };
    let ran = run("percent_p_names_a_file_for_each_process", relative, || {
        let before = descriptors();
        let id = set(1, 0o600);
        std::env::set_current_dir("/").unwrap();
        let child = fork(|| assert_eq!(operate(id, op(0, 1, 0)), 0));
        assert_eq!(end(child), 0);
        assert_eq!(descriptors(), before);
        println!("\npids {} {child}", std::process::id());
    });
    let Some((output, place)) = ran else { return };
    let out = String::from_utf8_lossy(&output.stdout);
    let pids: Vec<&str> = out.lines().find_map(|line| line.strip_prefix("pids ")).unwrap().split(' ').collect();
    for (pid, call) in pids.iter().zip(["semget(", "semop("]) {
        let text = std::fs::read_to_string(place.join(&format!("lines.{pid}.100%"))).unwrap();
        assert!(text.lines().all(|line| line.starts_with(&format!("quintet[{pid}"))), "{text}");
        assert!(text.lines().any(|line| bare(line).starts_with(call)), "{text}");
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The file must not be one that another user chose.
#[test]
fn log_file_must_not_be_a_symlink() {
    let set = |command: &mut Command, place: &Place| {
        std::os::unix::fs::symlink(place.join("other"), place.join("link")).unwrap();
        command.env("QUINTET_LOG", "debug").env("QUINTET_LOG_FILE", place.join("link"));
    };
    let Some((output, place)) = run("log_file_must_not_be_a_symlink", set, || {
        support::set(1, 0o600);
        support::set(1, 0o600);
    }) else {
        return;
    };
    let link = place.join("link");
    let why = "too many levels of symbolic links (ELOOP); its lines are lost";
    assert_eq!(reported(&output), [format!("quintet: warning: cannot write to QUINTET_LOG_FILE {}: {why}", link.display())]);
    assert!(!place.join("other").exists());
}

/// A file that the program has opened as descriptor 2 is left alone, and a pipe without a reader
/// does not end the program.
#[test]
fn reused_descriptor_2_is_left_alone() {
    let debug = |command: &mut Command, _: &Place| {
        command.env("QUINTET_LOG", "debug");
    };
    let ran = run("reused_descriptor_2_is_left_alone", debug, || {
        let id = set(1, 0o600);
        let operate_once = || assert_eq!(operate(id, op(0, 1, 0)), 0);
        let child = fork(|| {
            let data = CString::new(format!("data.{}", std::process::id())).unwrap();
            // SAFETY: see the module.
            unsafe {
                libc::close(2);
                operate_once();
                assert_eq!(libc::open(data.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600), 2);
                operate_once();
                let mut stat: libc::stat = std::mem::zeroed();
                assert_eq!(libc::fstat(2, &raw mut stat), 0);
                assert_eq!(stat.st_size, 0);
            }
        });
        assert_eq!(end(child), 0);
        let child = fork(|| {
            let mut ends = [0; 2];
            // SAFETY: see the module. A test program ignores SIGPIPE, most programs do not.
            unsafe {
                libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
                libc::dup2(ends[1], 2);
                libc::close(ends[0]);
                operate_once();
                *libc::__errno_location() = 1234;
                operate_once();
                assert_eq!(errno(), 1234);
                let mut pending: libc::sigset_t = std::mem::zeroed();
                libc::sigpending(&raw mut pending);
                assert_eq!(libc::sigismember(&raw const pending, libc::SIGPIPE), 0);
            }
        });
        assert_eq!(end(child), 0);
    });
    let Some((output, _)) = ran else { return };
    assert!(!reported(&output).iter().any(|line| line.contains("semop")));
}

/// As above, with a pipe from the start. Its reader has exited.
#[test]
fn pipe_without_a_reader_does_not_kill() {
    if std::env::var_os(INSIDE).is_none() {
        let place = Place::new();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read go; ipcmk -S 1 >/dev/null; ipcmk -S 1 >/dev/null; echo $?"])
            .env("QUINTET_LOG", "debug")
            .env("QUINTET_NAMESPACE", place.join("ns"))
            .env("LD_PRELOAD", library())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
        assert!(output.status.success(), "{}", output.status);
    }
}

/// A waiting call is logged when it goes to sleep. Calls of its signal handler are logged, too.
#[test]
fn waiting_calls_are_logged_when_they_sleep() {
    let ran = run("waiting_calls_are_logged_when_they_sleep", log_file("debug", "lines"), || {
        extern "C" fn handler(_: c_int) {
            assert_eq!(control(0, 0, GETVAL, 0), 0);
        }
        let id = set(1, 0o600);
        assert_eq!(id, 0);
        let waiting = fork(|| {
            // SAFETY: a handler of this test, which does not restart the interrupted call.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
            }
            assert_eq!(operate(id, op(0, -1, 0)), libc::EINTR);
            assert_eq!(operate(id, op(0, -1, 0)), 0);
        });
        let lines = |what: &str| {
            let text = std::fs::read_to_string("lines").unwrap();
            text.lines().filter(|line| line.starts_with(&format!("quintet[{waiting}]")) && line.contains(what)).count()
        };
        until("the first sleep", || lines("waits") == 1 && waits(waiting));
        // SAFETY: numbers only.
        unsafe { libc::kill(waiting, libc::SIGUSR1) };
        until("the second sleep", || lines("waits") == 2 && waits(waiting));
        assert_eq!(operate(id, op(0, 1, 0)), 0);
        assert_eq!(end(waiting), 0);
        let text = std::fs::read_to_string("lines").unwrap();
        let own: Vec<String> = text.lines().filter(|line| line.starts_with(&format!("quintet[{waiting}]"))).map(bare).collect();
        let call = "semop(0, [{0, -1, 0}], 1)";
        let child = format!("is a child of {}", std::process::id());
        let interrupted = format!("{call} = -1 EINTR (interrupted by a signal)");
        let expected = [
            child,
            format!("{call} waits"),
            "semctl(0, 0, GETVAL) = 0".to_owned(),
            interrupted,
            format!("{call} waits"),
            format!("{call} = 0"),
        ];
        assert_eq!(own, expected);
    });
    drop(ran);
}

#[test]
fn errno_and_vfork_child() {
    let ran = run("errno_and_vfork_child", log_file("debug", "lines"), || {
        let id = set(1, 0o600);
        // SAFETY: the child calls and ends; the parent waits for it meanwhile.
        unsafe {
            *libc::__errno_location() = 1234;
            assert_eq!(operate(id, op(0, 1, 0)), 0);
            assert_eq!(errno(), 1234);
            #[allow(deprecated)]
            let child = libc::vfork();
            if child == 0 {
                libc::_exit(operate(id, op(0, 1, 0)));
            }
            assert_eq!(end(child), 0);
            assert_eq!(value(id), 2);
            let text = std::fs::read_to_string("lines").unwrap();
            assert!(text.lines().any(|line| line.starts_with(&format!("quintet[{child}")) && line.contains("semop(")), "{text}");
        }
    });
    drop(ran);
}

/// A thread with the smallest stack, and a file at the file size limit.
#[test]
fn smallest_stack_and_file_size_limit() {
    let ran = run("smallest_stack_and_file_size_limit", log_file("debug", "lines"), || {
        extern "C" fn body(_: *mut c_void) -> *mut c_void {
            let result = operate(0, op(0, 1, 0));
            result as usize as *mut c_void
        }
        assert_eq!(set(1, 0o600), 0);
        assert_eq!(operate(0, op(0, 1, 0)), 0);
        // SAFETY: see the module.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
            assert_eq!(libc::pthread_attr_setstacksize(&raw mut attributes, libc::PTHREAD_STACK_MIN), 0);
            let mut thread = 0;
            assert_eq!(libc::pthread_create(&raw mut thread, &raw const attributes, body, std::ptr::null_mut()), 0);
            let mut result = std::ptr::null_mut();
            assert_eq!(libc::pthread_join(thread, &raw mut result), 0);
            assert!(result.is_null());
            let len = std::fs::metadata("lines").unwrap().len();
            let limit = libc::rlimit { rlim_cur: len, rlim_max: libc::RLIM_INFINITY };
            libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
            assert_eq!(operate(0, op(0, 1, 0)), 0);
            assert_eq!(std::fs::metadata("lines").unwrap().len(), len);
        }
        assert_eq!(value(0), 3);
    });
    drop(ran);
}

/// A process that may not enter its namespace reports why.
#[test]
fn inaccessible_namespace_is_reported() {
    let ran = run(
        "inaccessible_namespace_is_reported",
        |_, _| {},
        || {
            if !is_root() {
                return println!("skipped: not root");
            }
            // SAFETY: numbers only.
            unsafe {
                assert_eq!(libc::setuid(65533), 0);
                fails(libc::semget(libc::IPC_PRIVATE, 1, 0o600), EACCES);
            }
        },
    );
    let Some((output, place)) = ran else { return };
    if String::from_utf8_lossy(&output.stdout).contains("skipped") {
        return;
    }
    let lines = reported(&output);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let begin =
        format!("quintet: error: no System V IPC for this program: cannot open the namespace {}", place.join("ns").display());
    assert!(lines[0].starts_with(&begin) && lines[0].contains("EACCES"), "{}", lines[0]);
}
