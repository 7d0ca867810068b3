//! `/proc/sysvipc` and the limits in `/proc/sys/kernel`, as a program opens, reads and writes them.
//! The body of each test runs on the kernel's files, in an IPC namespace of its own, and on the
//! emulated ones. Its findings must be the same.
//!
//! # Safety
//!
//! Strings are literals, or end with a NUL. Buffers are locals of the given length, except for bad
//! pointers on purpose. The children of `fork` have one thread.
#![allow(unsafe_code)]

mod support;

use libc::{O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
use libc::{c_char, c_int, c_void};
use quintet::{Kind, Namespace};
use std::ffi::{CStr, CString};
use std::fmt::Debug;
use std::io::Write;
use std::process::Command;
use std::ptr::null_mut;
use support::*;

/// The file to which a body in a process of its own writes its findings.
const FINDINGS: &str = "QUINTET_TEST_FINDINGS";

/// The findings of a body, line by line.
#[derive(Default)]
struct Found(String);

impl Found {
    fn add(&mut self, what: &str, found: impl Debug) {
        self.0 += &format!("{what}: {found:?}\n");
    }
}

fn unshare(further: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--ipc").args(further);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

/// Runs the body of a test on the emulated files, in new namespaces of the kernel, after a shell
/// has run `prepare`. Returns the findings.
fn on_quintet(name: &str, further: &[&str], prepare: &str) -> Option<String> {
    let directory = directory();
    let namespace = directory.path().join("ns");
    Namespace::create(&namespace, Kind::Shared).unwrap();
    let mut command = unshare(further);
    command.env("PRELOAD", library()).env("QUINTET_NAMESPACE", &namespace);
    found(command, name, &format!("{prepare}\nLD_PRELOAD=$PRELOAD exec \"$0\" \"$@\""), directory.path())
}

fn directory() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let place = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
    let directory = tempfile::Builder::new().prefix("quintet-test-").tempdir_in(place).unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

fn found(mut command: Command, name: &str, script: &str, place: &std::path::Path) -> Option<String> {
    let findings = place.join("findings");
    command.args(["sh", "-ec", script]).arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    let output = command.arg("--test-threads=1").env(FINDINGS, &findings).current_dir(place).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "unshare is missing");
        println!("skipped: no unshare here");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match std::fs::read_to_string(findings) {
        Ok(found) if output.status.success() => Some(found),
        _ if text.starts_with("unshare: ") => {
            println!("skipped: {text}");
            None
        }
        _ => panic!("{name}: {}\n{text}", output.status),
    }
}

/// Runs the body if this process was started for it. Returns `true` in that case.
fn is_body(body: fn(&mut Found)) -> bool {
    let Some(to) = std::env::var_os(FINDINGS) else { return false };
    // The file is created first, because a body may become another user.
    let mut file = std::fs::File::create(to).unwrap();
    let mut found = Found::default();
    body(&mut found);
    file.write_all(found.0.as_bytes()).unwrap();
    true
}

/// Runs `body` on both kinds of files and compares. `name` is the name of the test.
fn compare(name: &str, body: fn(&mut Found)) {
    if is_body(body) {
        return;
    }
    let place = directory();
    let Some(kernel) = found(unshare(&[]), name, "exec \"$0\" \"$@\"", place.path()) else { return };
    let Some(quintet) = on_quintet(name, &[], "") else { return };
    assert!(!kernel.is_empty());
    for (quintet, kernel) in quintet.lines().zip(kernel.lines()) {
        assert_eq!(quintet, kernel, "(left: Quintet, right: the kernel)");
    }
    assert_eq!(quintet.lines().count(), kernel.lines().count());
}

const SHMMNI: &CStr = c"/proc/sys/kernel/shmmni";
const SEM: &CStr = c"/proc/sys/kernel/sem";
const LIST: &CStr = c"/proc/sysvipc/shm";

/// Returns the value of a call, or the error number.
fn outcome(ret: isize) -> Result<isize, c_int> {
    if ret >= 0 { Ok(ret) } else { Err(errno()) }
}

fn open(path: &CStr, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: see the module.
    outcome(unsafe { libc::open(path.as_ptr(), flags, 0o600) } as isize).map(|fd| fd as c_int)
}

fn close(fd: c_int) {
    // SAFETY: a number.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

fn write(fd: c_int, text: &[u8]) -> Result<isize, c_int> {
    // SAFETY: see the module.
    outcome(unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) })
}

