//! A directory in which real programs run as an unprivileged user, with the tool and a namespace.
// No test uses all of it.
#![allow(dead_code)]

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A generous limit for a single step of a test.
const LIMIT: Duration = Duration::from_secs(120);

/// The directory; removed when dropped.
pub struct Place {
    dir: tempfile::TempDir,
    /// The user and group id of programs, if the test runs as root.
    pub user: Option<(u32, u32)>,
}

/// Returns the user and group id of the first of these users that exists.
fn ids(names: &[&str]) -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &&str| {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    names.iter().find_map(of).unwrap_or((65534, 65534))
}

impl Place {
    /// Creates a directory that belongs to the user of the test, or to the first of `names` if that
    /// is root.
    pub fn of(names: &[&str]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().is_root().then(|| ids(names));
        // A copy, because the user may have no access to the build directory. `cp` writes it,
        // because a child that a concurrent test forks would inherit an open descriptor. The kernel
        // does not run a file that is open for writing.
        let mut copy = Command::new("cp");
        copy.arg(assert_cmd::cargo::cargo_bin!("quintet")).arg(dir.path());
        assert!(copy.status().unwrap().success(), "{copy:?}");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        Place { dir, user }
    }

    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the user id of programs.
    pub fn uid(&self) -> u32 {
        self.user.map_or(rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }

    pub fn gid(&self) -> u32 {
        self.user.map_or(rustix::process::getegid().as_raw(), |(_, gid)| gid)
    }

    /// Returns a program that runs as the user of the test, which may be root.
    pub fn command_of_root(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("LC_ALL", "C").env("HOME", self.dir.path()).stdin(Stdio::null());
        command.env_remove("QUINTET_NAMESPACE").env_remove("LD_PRELOAD").env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command_of_root(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Returns a program on Quintet.
    pub fn on_quintet(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command(self.path("quintet"));
        command.args(["run", "--namespace"]).arg(self.path("ns")).arg("--").arg(program);
        command
    }

    /// Returns the words of a command line that runs another one in a new IPC namespace: as root,
    /// or as the user of this directory. Returns `None` if no IPC namespace can be created here.
    pub fn apart(&self, as_root: bool) -> Option<Vec<String>> {
        let words = match self.user {
            Some(_) if as_root => "unshare --ipc".to_owned(),
            Some((uid, gid)) => format!("unshare --ipc setpriv --reuid {uid} --regid {gid} --clear-groups"),
            None => "unshare --user --map-current-user --ipc".to_owned(),
        };
        let words: Vec<String> = words.split(' ').map(String::from).collect();
        let tried = Command::new(&words[0]).args(&words[1..]).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success()).then_some(words)
    }

    /// Runs a command line. Returns its output, and the lines that it leaves in the kernel's
    /// tables, if they can be read.
    pub fn with_tables(
        &self,
        as_root: bool,
        words: &[&str],
        run: impl Fn(&mut Command) -> String,
    ) -> (String, Option<Vec<String>>) {
        const SHOW: &str =
            "\"$@\"; status=$?\nfor table in shm sem msg; do tail -n +2 /proc/sysvipc/$table; done >tables\nexit $status";
        let Some(apart) = self.apart(as_root) else {
            println!("not checked: the kernel's tables, because no IPC namespace can be created");
            let mut command = if as_root { self.command_of_root(words[0]) } else { self.command(words[0]) };
            return (run(command.args(&words[1..])), None);
        };
        let said = run(self.command_of_root(&apart[0]).args(&apart[1..]).args(["sh", "-c", SHOW, "sh"]).args(words));
        let tables = fs::read_to_string(self.path("tables")).unwrap();
        fs::remove_file(self.path("tables")).unwrap();
        (said, Some(tables.lines().map(String::from).collect()))
    }

    /// Runs a command line on Quintet, and returns its output. It must leave no object behind, here
    /// or in the kernel.
    pub fn on_quintet_alone(&self, as_root: bool, words: &[&str]) -> String {
        let (quintet, ns) = (self.path("quintet"), self.path("ns"));
        let before = [quintet.to_str().unwrap(), "run", "--namespace", ns.to_str().unwrap(), "--"];
        let (said, tables) = self.with_tables(as_root, &[&before, words].concat(), run);
        assert_eq!(tables.unwrap_or_default(), Vec::<String>::new());
        assert_eq!(["shm", "sem", "msg"].map(|kind| self.objects(kind)), [const { Vec::<Value>::new() }; 3]);
        said
    }

    /// Returns the objects of a class in the namespace, as the tool lists them.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let mut command = self.command_of_root(self.path("quintet"));
        let listed = run(command.args(["ls", "--json", "--namespace"]).arg(self.path("ns")));
        let value: Value = serde_json::from_str(&listed).unwrap();
        value[kind].as_array().unwrap_or_else(|| panic!("no {kind} in {listed}")).clone()
    }
}

/// Returns `true` if a program is installed. In CI it must be.
pub fn has(program: &str) -> bool {
    let found =
        Command::new("which").arg(program).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    found || lacks(program)
}

/// Reports that a test needs something that is not installed. Returns `false`.
pub fn lacks(what: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{what} must be installed in CI");
    println!("skipped: {what} is not installed");
    false
}

pub fn finish(child: Child) -> ExitStatus {
    finish_meanwhile(child, &mut |_| ())
}

/// Repeats an action until the child exits.
fn finish_meanwhile(mut child: Child, meanwhile: &mut dyn FnMut(u32)) -> ExitStatus {
    let end = Instant::now() + LIMIT;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > end => {
                let _ = child.kill();
                panic!("a step took longer than {LIMIT:?}");
            }
            None => meanwhile(child.id()),
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Runs a command that must succeed, and returns its output.
pub fn run(command: &mut Command) -> String {
    run_meanwhile(command, |_| ())
}

/// Runs a command that starts daemons. Reaps the daemons if this process is the subreaper.
pub fn run_and_reap(command: &mut Command) -> String {
    run_meanwhile(command, |child| {
        for pid in children().filter(|pid| *pid != child as i32) {
            let pid = rustix::process::Pid::from_raw(pid);
            let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG);
        }
    })
}

/// Returns the children of this process.
fn children() -> impl Iterator<Item = i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(std::process::id())
    })
}

fn run_meanwhile(command: &mut Command, mut meanwhile: impl FnMut(u32)) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (said, errors) = (reader(child.stdout.take().unwrap()), reader(child.stderr.take().unwrap()));
    let status = finish_meanwhile(child, &mut meanwhile);
    let (said, errors) = (said.join().unwrap().unwrap(), errors.join().unwrap().unwrap());
    assert!(status.success(), "{command:?}: {status}\n{said}\n{errors}");
    said
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<std::io::Result<String>> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).map(|_| text)
    })
}

/// Blocks until `ready` returns a value.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < end, "timed out waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub fn kill(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
