//! Streams (`FILE`).
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use crate::compare::compare;
use crate::files::*;
use crate::support::{self, errno, fork};
use libc::O_WRONLY;
use std::ptr::null_mut;

#[test]
fn streams() {
    // SAFETY: open streams, until they are closed.
    compare("streams::streams", |found| unsafe {
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