fn position(fd: c_int) -> isize {
    // SAFETY: numbers.
    unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) as isize }
}

fn read(fd: c_int) -> Result<String, c_int> {
    let mut buffer = [0u8; 4096];
    // SAFETY: see the module.
    let len = outcome(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })?;
    Ok(String::from_utf8_lossy(&buffer[..len as usize]).into_owned())
}

/// Returns the contents of a file.
fn text(path: &CStr) -> Result<String, c_int> {
    let fd = open(path, O_RDONLY)?;
    let text = read(fd);
    close(fd);
    text
}

#[test]
fn written_values() {
    compare("written_values", |found| {
        let of = |name: &str, texts: &[&[u8]], found: &mut Found| {
            let path = CString::new(format!("/proc/sys/kernel/{name}")).unwrap();
            for written in texts {
                let before = text(&path).unwrap();
                let fd = open(&path, O_WRONLY).unwrap();
                let result = (write(fd, written), position(fd));
                close(fd);
                let shown = written[..written.len().min(40)].escape_ascii();
                found.add(&format!("{name} {shown}"), (result, text(&path)));
                let fd = open(&path, O_WRONLY).unwrap();
                let _ = write(fd, before.as_bytes());
                close(fd);
            }
        };
        let (long, longer) = ([b"5".as_slice(), &[b' '; 5000]].concat(), [b"5".as_slice(), &[b' '; 4094], b"6"].concat());
        let numbers: [&[u8]; 28] = [
            b"5",
            b"5\n",
            b" 5\n",
            b"\n\t\x0b 5 \n\n",
            b"5 6\n",
            b"5,6",
            b"5\0",
            b"",
            b"\n",
            b"-1",
            b"+5",
            b"0x10",
            b"010",
            b"0x",
            b"09",
            b"32768",
            b"32769",
            b"99999999999",
            b"99999999999999999999999",
            b"000000000000000000005",
            b"\xa05",
            b"-",
            b"- 5",
            b"x",
            b"5\r\n",
            b"5\x0b",
            &long,
            &longer,
        ];
        of("shmmni", &numbers, found);
        let longs: [&[u8]; 8] =
            [b"18446744073709551615", b"18446744073709551616", b"-1", b"-0", b"1 2", b"0xffffffffffffffff", b"1k", b"0"];
        of("shmmax", &longs, found);
        of("shmall", &longs, found);
        of("shm_rmid_forced", &[b"1", b"0", b"2", b"-1"], found);
        let ints: [&[u8]; 6] = [b"-1", b"2147483647", b"2147483648", b"32768", b"32769", b"0"];
        for name in ["msgmax", "msgmnb", "msgmni"] {
            of(name, &ints, found);
        }
        let several: [&[u8]; 12] = [
            b"1 2 3 4",
            b"1\t2\t3\t4\n",
            b"100",
            b"1 2",
            b"1 2 3 4 5",
            b"1 x",
            b"1 2 3 40000",
            b"1 2 3 -1",
            b"1,2,3,4",
            b"1 99999999999 3 4",
            b"\n",
            b"1  2",
        ];
        of("sem", &several, found);
    });
}

