//! Checks a program, its loader and its interpreters.

use crate::file::{ProgramFile, in_terminal, shell_word};
use crate::refusal::Refusal;
use crate::{elf, privileges, script, search};
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Checks that a file is a program that can run with the drop-in.
pub fn check(path: &Path) -> Result<(), Refusal> {
    check_nested(path, script::MAX_DEPTH)
}

fn check_nested(path: &Path, scripts_left: u32) -> Result<(), Refusal> {
    let stat = rustix::fs::stat(path).map_err(Refusal::system)?;
    executable(path, &stat)?;
    let Ok(file) = ProgramFile::open(path) else {
        // It is executable but not readable, so only its permissions can be checked.
        return privileges::check(path, &stat);
    };
    let head = file.head();
    if head.starts_with(elf::MAGIC) {
        elf::check(&file, path)?;
        privileges::check(path, &stat)
    } else if head.starts_with(b"#!") {
        check_script(head, scripts_left)
    } else if head.contains(&0) {
        Err(Refusal::new("it is neither an ELF program nor a script", Errno::NOEXEC))
    } else if scripts_left == 0 {
        Err(too_deep())
    } else {
        // As execvp(3) does for a file that the kernel does not recognize.
        check_nested(Path::new("/bin/sh"), 0)
    }
}

/// Checks the interpreter, and the program that `/usr/bin/env` would run.
fn check_script(head: &[u8], scripts_left: u32) -> Result<(), Refusal> {
    if scripts_left == 0 {
        return Err(too_deep());
    }
    let words = script::words(head);
    let Some((interpreter, arguments)) = words.split_first() else {
        return Err(Refusal::new("its first line names no interpreter", Errno::NOEXEC));
    };
    let path = Path::new(OsStr::from_bytes(interpreter));
    check_interpreter(path, scripts_left)?;
    match path.file_name() {
        Some(name) if name == "env" => check_env(arguments, scripts_left),
        _ => Ok(()),
    }
}

fn too_deep() -> Refusal {
    Refusal::new("its interpreters are scripts, too many levels deep", Errno::LOOP)
}

fn check_interpreter(path: &Path, scripts_left: u32) -> Result<(), Refusal> {
    check_nested(path, scripts_left - 1).map_err(|refusal| {
        let path = in_terminal(path);
        Refusal { reason: format!("its interpreter {path} cannot be executed: {}", refusal.reason), ..refusal }
    })
}

fn check_env(arguments: &[&[u8]], scripts_left: u32) -> Result<(), Refusal> {
    let Some(name) = script::program_of_env(arguments) else { return Ok(()) };
    let shown = in_terminal(Path::new(name));
    let path =
        search::resolve(name).ok_or_else(|| Refusal::new(format!("its interpreter {shown} is not in PATH"), Errno::NOENT))?;
    check_interpreter(&path, scripts_left)
}

fn executable(path: &Path, stat: &rustix::fs::Stat) -> Result<(), Refusal> {
    use rustix::fs::FileType;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Refusal::new("it is a directory", Errno::ACCESS)),
        _ => return Err(Refusal::new("it is not a regular file", Errno::ACCESS)),
    }
    let Err(error) = rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) else { return Ok(()) };
    let noexec = rustix::fs::statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC));
    Err(if noexec {
        Refusal::new("it is on a file system mounted noexec", Errno::ACCESS).remedy("copy it to another file system")
    } else if error == Errno::ACCESS && may_change_mode(stat) {
        Refusal::system(error).remedy(format!("'chmod +x {}' makes it executable", shell_word(path)))
    } else {
        Refusal::system(error)
    })
}

fn may_change_mode(stat: &rustix::fs::Stat) -> bool {
    let user = rustix::process::geteuid();
    user.is_root() || user.as_raw() == stat.st_uid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_env() {
        assert!(check_script(b"#!/usr/bin/env sh\n", 4).is_ok());
        assert!(check_script(b"#!/usr/bin/env -S A=b sh -e\n", 4).is_ok());
        let reason = check_script(b"#!/usr/bin/env no-such-program\n", 4).unwrap_err().reason;
        assert!(reason.contains("no-such-program is not in PATH"), "{reason}");
    }

    #[test]
    fn a_refusal_names_errno_and_hint() {
        let directory = std::env::temp_dir();
        let refusal = check(&directory).unwrap_err();
        assert_eq!((&*refusal.reason, refusal.errno, refusal.remedy), ("it is a directory", Some(Errno::ACCESS), None));
        let plain = directory.join(format!("quintet program {}", std::process::id()));
        std::fs::write(&plain, "text").unwrap();
        let refusal = check(&plain).unwrap_err();
        std::fs::remove_file(&plain).unwrap();
        assert_eq!((&*refusal.reason, refusal.errno), ("Permission denied", Some(Errno::ACCESS)));
        assert_eq!(refusal.remedy, Some(format!("'chmod +x '{}'' makes it executable", plain.display())));
        let refusal = check(&plain).unwrap_err();
        assert_eq!((&*refusal.reason, refusal.errno), ("No such file or directory", Some(Errno::NOENT)));
        let script = |line: &[u8]| check_script(line, 4).unwrap_err();
        let refusal = script(b"#!/no/interpreter\n");
        let reason = "its interpreter /no/interpreter cannot be executed: No such file or directory";
        assert_eq!((&*refusal.reason, refusal.errno), (reason, Some(Errno::NOENT)));
        assert_eq!(script(b"#!\n").errno, Some(Errno::NOEXEC));
    }
}
