//! Runs an unmodified fakeroot with its two queues and its semaphore on Quintet. `ls` and `tar`
//! must show the owners and devices that fakeroot records, from its saved database as well, and its
//! daemon must leave nothing behind.
//!
//! The test needs Debian's `fakeroot-sysv` with its daemon `faked-sysv`. If the test runs as root,
//! fakeroot runs as the user `nobody`.

mod place;

use place::{Place, finish, has, kill, run, run_and_reap, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Number of programs that use fakeroot at the same time, and of files of each.
const CLIENTS: u32 = 4;
const FILES: u32 = 500;

/// The work of client number `$1` in its directory `c$1`.
const CLIENT: &str = "
    umask 022
    chown -R $((1000 + $1)):$((2000 + $1)) c$1
    chown 42:43 c$1/f7
    chgrp 99 c$1/f8
    chmod 6755 c$1/f9
    chown -h 7:8 c$1/link
    mknod c$1/null c 1 $1
    mknod c$1/disk b 8 $((16 + $1))
    mknod c$1/fifo p
    ls -lnA --time-style=+ c$1 >listed$1
    tar -cf $1.tar c$1
";
/// Runs all clients at once. None of them may fail.
const CLIENTS_AT_ONCE: &str = "
    pids=
    for i in 1 2 3 4; do sh -euc \"$CLIENT\" client $i & pids=\"$pids $!\"; done
    for pid in $pids; do wait $pid; done
";
const LIST_AGAIN: &str = "for i in 1 2 3 4; do ls -lnA --time-style=+ c$i >again$i; done";

/// A file as a listing shows it: type and mode, owner, group, and the numbers of a device.
type Shown = (String, u32, u32, Option<(u32, u32)>);
type Listing = BTreeMap<String, Shown>;

fn expected(client: u32) -> Listing {
    let (uid, gid) = (1000 + client, 2000 + client);
    let mut all = Listing::new();
    let mut has = |name: &str, mode: &str, uid, gid, device| all.insert(name.into(), (mode.into(), uid, gid, device));
    for file in 1..=FILES {
        has(&format!("f{file}"), "-rw-r--r--", uid, gid, None);
    }
    has("f7", "-rw-r--r--", 42, 43, None);
    has("f8", "-rw-r--r--", uid, 99, None);
    has("f9", "-rwsr-sr-x", uid, gid, None);
    has("link", "lrwxrwxrwx", 7, 8, None);
    has("null", "crw-r--r--", 0, 0, Some((1, client)));
    has("disk", "brw-r--r--", 0, 0, Some((8, 16 + client)));
    has("fifo", "prw-r--r--", 0, 0, None);
    all
}

fn assert_listing(found: &Listing, expected: &Listing) {
    let wrong: Vec<_> = expected.iter().filter(|(name, shown)| found.get(*name) != Some(shown)).collect();
    let instead: Vec<_> = wrong.iter().map(|(name, _)| found.get(*name)).collect();
    assert!(wrong.is_empty(), "{wrong:?} are wrong: {instead:?}");
    assert_eq!(found.len(), expected.len());
}

fn device(major: &str, minor: &str) -> Option<(u32, u32)> {
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Parses the output of `ls -lnA --time-style=+`.
fn listed(text: &str) -> Listing {
    let lines = text.lines().filter(|line| !line.starts_with("total "));
    let entry = |line: &str| {
        let words: Vec<&str> = line.split(" -> ").next()?.split_whitespace().collect();
        let major = words[4].strip_suffix(',');
        let name = *words.last()?;
        let device = major.and_then(|major| device(major, words[5]));
        Some((name.to_owned(), (words[0].to_owned(), words[2].parse().ok()?, words[3].parse().ok()?, device)))
    };
    lines.map(|line| entry(line).unwrap_or_else(|| panic!("not a line of ls: {line}"))).collect()
}

/// Parses the output of `tar --numeric-owner -tv`: the files in a directory, and the directory
/// itself.
fn archived(text: &str, directory: &str) -> (Listing, Shown) {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split(" -> ").next()?.split_whitespace().collect();
        let (uid, gid) = words[1].split_once('/')?;
        let device = words[2].split_once(',').and_then(|(major, minor)| device(major, minor));
        let name = words.last()?.strip_prefix(directory)?.strip_prefix('/')?;
        Some((name.to_owned(), (words[0].to_owned(), uid.parse().ok()?, gid.parse().ok()?, device)))
    };
    let lines = text.lines().map(|line| entry(line).unwrap_or_else(|| panic!("not a line of tar: {line}")));
    let mut all: Listing = lines.collect();
    let itself = all.remove("").expect("the directory");
    (all, itself)
}

/// A tree of files, and fakeroot on it.
struct Tree {
    place: Place,
    /// Whether the tool runs as root, and changes its user id before it runs fakeroot.
    dropping: bool,
}

impl Tree {
    fn new(dropping: bool) -> Tree {
        let tree = Tree { place: Place::of(&["nobody"]), dropping };
        run(tree.place.command("sh").args(["-euc", "umask 022; for i in 1 2 3 4; do mkdir c$i; ln -s f1 c$i/link; done"]));
        for client in 1..=CLIENTS {
            for file in 1..=FILES {
                std::fs::write(tree.place.path(&format!("c{client}/f{file}")), "").unwrap();
            }
        }
        if let Some((uid, gid)) = tree.place.user {
            run(tree.place.command_of_root("chown").args(["-R", &format!("{uid}:{gid}"), "c1", "c2", "c3", "c4"]));
        }
        tree
    }

    /// Runs a script with these words of a command line before it. Returns its output, and the
    /// lines that it leaves in the kernel's tables. These are known only if the test runs as root.
    /// In a user namespace, a real `chown` fails in a way that fakeroot does not expect.
    fn script(&self, as_root: bool, before: &[&str], script: &str) -> (String, Option<Vec<String>>) {
        let client = |command: &mut Command| run_and_reap(command.env("CLIENT", CLIENT));
        let script = format!("set -eu\n{script}");
        let words = [before, &["sh", "-c", &script]].concat();
        if self.place.user.is_some() {
            return self.place.with_tables(as_root, &words, client);
        }
        (client(self.place.command(words[0]).args(&words[1..])), None)
    }

    /// Runs fakeroot with these options on Quintet. It must leave no object in the kernel or in the
    /// namespace.
    fn fakeroot(&self, options: &[&str], script: &str) -> String {
        let (quintet, ns) = (self.place.path("quintet"), self.place.path("ns"));
        let on_quintet = [quintet.to_str().unwrap(), "run", "--namespace", ns.to_str().unwrap(), "--"];
        // As a service that starts as root and then changes its user id.
        let user =
            self.dropping.then(|| format!("setpriv --reuid {} --regid {} --clear-groups", self.place.uid(), self.place.gid()));
        let user: Vec<&str> = user.iter().flat_map(|words| words.split(' ')).collect();
        let words = [&on_quintet, user.as_slice(), &["fakeroot-sysv"], options].concat();
        let (said, tables) = self.script(self.dropping, &words, script);
        assert_eq!(tables.unwrap_or_default(), Vec::<String>::new());
        self.assert_empty();
        said
    }

    fn is_empty(&self) -> bool {
        ["shm", "sem", "msg"].iter().all(|kind| self.place.objects(kind).is_empty())
    }

    /// Blocks until the namespace is empty. fakeroot waits for its daemon only if the daemon saves
    /// a database.
    fn assert_empty(&self) {
        wait_for("the daemon to clean up", || self.is_empty().then_some(()));
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.path(name)).unwrap()
    }
}

