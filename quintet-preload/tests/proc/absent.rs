//! Systems without these files, and processes without a namespace.
//!
//! # Safety
//!
//! See the crate.
#![allow(unsafe_code)]

use crate::compare::{Found, is_body, on_quintet};
use crate::files::*;
use crate::support::errno;
use libc::O_WRONLY;
use std::ffi::CStr;

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
    let Some(found) = on_quintet("absent::without_proc", &["--mount"], "mount -t tmpfs none /proc") else { return };
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
    let Some(found) = on_quintet("absent::without_a_namespace", &[], "export QUINTET_NAMESPACE=/nonexistent/namespace") else {
        return;
    };
    assert_eq!(found, "read: (Err(2), Err(2))\naccess: (-1, 2)\nstream: (true, 2)\n");
}