#[test]
fn write_offsets() {
    compare("write_offsets", |found| {
        for (name, flags) in [("appended", O_APPEND), ("truncated", O_TRUNC | O_CREAT), ("plain", 0)] {
            let fd = open(SHMMNI, O_RDWR | flags).unwrap();
            found.add(name, (write(fd, b"70"), position(fd), text(SHMMNI), write(fd, b"1"), text(SHMMNI), position(fd)));
            // SAFETY: see the module.
            let at = |offset, text: &[u8]| outcome(unsafe { libc::pwrite(fd, text.as_ptr().cast(), text.len(), offset) });
            found.add("pwrite", (at(0, b"71"), text(SHMMNI), at(3, b"72"), text(SHMMNI), at(-1, b"73"), position(fd)));
            // SAFETY: numbers.
            assert_eq!(unsafe { libc::lseek(fd, 0, libc::SEEK_SET) }, 0);
            found.add("read again", (read(fd), read(fd)));
            let pieces = [b"7".as_slice(), b"4", b" \n"];
            let pieces = pieces.map(|text| libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() });
            // SAFETY: see the module.
            unsafe {
                assert_eq!(libc::lseek(fd, 0, libc::SEEK_SET), 0);
                found.add("writev", (outcome(libc::writev(fd, pieces.as_ptr(), 3)), text(SHMMNI)));
                found.add("pwritev", (outcome(libc::pwritev(fd, pieces.as_ptr(), 2, 0)), text(SHMMNI)));
                found.add(
                    "bad",
                    (outcome(libc::writev(fd, pieces.as_ptr(), -1)), outcome(libc::write(fd, 16 as *const c_void, 2))),
                );
                assert_eq!(libc::lseek(fd, 0, libc::SEEK_SET), 0);
                found.add(
                    "bad",
                    (outcome(libc::write(fd, 16 as *const c_void, 2)), outcome(libc::write(fd, 16 as *const c_void, 0))),
                );
                found.add("ftruncate", outcome(libc::ftruncate(fd, 0) as isize));
            }
            close(fd);
        }
        let end = |path, flags| {
            let fd = open(path, flags).unwrap();
            // SAFETY: numbers.
            let end = unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
            let written = write(fd, b"75");
            close(fd);
            (end, written)
        };
        found.add("at the end", (end(SHMMNI, O_WRONLY), text(SHMMNI)));
    });
}

#[test]
fn open_flags() {
    compare("open_flags", |found| {
        let ways = [
            O_RDONLY,
            O_WRONLY,
            O_RDWR,
            O_RDWR | O_CREAT | O_EXCL,
            O_RDWR | O_EXCL,
            O_RDONLY | O_DIRECT,
            O_DIRECTORY,
            O_RDONLY | libc::O_CLOEXEC,
            O_RDWR | libc::O_NOFOLLOW,
            O_RDONLY | libc::O_PATH,
            O_RDONLY | libc::O_NONBLOCK,
        ];
        for path in [SHMMNI, SEM, LIST] {
            for flags in ways {
                let before = 77;
                // SAFETY: the location is valid for the thread's life.
                unsafe { *libc::__errno_location() = before };
                let opened = open(path, flags);
                found.add(&format!("{path:?} {flags:o}"), (opened, errno()));
                let Ok(fd) = opened else { continue };
                // SAFETY: numbers.
                let (access, cloexec) = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
                let access = access & (libc::O_ACCMODE | libc::O_PATH | libc::O_NONBLOCK);
                let reads = read(fd).map(|text| text.starts_with([' ', '3', '4']));
                found.add("descriptor", (access, cloexec, reads, write(fd, b"x")));
                close(fd);
            }
        }
        // SAFETY: bad pointers on purpose, which the kernel refuses.
        unsafe {
            let bad = 16 as *const c_char;
            found.add("bad", outcome(libc::open(bad, O_RDONLY) as isize));
            found.add("bad", outcome(libc::openat(libc::AT_FDCWD, bad, O_RDONLY) as isize));
            found.add("bad", outcome(libc::access(bad, 0) as isize));
            found.add("bad", (libc::fopen(bad, c"r".as_ptr()).is_null(), errno()));
        }
        let kept: Vec<_> = (0..3).map(|_| open(LIST, O_RDONLY)).collect();
        found.add("the lowest numbers", kept);
        let next = open(LIST, O_RDONLY).unwrap();
        close(next);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a local.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
            let few = libc::rlimit { rlim_cur: next as libc::rlim_t + 1, ..limit };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few), 0);
        }
        found.add("the last descriptor", open(SHMMNI, O_RDONLY).map(|fd| (fd, read(fd))));
        found.add("one more", open(SHMMNI, O_RDONLY));
        // SAFETY: a local.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    });
}