/// Returns the sorted lines of a saved database.
fn database(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn fakeroot_keeps_its_owners() {
    if !has("fakeroot-sysv") || !has("faked-sysv") {
        return;
    }
    // fakeroot waits until its daemon is reaped, and process 1 may take long to do that.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let tree = Tree::new(false);
    kernel_shows_its_queues(&tree);
    clients_at_once(&tree);
    saved_is_loaded(&tree);
    either_library_first(&tree);
    daemon_cleans_up(&tree);
    if tree.place.user.is_some() {
        let tree = Tree::new(true);
        clients_at_once(&tree);
        saved_is_loaded(&tree);
    }
}

/// The other tests expect empty tables, so this one checks that the tables show objects.
fn kernel_shows_its_queues(tree: &Tree) {
    // The tables are read inside fakeroot, while its daemon runs.
    let (said, _) = tree.script(false, &["fakeroot-sysv"], "id -u; tail -qn +2 /proc/sysvipc/sem /proc/sysvipc/msg | wc -l");
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("0"));
    if tree.place.user.is_some() {
        assert_eq!(lines.next(), Some("3"));
    }
}

fn clients_at_once(tree: &Tree) {
    tree.fakeroot(&["-s", "saved"], CLIENTS_AT_ONCE);
    for client in 1..=CLIENTS {
        let expected = expected(client);
        assert_listing(&listed(&tree.read(&format!("listed{client}"))), &expected);
        let mut tar = tree.place.command("tar");
        let text = run(tar.args(["--numeric-owner", "-tvf", &format!("{client}.tar")]));
        let (archived, itself) = archived(&text, &format!("c{client}"));
        assert_listing(&archived, &expected);
        assert_eq!(itself, ("drwxr-xr-x".into(), 1000 + client, 2000 + client, None));
    }
    // The file system itself is not changed.
    let real = run(tree.place.command("ls").args(["-lnA", "--time-style=+", "c1"]));
    assert_eq!(listed(&real)["null"], ("-rw-r--r--".into(), tree.place.uid(), tree.place.gid(), None));
}

