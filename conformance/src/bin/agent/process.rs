//! Process verbs: fork, exec, credentials, exit.

use crate::{Answer, c, number};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

/// Executes `verb` if it is about the process. Verbs that end the process do not return.
pub fn perform(image: &[String], verb: &str, args: &[&str]) -> Option<Answer> {
    let done = |()| String::new();
    Some(match verb {
        "fork" => fork(args[0]),
        "vfork" => vfork(image, args[0]),
        "exec" => Err(c::Image::new(image).exec(&CString::new(args[0]).expect("no NUL"))),
        "exit" => c::exit(number(args[0])),
        "_exit" => c::exit_immediately(number(args[0])),
        "kill" => {
            c::kill_self(number(args[0]));
            Ok(String::new())
        }
        "wait" => c::wait(number(args[0]), 0).map(|(_, status)| status_words(status)),
        "reap" => Ok(reap().to_string()),
        "subreaper" => c::become_subreaper().map(done),
        "closefrom" => c::close_from(number(args[0])).map(done),
        "user" => change_user(|| c::set_user(number(args[0]), number(args[1]), &groups(args[2]))),
        "seteuid" => change_user(|| c::set_effective_user(number(args[0]))),
        "setegid" => change_user(|| c::set_effective_group(number(args[0]))),
        "umask" => Ok(c::set_umask(number(args[0])).to_string()),
        "chdir" => std::env::set_current_dir(args[0]).map(done).map_err(|e| e.raw_os_error().unwrap_or(libc::EIO)),
        "memlock" => c::set_limit(libc::RLIMIT_MEMLOCK as _, number(args[0])).map(done),
        "nofile" => c::set_limit(libc::RLIMIT_NOFILE as _, number(args[0])).map(done),
        "bare" => {
            c::set_bare(number(args[0]));
            Ok(String::new())
        }
        "preloaded" => Ok(std::fs::read_to_string("/proc/self/maps").is_ok_and(|m| m.contains("libquintet_preload")).to_string()),
        _ => return None,
    })
}

/// Changes credentials. A program that uses the library must report this.
fn change_user(change: impl FnOnce() -> Result<(), i32>) -> Answer {
    let changed = change();
    quintet::credentials_changed();
    changed.map(|()| String::new())
}

/// Opens a control connection for a child before the fork, so that the child makes no call of its
/// own.
fn connect(name: &str) -> Result<OwnedFd, i32> {
    let address = SocketAddr::from_abstract_name(name).map_err(|_| libc::EINVAL)?;
    let stream = UnixStream::connect_addr(&address).map_err(|e| e.raw_os_error().unwrap_or(libc::EIO))?;
    Ok(stream.into())
}

/// Calls fork. Returns [`FORKED`] in the child.
fn fork(name: &str) -> Answer {
    match c::fork(connect(name)?)? {
        0 => Err(FORKED),
        pid => Ok(pid.to_string()),
    }
}

/// Marks the child of a fork, which sends no answer. It is not an errno.
pub const FORKED: i32 = -1;

fn vfork(image: &[String], name: &str) -> Answer {
    let control = connect(name)?;
    c::vfork_exec(&c::Image::new(image), &control).map(|pid| pid.to_string())
}

fn status_words(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit {}", libc::WEXITSTATUS(status))
    }
}

/// Reaps exited children. Returns their number.
fn reap() -> usize {
    std::iter::from_fn(|| c::wait(-1, libc::WNOHANG).ok().filter(|(pid, _)| *pid > 0)).count()
}

fn groups(list: &str) -> Vec<u32> {
    list.split(',').filter(|g| !g.is_empty() && *g != "-").map(number).collect()
}

/// Creates an IPC namespace if permitted. Calls and files that the drop-in fails to intercept then
/// cannot reach the system's namespace. A process without that permission cannot change the
/// system's limits either.
pub fn unshare_ipc() {
    let _ = c::unshare(libc::CLONE_NEWIPC);
}

/// Creates an IPC namespace and executes the agent with `args`. Returns the errno if that fails.
///
/// Root needs nothing else. Another user needs a user namespace, in which the user id stays the
/// same. The exec drops the capabilities there, so the agent is an ordinary user in its IPC
/// namespace, too.
pub fn unshare_and_exec(args: &[String]) -> i32 {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let unshared = c::unshare(libc::CLONE_NEWIPC).or_else(|_| {
        c::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWIPC)?;
        let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| e.raw_os_error().unwrap_or(libc::EIO));
        write("/proc/self/setgroups", "deny".to_owned())?;
        write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        write("/proc/self/gid_map", format!("{gid} {gid} 1"))
    });
    match unshared {
        Ok(()) => c::Image::new(args).exec(c"/proc/self/exe"),
        Err(errno) => errno,
    }
}