/// As above through `syscall(2)`, with each number that opens a file or checks access.
#[test]
fn calls_by_number() {
    use libc::{AT_FDCWD, syscall};
    // SAFETY: see the module; a bad pointer on purpose, which the kernel refuses.
    compare("calls_by_number", |found| unsafe {
        let path = SHMMNI.as_ptr();
        let content = |fd: libc::c_long| {
            let fd = outcome(fd as isize)? as c_int;
            let content = read(fd);
            close(fd);
            content
        };
        let (how, create) = ([O_RDONLY as u64, 0, 0], [(O_RDONLY | O_CREAT | O_EXCL) as u64, 0o600, 0]);
        let openat2 = |how: *const u64| content(syscall(libc::SYS_openat2, AT_FDCWD, path, how, 24usize));
        found.add("open", content(syscall(libc::SYS_open, path, O_RDONLY)));
        found.add("open, exclusive", content(syscall(libc::SYS_open, path, O_RDONLY | O_CREAT | O_EXCL, 0o600)));
        found.add("openat", content(syscall(libc::SYS_openat, AT_FDCWD, path, O_RDONLY)));
        found.add("openat2", (openat2(how.as_ptr()), openat2(create.as_ptr()), openat2(std::ptr::null())));
        let fd = syscall(libc::SYS_creat, path, 0o600) as c_int;
        found.add("creat", (write(fd, b"76"), text(SHMMNI)));
        close(fd);
        for permissions in [0, libc::R_OK, libc::W_OK, libc::X_OK, 8] {
            let asked = [
                syscall(libc::SYS_access, path, permissions),
                syscall(libc::SYS_faccessat, AT_FDCWD, path, permissions),
                syscall(libc::SYS_faccessat2, AT_FDCWD, path, permissions, libc::AT_EACCESS),
            ];
            found.add(&format!("access {permissions}"), (asked, errno()));
        }
        let fd = open(SHMMNI, O_WRONLY).unwrap();
        let pieces = [b"7".as_slice(), b"7"];
        let pieces = pieces.map(|text| libc::iovec { iov_base: text.as_ptr().cast_mut().cast(), iov_len: text.len() });
        found.add("write", (syscall(libc::SYS_write, fd, c"75".as_ptr(), 2usize), text(SHMMNI)));
        found.add("writev", (syscall(libc::SYS_writev, fd, pieces.as_ptr(), 2usize), text(SHMMNI)));
        found.add("pwrite", (syscall(libc::SYS_pwrite64, fd, c"78".as_ptr(), 2usize, 0usize), text(SHMMNI)));
        close(fd);
    });
}

#[test]
fn paths() {
    compare("paths", |found| {
        std::os::unix::fs::symlink("/proc/sys", "link").unwrap();
        std::fs::write("shmmni", "a file of its own\n").unwrap();
        std::fs::create_dir("sys").unwrap();
        let absolute = [
            c"//proc//sys/./kernel/shmmni",
            c"/proc/self/../sys/kernel/shmmni",
            c"/proc/sys/kernel/../../sysvipc/shm",
            c"/proc/sys/kernel/shmmni/",
            c"/proc/sysvipc",
            c"/proc/sysvipc/shmmni",
            c"/proc/sys/kernel/shm",
            c"/nonexistent/shm",
            c"link/kernel/shmmni",
            c"shmmni",
            c"./shmmni",
            c"sys/shmmni",
            c"",
        ];
        for path in absolute {
            found.add(&format!("{path:?}"), text(path));
        }
        // SAFETY: see the module.
        unsafe {
            let folder = open(c"/proc/sys", O_RDONLY | O_DIRECTORY).unwrap();
            found.add("a directory", outcome(libc::openat(folder, c"kernel/sem".as_ptr(), O_RDONLY) as isize));
            found.add("what is in it", read(folder + 1));
            found.add("creat", outcome(libc::creat(SHMMNI.as_ptr(), 0o600) as isize));
            found.add("access", outcome(libc::faccessat(folder, c"kernel/sem".as_ptr(), libc::R_OK, 0) as isize));
            found.add("no directory", outcome(libc::openat(77, c"sem".as_ptr(), O_RDONLY) as isize));
            assert_eq!(libc::chdir(c"/proc/sys/kernel".as_ptr()), 0);
        }
        for path in [c"shmmni", c"./sem", c"../../sysvipc/sem", c"shm", c"../kernel//msgmni"] {
            found.add(&format!("{path:?}"), text(path));
        }
    });
}

