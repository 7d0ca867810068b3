//! Values, offsets and descriptors of writes.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use crate::compare::Found;
use crate::compare::compare;
use crate::files::*;
use crate::support::*;
use libc::{O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::ptr::null_mut;

#[test]
fn written_values() {
    compare("writing::written_values", |found| {
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
    compare("writing::write_offsets", |found| {
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
    compare("writing::passed_on_descriptors", |found| unsafe {
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

/// The differences that docs/semantics.md states.
#[test]
fn differences() {
    preloaded("writing::differences", || {
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
    preloaded("writing::writing_costs_no_further_call", || {
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
