//! Runs the unmodified tools of util-linux and procps: `ipcs`, `lsipc`, `ipcmk`, `ipcrm` and
//! `sysctl`. They must print the same on Quintet as on the kernel.
//!
//! Each script runs on the kernel and on Quintet. Each run has a new IPC and a new PID namespace,
//! so that identifiers and pids are the same. `perl` creates the objects that need a given key.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Creates two objects of each class. The first segment is written completely, the first set has
/// been operated on, and the first queue holds a message. The second ones are unused, and the
/// second segment has no reserved memory.
const OBJECTS: &str = r#"perl -e '
    use IPC::SysV qw(IPC_CREAT IPC_NOWAIT);
    my $m = shmget(0x1234, 4097, IPC_CREAT | 0640) // die "shmget: $!";
    shmwrite($m, "x" x 4097, 0, 4097) or die "shmwrite: $!";
    my $s = semget(0x7fffffff, 7, IPC_CREAT | 0604) // die "semget: $!";
    semop($s, pack("s!3", 0, 3, 0)) or die "semop: $!";
    my $q = msgget(-2, IPC_CREAT | 0622) // die "msgget: $!";
    msgsnd($q, pack("l! a*", $_, "12345"), IPC_NOWAIT) or die "msgsnd: $!" for 1, 2;
    my $got; msgrcv($q, $got, 10, 0, IPC_NOWAIT) // die "msgrcv: $!";
    shmget(-3, 8192, IPC_CREAT | 010000) // die; semget(5, 1, IPC_CREAT | 0) // die; msgget(6, IPC_CREAT | 0) // die;
    my $held = shmget(0, 4096, 0600); shmwrite($held, "x" x 4096, 0, 4096) or die;
' || exit 1
"#;

/// Runs a command, and prints how many objects the kernel has afterwards.
const AND_LOOK: &str = r#""$@"; status=$?
    cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg | perl -ne '$n++ if /^ *-?[0-9]/; END { print "the kernel has ", $n + 0, "\n" }'
    exit $status"#;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns PATH with the directories of sysctl, which are not in the PATH of every user.
fn path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.env("PATH", path());
    command.args(["--ipc", "--pid", "--fork", "--mount-proc"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.env("LC_ALL", "C").env("TZ", "UTC").env_remove("LD_PRELOAD").env_remove("QUINTET_NAMESPACE");
    command
}

/// Returns `true` if the programs are installed and the namespaces can be created.
fn can_run(programs: &[&str]) -> bool {
    let found = |name: &&&str| {
        let mut shell = Command::new("sh");
        shell.env("PATH", path()).args(["-c", &format!("command -v {name}")]).output().unwrap().status.success()
    };
    if let Some(name) = programs.iter().find(|name| !found(name)) {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing");
        println!("skipped: no {name} here");
        return false;
    }
    let can = unshare().arg("true").output().is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: cannot create IPC and PID namespaces here");
    }
    can
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let memory = std::path::Path::new("/dev/shm");
        let place = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
        Place(tempfile::Builder::new().prefix("quintet-test-").tempdir_in(place).unwrap())
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("script");
        fs::write(&path, format!("exec 2>&1\n{text}")).unwrap();
        path
    }

    /// Runs a script on the kernel. Returns its output, and `true` if the kernel has objects
    /// afterwards.
    fn on_kernel(&self, script: &str) -> (String, bool) {
        said(self.run().arg("sh").arg(self.script(script)))
    }

    /// Runs a script on Quintet. Returns the same.
    fn on_quintet(&self, script: &str) -> (String, bool) {
        let mut command = self.run();
        command.arg(assert_cmd::cargo::cargo_bin!("quintet")).args(["run", "--namespace"]).arg(self.0.path().join("ns"));
        said(command.args(["--", "sh"]).arg(self.script(script)))
    }

    fn run(&self) -> Command {
        let mut command = unshare();
        command.args(["sh", "-c", AND_LOOK, "sh"]).env("XDG_CACHE_HOME", self.0.path().join("cache"));
        command
    }
}

fn said(command: &mut Command) -> (String, bool) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (text, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{text}{errors}");
    let (text, count) = text.rsplit_once("the kernel has ").unwrap();
    (text.to_owned(), count != "0\n")
}

/// Removes seconds since the Epoch, because the two scripts run one after the other.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.len() == 10 && word.starts_with('1') && word.bytes().all(|byte| byte.is_ascii_digit());
    let word = |word: &str| word.trim_end_matches([',', '"']).rsplit('"').next().is_some_and(is_time);
    text.split_inclusive([' ', '\n']).map(|part| if word(part.trim_end()) { "TIME\n" } else { part }).collect()
}