#[test]
fn permissions() {
    compare("permissions", |found| {
        let ask = |found: &mut Found| {
            for path in [LIST, SEM, c"/proc/sys/kernel/shm_next_id"] {
                for mode in [libc::F_OK, libc::R_OK, libc::W_OK, libc::X_OK, libc::R_OK | libc::W_OK] {
                    // SAFETY: see the module.
                    let answers = unsafe {
                        let path = path.as_ptr();
                        let (a, b) = (libc::access(path, mode), libc::eaccess(path, mode));
                        [a, b, libc::euidaccess(path, mode), libc::faccessat(libc::AT_FDCWD, path, mode, libc::AT_EACCESS)]
                    };
                    found.add(&format!("{path:?} {mode}"), answers);
                }
                found.add("opened", [O_RDONLY, O_WRONLY, O_RDWR].map(|flags| open(path, flags).map(close)));
            }
        };
        ask(found);
        // SAFETY: numbers. A user namespace of this test has no other user.
        let another = unsafe { libc::getuid() == 0 && libc::setgroups(0, std::ptr::null()) == 0 };
        if another {
            let before = open(SHMMNI, O_WRONLY).unwrap();
            // SAFETY: numbers.
            assert_eq!(unsafe { (libc::setgid(65534), libc::setuid(65534)) }, (0, 0));
            ask(found);
            found.add("opened before", write(before, b"9"));
        }
    });
}

type Stream = *mut libc::FILE;

fn stream(path: &CStr, mode: &CStr) -> Stream {
    // SAFETY: see the module.
    unsafe { libc::fopen(path.as_ptr(), mode.as_ptr()) }
}

fn put(stream: Stream, text: &CStr) {
    // SAFETY: an open stream.
    assert!(unsafe { libc::fputs(text.as_ptr(), stream) } >= 0);
}

fn line(stream: Stream) -> String {
    let mut buffer = [0 as c_char; 100];
    // SAFETY: an open stream, and a buffer of that length.
    unsafe {
        let read = libc::fgets(buffer.as_mut_ptr(), 100, stream);
        if read.is_null() { String::new() } else { CStr::from_ptr(read).to_str().unwrap().to_owned() }
    }
}

unsafe extern "C" {
    static mut stdout: Stream;
    fn freopen64(path: *const c_char, mode: *const c_char, stream: Stream) -> Stream;
    fn dprintf(fd: c_int, format: *const c_char, ...) -> c_int;
}

#[test]
fn streams() {
    // SAFETY: open streams, until they are closed.
    compare("streams", |found| unsafe {
        let f = stream(SHMMNI, c"w");
        put(f, c"55\n");
        found.add("w", (libc::fileno(f) > 2, text(SHMMNI), libc::fclose(f), text(SHMMNI)));
        let f = stream(SHMMNI, c"w");
        put(f, c"much\n");
        found.add("refused by fflush", (libc::fflush(f), errno(), libc::ferror(f) != 0, libc::fclose(f)));
        let f = stream(SHMMNI, c"w");
        put(f, c"99999\n");
        found.add("refused by fclose", (libc::fclose(f), errno(), text(SHMMNI)));
        let f = stream(SHMMNI, c"r+e");
        let read = line(f);
        libc::rewind(f);
        put(f, c"56\n");
        let flushed = libc::fflush(f);
        libc::rewind(f);
        found.add("r+", (read, flushed, line(f), libc::fclose(f), text(SHMMNI)));
        let f = stream(SHMMNI, c"a");
        libc::setvbuf(f, null_mut(), libc::_IONBF, 0);
        put(f, c"57");
        found.add("a", (libc::fclose(f), text(SHMMNI)));
        let f = stream(SHMMNI, c"w+");
        put(f, c"58\n");
        libc::rewind(f);
        found.add("w+", (line(f), libc::fclose(f), text(SHMMNI)));
        let f = stream(SHMMNI, c"w");
        put(f, c"59\n");
        found.add("all", (libc::fflush(null_mut()), text(SHMMNI)));
        put(f, c"60\n");
        found.add("what comes after it", (libc::fclose(f), text(SHMMNI)));
        found.add("exclusive", (stream(SHMMNI, c"wx").is_null(), errno()));
        found.add("not there", (stream(c"/proc/sysvipc/shmmni", c"r").is_null(), errno()));
        let fd = open(SHMMNI, O_WRONLY).unwrap();
        found.add("dprintf", (dprintf(fd, c"%d\n".as_ptr(), 61), libc::close(fd), text(SHMMNI)));
        let f = stream(SHMMNI, c"r");
        let (first, f) = (line(f), libc::freopen(SEM.as_ptr(), c"r".as_ptr(), f));
        let (second, f) = (line(f), libc::freopen(SHMMNI.as_ptr(), c"w".as_ptr(), f));
        put(f, c"62\n");
        let f = libc::freopen(SHMMNI.as_ptr(), c"r".as_ptr(), f);
        found.add("freopen", (first, second, line(f), libc::fclose(f)));
        let f = freopen64(SHMMNI.as_ptr(), c"w".as_ptr(), stream(SEM, c"r"));
        put(f, c"63\n");
        found.add(
            "freopen64",
            (libc::fclose(f), text(SHMMNI), freopen64(SHMMNI.as_ptr(), c"wx".as_ptr(), stream(SEM, c"r")).is_null()),
        );
        let ended = |end: fn()| {
            let child = fork(|| {
                put(stream(SHMMNI, c"w"), c"63\n");
                end()
            });
            (support::end(child), text(SHMMNI))
        };
        found.add("exit", ended(|| libc::exit(3)));
        let f = stream(SHMMNI, c"w");
        put(f, c"64\n");
        found.add("a child's copy", (ended(|| libc::_exit(4)), libc::fclose(f), text(SHMMNI)));
    });
}

