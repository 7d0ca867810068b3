//! Runs unmodified programs that use System V IPC on Quintet: PHP, Perl, Python, stress-ng, and
//! shared images of the X server. They must work, and leave no object in the kernel.
//!
//! If the tests run as root, each of them also runs as the user `nobody`.

mod place;

use place::{Place, has, lacks, run};
use std::fs;
use std::process::{Command, Stdio};

/// Number of processes, and how often each of them counts.
const WORKERS: usize = 6;
const ROUNDS: usize = 300;

/// Runs a test with its program in a new directory, once for each user.
fn for_each_user(file: &str, content: &str, test: impl Fn(&Place, bool)) {
    for as_root in [false, true] {
        let place = Place::of(&["nobody"]);
        if as_root && place.user.is_none() {
            return;
        }
        fs::write(place.path(file), content).unwrap();
        test(&place, as_root);
    }
}

/// Returns the squares that the workers send as messages.
fn squares() -> String {
    (1..=WORKERS).map(|n| (n * n).to_string()).collect::<Vec<_>>().join(",")
}

fn counts(interpreter: &[&str], file: &str, content: &str, expected: &str) {
    let (workers, rounds) = (WORKERS.to_string(), ROUNDS.to_string());
    for_each_user(file, content, |place, as_root| {
        let words = [interpreter, &[file, &workers, &rounds]].concat();
        assert_eq!(place.on_quintet_alone(as_root, &words).trim(), expected);
    });
}

const TOTAL: usize = WORKERS * ROUNDS;
/// Each worker adds its number.
const SUM: usize = ROUNDS * WORKERS * (WORKERS + 1) / 2;

#[test]
fn php() {
    const EXTENSIONS: [&str; 5] = ["pcntl", "shmop", "sysvmsg", "sysvsem", "sysvshm"];
    if !has("php") {
        return;
    }
    let modules = run(Command::new("php").arg("-m"));
    if let Some(missing) = EXTENSIONS.iter().find(|name| !modules.lines().any(|line| line == **name)) {
        lacks(&format!("PHP's extension {missing}"));
        return;
    }
    let program = include_str!("programs/count.php");
    counts(&["php"], "count.php", program, &format!("{TOTAL} {SUM} {} 0", squares()));
    // On the kernel, the tables show the objects, so that empty tables above prove something.
    let place = Place::of(&["nobody"]);
    fs::write(place.path("count.php"), program).unwrap();
    if let (_, Some(kept)) = place.with_tables(false, &["php", "count.php", "1", "1", "keep"], run) {
        assert_eq!(kept.len(), 4, "{kept:?}");
    }
}

#[test]
fn perl() {
    if !has("perl") {
        return;
    }
    let modules = ["-MIPC::SysV", "-MIPC::Semaphore", "-MIPC::Msg", "-MIPC::SharedMem", "-e1"];
    if !Command::new("perl").args(modules).stderr(Stdio::null()).status().unwrap().success() {
        lacks("Perl's IPC::SysV");
        return;
    }
    let expected = format!("{TOTAL} {SUM} {} 0 1,{TOTAL}", squares());
    counts(&["perl"], "count.pl", include_str!("programs/count.pl"), &expected);
}

#[test]
fn python() {
    // The Python of a virtual environment may lack the module that the system's Python has.
    let has_module = |python: &&&str| {
        let tried = Command::new(python).args(["-c", "import sysv_ipc"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].iter().find(has_module) else {
        lacks("Python's sysv_ipc");
        return;
    };
    let expected = format!("{TOTAL} 1 {} 0 1", squares());
    counts(&[python, "-W", "ignore"], "count.py", include_str!("programs/count.py"), &expected);
}

#[test]
fn stress_ng_verifies() {
    if !has("stress-ng") {
        return;
    }
    const ARGUMENTS: &str =
        "--shm-sysv 2 --shm-sysv-ops 50 --sem-sysv 2 --sem-sysv-ops 20000 --msg 2 --msg-ops 20000 --verify --metrics-brief";
    for as_root in [false, true] {
        let place = Place::of(&["nobody"]);
        if as_root && place.user.is_none() {
            return;
        }
        let words: Vec<&str> = ["stress-ng", "--log-file", "log"].into_iter().chain(ARGUMENTS.split(' ')).collect();
        place.on_quintet_alone(as_root, &words);
        let log = fs::read_to_string(place.path("log")).unwrap();
        assert!(log.contains("successful run completed"), "{log}");
        for stressor in ["shm-sysv", "sem-sysv", "msg"] {
            let done = log
                .lines()
                .find_map(|line| line.split_once(&format!(" {stressor} "))?.1.split_whitespace().next()?.parse::<u64>().ok());
            assert!(done.is_some_and(|operations| operations >= 50), "{stressor} in {log}");
        }
        assert!(!log.contains("fail:") && !log.contains("error:"), "{log}");
    }
}

#[test]
fn images_of_the_x_server() {
    if !has("Xvfb") {
        return;
    }
    for_each_user("shm.c", include_str!("programs/shm.c"), |place, as_root| {
        let mut compiler = place.command_of_root("cc");
        let compiled = compiler.args(["-o", "client", "shm.c", "-lX11", "-lXext"]).stderr(Stdio::null()).status();
        if !compiled.is_ok_and(|status| status.success()) {
            lacks("the X client libraries' development files");
            return;
        }
        let script = "
            Xvfb -displayfd 3 -screen 0 640x480x24 -nolisten tcp 3>display 2>errors & server=$!
            until [ -s display ] || ! kill -0 $server 2>/dev/null; do sleep 0.05; done
            DISPLAY=:$(cat display) ./client; status=$?
            kill $server; wait $server
            exit $status";
        let said = place.on_quintet_alone(as_root, &["sh", "-c", script]);
        // All pixels by shared memory and by the socket, and the attachments before and after the
        // server detached.
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["64000", "64000", "2", "1"]);
    });
}