fn saved_is_loaded(tree: &Tree) {
    let saved = tree.read("saved");
    let of_first = database(&saved).iter().filter(|line| line.contains("uid=1001,gid=2001,")).count();
    // The directory, and all of its files but two.
    assert_eq!(of_first, 1 + FILES as usize - 2);
    tree.fakeroot(&["-i", "saved", "-s", "saved2"], LIST_AGAIN);
    for client in 1..=CLIENTS {
        assert_listing(&listed(&tree.read(&format!("again{client}"))), &expected(client));
    }
    assert_eq!(database(&tree.read("saved2")), database(&saved));
    // Without the database, the owners are unknown.
    tree.fakeroot(&[], "ls -lnA --time-style=+ c1 >unknown");
    assert_eq!(listed(&tree.read("unknown"))["f1"], ("-rw-r--r--".into(), 0, 0, None));
}

/// fakeroot prepends its library to LD_PRELOAD. A `quintet run` inside it prepends the drop-in
/// library.
fn either_library_first(tree: &Tree) {
    let work = "chown 5:6 c1/f1; stat -c %u:%g c1/f1; id -u; echo $LD_PRELOAD";
    let theirs = tree.fakeroot(&[], work);
    let inner = format!("./quintet run --namespace ns -- sh -euc '{work}'");
    let ours = tree.fakeroot(&[], &inner);
    for (said, first) in [(&theirs, "libfakeroot-sysv.so:"), (&ours, tree.place.path("cache").to_str().unwrap())] {
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..2], ["5:6", "0"], "{said}");
        assert!(lines[2].starts_with(first), "{said}");
        assert!(lines[2].contains("libfakeroot-sysv.so") && lines[2].contains("/libquintet-"), "{said}");
    }
}

/// The signal handler of the daemon removes the queues, while the interrupted thread is blocked at
/// one of them.
fn daemon_cleans_up(tree: &Tree) {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut faked = tree.place.on_quintet("faked-sysv");
        let mut faked = faked.args(["--foreground"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(faked.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid: i32 = line.trim().split_once(':').and_then(|(_, pid)| pid.parse().ok()).expect("KEY:PID");
        assert_eq!(pid, faked.id() as i32);
        assert_eq!(["msg", "sem", "shm"].map(|kind| tree.place.objects(kind).len()), [2, 1, 0]);
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        wait_for("the daemon to wait", || stat().rsplit_once(") ").unwrap().1.starts_with('S').then_some(()));
        kill(pid, signal);
        assert_eq!(finish(faked).code(), Some(0));
        assert!(tree.is_empty());
    }
}