unsafe extern "C" {
    fn vfork() -> c_int;
}

fn echo(what: &CStr) -> c_int {
    // SAFETY: see the module.
    unsafe { libc::execl(c"/bin/echo".as_ptr(), c"echo".as_ptr(), what.as_ptr(), null_mut::<c_char>()) }
}

#[test]
fn passed_on_descriptors() {
    // SAFETY: numbers; see the module.
    compare("passed_on_descriptors", |found| unsafe {
        let fd = open(SHMMNI, O_WRONLY).unwrap();
        let copy = libc::dup(fd);
        close(fd);
        found.add("dup", (write(copy, b"80\n"), text(SHMMNI)));
        let child = fork(|| assert_eq!(libc::pwrite(copy, c"81".as_ptr().cast(), 2, 0), 2));
        found.add("fork", (end(child), text(SHMMNI)));
        close(copy);
        let child = fork(|| {
            assert_eq!(libc::dup2(open(SHMMNI, O_WRONLY).unwrap(), 1), 1);
            echo(c"82");
        });
        found.add("exec", (end(child), text(SHMMNI)));
        let child = fork(|| {
            assert_eq!(libc::dup2(open(SHMMNI, O_WRONLY).unwrap(), 1), 1);
            assert_eq!(libc::dup2(open(c"/dev/null", O_WRONLY).unwrap(), 2), 2);
            echo(c"much");
        });
        found.add("exec, refused", (end(child), text(SHMMNI)));
        let child = vfork();
        if child == 0 {
            libc::dup2(libc::open(SHMMNI.as_ptr(), O_WRONLY), 1);
            echo(c"83");
            libc::_exit(9);
        }
        found.add("vfork", (end(child), text(SHMMNI)));
        // As a shell redirects without fork.
        let child = fork(|| {
            let (keep, fd) = (libc::dup(1), open(SHMMNI, O_WRONLY | O_TRUNC).unwrap());
            libc::fflush(stdout);
            assert_eq!(libc::dup2(fd, 1), 1);
            close(fd);
            put(stdout, c"84\n");
            assert_eq!(libc::fflush(stdout), 0);
            put(stdout, c"85\n");
            assert_eq!(libc::fflush(stdout), 0);
            assert_eq!(libc::dup2(keep, 1), 1);
        });
        found.add("redirected", (end(child), text(SHMMNI)));
        // Pending data of a stream is applied when another file replaces its descriptor.
        let f = stream(SHMMNI, c"w");
        put(f, c"86\n");
        assert_eq!(libc::fflush(f), 0);
        let (to, null) = (libc::fileno(f), open(c"/dev/null", O_WRONLY).unwrap());
        found.add(
            "dup3",
            (outcome(libc::dup3(null, to, libc::O_CLOEXEC) as isize).is_ok(), text(SHMMNI), write(to, b"87"), text(SHMMNI)),
        );
        found.add("dup3, refused", (outcome(libc::dup3(null, null, 0) as isize), outcome(libc::dup3(null, to, 1) as isize)));
        close(null);
        libc::fclose(f);
        // Afterwards no file is known, and other descriptors are written as usual.
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer) = (std::os::fd::AsRawFd::as_raw_fd(&reader), std::os::fd::AsRawFd::as_raw_fd(&writer));
        found.add("a pipe", (write(writer, b"through"), read(reader)));
    });
}

mod cancelled {
    use super::*;