/// Removes dates: digits, months and days. Joins blanks.
fn without_dates(text: &str) -> String {
    const NAMES: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Mon Tue Wed Thu Fri Sat Sun";
    let letters: String = text.chars().map(|c| if c.is_ascii_digit() { ' ' } else { c }).collect();
    let plain = NAMES.split(' ').fold(letters, |text, name| text.replace(name, " "));
    plain.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// Runs a script on both, and compares the outputs.
fn compare(script: &str, comparable: fn(&str) -> String) -> String {
    let place = Place::new();
    let ((theirs, _), (ours, on_kernel)) = (place.on_kernel(script), place.on_quintet(script));
    assert!(!on_kernel, "the kernel has objects:\n{ours}");
    assert_eq!(comparable(&ours), comparable(&theirs), "\nQuintet:\n{ours}\nthe kernel:\n{theirs}");
    ours
}

/// Returns a script of many commands, each with a headline.
fn each(commands: &[&str]) -> String {
    let quoted = |command: &&str| command.replace('\'', "'\\''");
    commands.iter().map(|command| format!("printf '# %s\\n' '{}'; {command} || echo status $?\n", quoted(command))).collect()
}

#[test]
fn tables() {
    if !can_run(&["perl"]) {
        return;
    }
    let tables = "cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg\n";
    let ours = compare(&format!("{tables}{OBJECTS}{tables}"), without_times);
    assert_eq!(ours.lines().count(), 3 + 3 + 3 + 2 + 2, "{ours}");
}

#[test]
fn ipcs() {
    if !can_run(&["perl", "ipcs"]) {
        return;
    }
    let lists =
        ["ipcs", "ipcs -a", "ipcs -m", "ipcs -q", "ipcs -s", "ipcs -p", "ipcs -c", "ipcs -b", "ipcs --human", "ipcs -m -c"];
    let numbers =
        ["ipcs -l", "ipcs -l -b", "ipcs -l --human", "ipcs -q -l", "ipcs -u", "ipcs -m -i 77", "ipcs -q -i 77", "ipcs -s -i 77"];
    let ours = compare(&(OBJECTS.to_owned() + &each(&lists) + &each(&numbers)), without_times);
    assert!(ours.contains("0x00001234 0          root       640        4097       0"), "{ours}");
}

#[test]
fn ipcs_times() {
    if !can_run(&["perl", "ipcs"]) {
        return;
    }
    let ours = compare(
        &(OBJECTS.to_owned()
            + &each(&["ipcs -t", "ipcs -m -i 0", "ipcs -q -i 0", "ipcs -s -i 0", "ipcs -q -i 1", "ipcs -s -i 1"])),
        without_dates,
    );
    assert!(ours.contains("Shared memory Segment shmid=0"), "{ours}");
}

#[test]
fn lsipc() {
    if !can_run(&["perl", "lsipc"]) {
        return;
    }
    let columns = "KEY,ID,OWNER,PERMS,CUID,CGID,UID,GID,SIZE,NATTCH,STATUS,CPID,LPID";
    let with_columns = format!("lsipc -m -b -J -o {columns}");
    let lists = ["lsipc", "lsipc -g", "lsipc -b", "lsipc -J -b", "lsipc -m -g", "lsipc -q -g", "lsipc -s -g", &with_columns];
    let of_one = ["lsipc -q -o ID,KEY,MSGS,USEDBYTES,LSPID,LRPID", "lsipc -s -o ID,KEY,NSEMS -P", "lsipc -s -i 0 -o ID,NSEMS -r"];
    let ours = compare(&(OBJECTS.to_owned() + &each(&lists) + &each(&of_one)), without_times);
    assert!(
        ours.contains("SHMMNI   Number of shared memory segments") || ours.contains("SHMMNI   Shared memory segments"),
        "{ours}"
    );
    let dated =
        ["lsipc -m", "lsipc -q", "lsipc -s", "lsipc -m -c", "lsipc -m -t", "lsipc -q -t -n", "lsipc -s -i 0", "lsipc -m -i 0 -J"];
    compare(&(OBJECTS.to_owned() + &each(&dated)), without_dates);
}

#[test]
fn created_and_removed() {
    if !can_run(&["perl", "ipcs", "ipcmk", "ipcrm"]) {
        return;
    }
    let commands = [
        "ipcmk -M 4096 -p 600",
        "ipcmk -S 3 -p 606",
        "ipcmk -Q -p 660",
        "ipcs | cut -c 11-",
        "ipcrm -m 0",
        "ipcrm -m 0",
        "ipcrm -M 0x1234",
        "ipcrm -s 1 -q 1",
        "ipcrm -S 0x7fffffff -Q 0xfffffffe",
        "ipcrm -v --all=msg",
        "ipcs -q",
        "ipcrm -a",
        "ipcs",
        "cat /proc/sysvipc/shm",
    ];
    let ours = compare(&(OBJECTS.to_owned() + &each(&commands)), without_times);
    assert!(ours.ends_with("swap\n"), "{ours}");
}

#[test]
fn limits() {
    if !can_run(&["perl", "sysctl", "ipcs", "bash", "dd", "tee"]) {
        return;
    }
    let files = "cd /proc/sys/kernel && cat shmmax shmall shmmni shm_rmid_forced sem msgmax msgmnb msgmni; cd /";
    let commands = [
        files,
        "sysctl kernel.shmmax kernel.sem kernel.msgmni kernel.shm_next_id",
        "sysctl -w kernel.shmmax=12345678",
        "sysctl -q -w 'kernel.sem=100 200 30 40'",
        "sysctl -w kernel.shm_rmid_forced=2",
        "sysctl -w kernel.msgmni=40000",
        "echo 77 > /proc/sys/kernel/shmmni",
        "echo 77000 > /proc/sys/kernel/shmmni",
        "/bin/echo 88 > /proc/sys/kernel/msgmni",
        "/bin/echo 88,8 > /proc/sys/kernel/msgmni",
        "printf '0x20\\n' | tee /proc/sys/kernel/msgmax",
        "bash -c 'echo 0100 >> /proc/sys/kernel/msgmnb'",
        "bash -c 'echo much > /proc/sys/kernel/msgmnb'",
        "bash -c 'for n in 1 2 3; do echo 5$n; done > /proc/sys/kernel/shmall; exec 3>/proc/sys/kernel/shmmax; /bin/echo 4711 >&3'",
        "perl -e 'open F, q(>), q(/proc/sys/kernel/shm_rmid_forced); print F 1; close F or die'",
        "echo 5 | dd of=/proc/sys/kernel/sem_next_id status=none",
        "cat /proc/sys/kernel/sem_next_id",
        files,
        "ipcs -l",
    ];
    compare(&each(&commands), str::to_owned);
}