    // A cancelled thread is unwound out of these.
    unsafe extern "C-unwind" {
        fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        fn write(fd: c_int, from: *const c_void, len: usize) -> isize;
        fn fopen(path: *const c_char, mode: *const c_char) -> Stream;
        fn pthread_create(to: *mut libc::pthread_t, attributes: *const c_void, start: Start, argument: *mut c_void) -> c_int;
    }
    unsafe extern "C" {
        fn pthread_cancel(thread: libc::pthread_t) -> c_int;
    }

    type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

    unsafe extern "C-unwind" fn opens(_: *mut c_void) -> *mut c_void {
        // SAFETY: a literal.
        unsafe { open(c"fifo".as_ptr(), O_RDONLY) as usize as *mut c_void }
    }

    unsafe extern "C-unwind" fn opens_a_stream(_: *mut c_void) -> *mut c_void {
        // SAFETY: literals.
        unsafe { fopen(c"fifo".as_ptr(), c"r".as_ptr()).cast() }
    }

    unsafe extern "C-unwind" fn writes(to: *mut c_void) -> *mut c_void {
        // SAFETY: a static.
        while unsafe { write(to as usize as c_int, [0u8; 4096].as_ptr().cast(), 4096) } > 0 {}
        null_mut()
    }

    /// Cancels a thread that waits in `start`. Returns `true` if it was cancelled.
    fn cancelled(start: Start, argument: usize) -> bool {
        let mut thread = 0;
        let before = tasks();
        // SAFETY: a local; the thread is joined.
        unsafe {
            assert_eq!(pthread_create(&raw mut thread, std::ptr::null(), start, argument as *mut c_void), 0);
            until("it sleeps", || {
                let new: Vec<_> = tasks().into_iter().filter(|task| !before.contains(task)).collect();
                new.len() == 1 && state(&new[0]) == Some('S')
            });
            assert_eq!(pthread_cancel(thread), 0);
            let mut value = null_mut();
            assert_eq!(libc::pthread_join(thread, &raw mut value), 0);
            value as isize == -1
        }
    }

    fn tasks() -> Vec<String> {
        let all = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Returns the state of a task as in proc(5).
    fn state(task: &str) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{task}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[test]
    fn threads() {
        compare("cancelled::threads", |found| {
            // SAFETY: literals and numbers.
            unsafe { assert_eq!(libc::mkfifo(c"fifo".as_ptr(), 0o600), 0) };
            let (_reader, writer) = std::io::pipe().unwrap();
            let writer = std::os::fd::AsRawFd::as_raw_fd(&writer) as usize;
            found.add("in open", cancelled(opens, 0));
            found.add("in fopen", cancelled(opens_a_stream, 0));
            found.add("in write", cancelled(writes, writer));
            // Again while an emulated file is open.
            let fd = super::open(SHMMNI, O_WRONLY).unwrap();
            found.add("in write", cancelled(writes, writer));
            found.add("a file", (super::write(fd, b"5"), text(SHMMNI)));
        });
    }
}

/// `/proc` is not mounted.
#[test]
fn without_proc() {
    fn body(found: &mut Found) {
        found.add("there", (text(SHMMNI), text(c"/proc/cpuinfo")));
        for path in [LIST, SHMMNI] {
            // SAFETY: see the module.
            found.add("access", unsafe { (libc::access(path.as_ptr(), libc::R_OK), libc::access(path.as_ptr(), libc::X_OK)) });
        }
        let is_there = |path: &CStr| {
            use std::os::unix::fs::MetadataExt;
            // SAFETY: zeroes are valid, and locals.
            let mut stats: [libc::stat; 3] = unsafe { std::mem::zeroed() };
            let [a, b, c] = &mut stats;
            // SAFETY: see the module.
            let rets = unsafe {
                let path = path.as_ptr();
                (libc::stat(path, a), libc::lstat(path, b), libc::fstatat(libc::AT_FDCWD, path, c, 0))
            };
            let meta = std::fs::metadata(path.to_str().unwrap()).map(|meta| (meta.mode(), meta.nlink(), meta.len()));
            (rets, stats.map(|stat| stat.st_mode), meta.map_err(|e| e.raw_os_error()))
        };
        found.add("stat", (is_there(LIST), is_there(SEM), is_there(c"/proc/sysvipc/sems")));
        // SAFETY: a bad pointer on purpose.
        found.add("bad", (unsafe { libc::stat(SEM.as_ptr(), 16 as *mut libc::stat) }, errno()));
        found.add("list", text(LIST).map(|text| text.lines().count()));
        let fd = open(SHMMNI, O_WRONLY).unwrap();
        found.add("written", (write(fd, b"90\n"), text(SHMMNI)));
        close(fd);
        // SAFETY: open streams.
        unsafe {
            let f = stream(SHMMNI, c"w");
            put(f, c"91\n");
            found.add("stream", (libc::fclose(f), text(SHMMNI)));
            let f = libc::freopen(SHMMNI.as_ptr(), c"r".as_ptr(), stream(SEM, c"r"));
            found.add("stream", (line(f), libc::fclose(f)));
        }
    }
    if is_body(body) {
        return;
    }
    let Some(found) = on_quintet("without_proc", &["--mount"], "mount -t tmpfs none /proc") else { return };
    let expected = "there: (Ok(\"4096\\n\"), Err(2))\naccess: (0, -1)\naccess: (0, -1)\n\
                    stat: (((0, 0, 0), [33060, 33060, 33060], Ok((33060, 1, 0))), ((0, 0, 0), [33188, 33188, 33188], Ok((33188, 1, 0))), \
                    ((-1, -1, -1), [0, 0, 0], Err(Some(2))))\nbad: (-1, 14)\nlist: Ok(1)\nwritten: (Ok(3), Ok(\"90\\n\"))\n\
                    stream: (0, Ok(\"91\\n\"))\nstream: (\"91\\n\", 0)\n";
    assert_eq!(found, expected);
}

/// Without a usable namespace the files do not exist.
#[test]
fn without_a_namespace() {
    fn body(found: &mut Found) {
        found.add("read", (text(SHMMNI), text(LIST)));
        // SAFETY: see the module.
        found.add("access", unsafe { (libc::access(LIST.as_ptr(), libc::F_OK), errno()) });
        found.add("stream", (stream(SEM, c"w").is_null(), errno()));
    }
    if is_body(body) {
        return;
    }
    let Some(found) = on_quintet("without_a_namespace", &[], "export QUINTET_NAMESPACE=/nonexistent/namespace") else { return };
    assert_eq!(found, "read: (Err(2), Err(2))\naccess: (-1, 2)\nstream: (true, 2)\n");
}

/// The differences that docs/semantics.md states.
#[test]
fn differences() {
    preloaded("differences", || {
        let set = |text: &[u8]| {
            let fd = open(SEM, O_WRONLY).unwrap();
            let written = write(fd, text);
            close(fd);
            (written, text_of(SEM))
        };
        let as_before = "32000\t1024000000\t500\t32000\n";
        assert_eq!(set(b"70000 2 600 4"), (Err(libc::EINVAL), as_before.to_owned()));
        assert_eq!(set(b"-1 2 3 4"), (Err(libc::EINVAL), as_before.to_owned()));
        assert_eq!(set(b"100 200 600 4"), (Err(libc::EINVAL), "100\t200\t500\t32000\n".to_owned()));
        let kept = open(SEM, O_RDONLY).unwrap();
        assert_eq!(set(b"1 2 3 4"), (Ok(7), "1\t2\t3\t4\n".to_owned()));
        let pieces: String = std::iter::from_fn(|| read_some(kept, 3)).collect();
        assert_eq!(pieces, "100\t200\t500\t32000\n");
        close(kept);
    });
}

fn text_of(path: &CStr) -> String {
    text(path).unwrap()
}

fn read_some(fd: c_int, len: usize) -> Option<String> {
    let mut buffer = vec![0u8; len];
    // SAFETY: see the module.
    let read = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), len) };
    buffer.truncate(read as usize);
    (read > 0).then(|| String::from_utf8(buffer).unwrap())
}

/// Without an open emulated file, a write makes no further system call, even if one was open
/// before.
#[test]
fn writing_costs_no_further_call() {
    preloaded("writing_costs_no_further_call", || {
        // The pipe holds everything that is written.
        let (_reader, writer) = std::io::pipe().unwrap();
        let to = std::os::fd::AsRawFd::as_raw_fd(&writer);
        for had in [false, true] {
            if had {
                let fd = open(SHMMNI, O_WRONLY).unwrap();
                assert_eq!(write(fd, b"5"), Ok(1));
                close(fd);
            }
            without_system_calls(|| c_int::from(write(to, b"x") != Ok(1)));
        }
    });
}
