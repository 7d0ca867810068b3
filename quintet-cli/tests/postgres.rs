//! Runs an unmodified PostgreSQL with all its shared memory on Quintet. It must work, crash and
//! recover as on the kernel's segments.
//!
//! The test needs PostgreSQL 15 or later. If the test runs as root, PostgreSQL runs as the user
//! `postgres` or `nobody`.

mod place;

use place::{Place, finish, kill, lacks, run, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A server. PostgreSQL refuses to run as root.
struct Server {
    place: Place,
    bin: PathBuf,
    /// Whether the tool runs as root, and changes its user id before it runs the server.
    dropping: bool,
}

/// Returns the directory of the programs, as installed by Debian, Red Hat or from source.
fn find_postgres() -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = ["/usr/lib/postgresql/", "/usr/pgsql-"]
        .iter()
        .flat_map(|place| (15..=20).rev().map(move |version| format!("{place}{version}/bin").into()))
        .collect();
    places.extend(["/usr/local/pgsql/bin".into(), "/usr/bin".into()]);
    places.into_iter().find(|bin| ["initdb", "pg_ctl", "postgres", "pgbench", "psql"].iter().all(|name| bin.join(name).exists()))
}

impl Server {
    fn new(bin: PathBuf, dropping: bool) -> Server {
        Server { place: Place::of(&["postgres", "nobody"]), bin, dropping }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// Returns a program of PostgreSQL on Quintet.
    fn on_quintet(&self, name: &str) -> Command {
        if !self.dropping {
            return self.place.on_quintet(self.bin.join(name));
        }
        let mut command = self.place.command_of_root(self.path("quintet"));
        command.args(["run", "--namespace"]).arg(self.path("ns")).args(["--", "setpriv", "--clear-groups"]);
        command
            .arg(format!("--reuid={}", self.place.uid()))
            .arg(format!("--regid={}", self.place.gid()))
            .arg(self.bin.join(name));
        command
    }

    /// Returns a client, which needs no shared memory.
    fn client(&self, name: &str) -> Command {
        let mut command = self.place.command(self.bin.join(name));
        command.arg("-h").arg(self.place.directory());
        command
    }

    fn initialise(&self) {
        run(self.on_quintet("initdb").arg("-D").arg(self.path("data")).args(["-A", "trust", "-U", "tester", "-N"]));
        let settings = format!(
            "shared_memory_type = sysv\ndynamic_shared_memory_type = sysv\nlisten_addresses = ''\n\
             unix_socket_directories = '{}'\nfsync = off\nshared_buffers = 64MB\nmax_worker_processes = 8\n",
            self.place.directory().display()
        );
        let file = self.path("data/postgresql.conf");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, before + &settings).unwrap();
    }

    fn pg_ctl(&self, args: &[&str]) -> Output {
        // The output goes to a file: the server inherits it, so that a pipe would stay open after
        // pg_ctl exits.
        let said = fs::File::create(self.path("said")).unwrap();
        let mut command = self.on_quintet("pg_ctl");
        command.arg("-D").arg(self.path("data")).arg("-l").arg(self.path("log")).args(args);
        let status = finish(command.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap());
        Output { status, stdout: fs::read(self.path("said")).unwrap(), stderr: Vec::new() }
    }

    fn start(&self) {
        let output = self.pg_ctl(&["-w", "-t", "60", "start"]);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "-U", "tester", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        command
    }

    fn query(&self, sql: &str) -> String {
        run(&mut self.psql(sql)).trim().to_owned()
    }

    /// Starts a query in a new session, and returns the pid of its backend when the query runs.
    fn background(&self, sql: &str) -> (Child, i32) {
        let child = self.psql(sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let find = format!("select pid from pg_stat_activity where query = $${sql}$$ and state = 'active'");
        let pid = wait_for("the query to run", || self.query(&find).parse().ok());
        (child, pid)
    }

    /// Returns the segments in the namespace, as the tool lists them.
    fn segments(&self) -> Vec<Value> {
        self.place.objects("shm")
    }

    fn postmaster(&self) -> i32 {
        fs::read_to_string(self.path("data/postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
    }

    /// Asserts that the user of the server has no segment in the kernel.
    fn assert_kernel_saw_nothing(&self) {
        let uid = self.place.uid().to_string();
        let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let of_user = |line: &&str| line.split_whitespace().nth(9) == Some(&uid);
        assert_eq!(table.lines().skip(1).filter(of_user).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.pg_ctl(&["-m", "immediate", "-w", "stop"]);
    }
}

/// Returns `true` if a process has exited and is reaped. This process reaps the processes of a
/// server after their parent has exited.
fn has_exited(pid: i32) -> bool {
    let _ = rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::NOHANG);
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn postgresql_runs_crashes_and_recovers() {
    let Some(bin) = find_postgres() else {
        lacks("PostgreSQL 15 or later");
        return;
    };
    // Process 1 may take long to reap the processes of a killed server.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    if rustix::process::geteuid().is_root() {
        // As a service that starts as root and then changes its user id.
        let server = Server::new(bin.clone(), true);
        server.initialise();
        server.start();
        work(&server);
        stop(&server);
    }
    let server = Server::new(bin, false);
    server.initialise();
    server.start();
    server.assert_kernel_saw_nothing();
    assert_eq!(server.query("show shared_memory_type"), "sysv");
    assert_eq!(server.query("show dynamic_shared_memory_type"), "sysv");
    let main = server.segments().into_iter().find(|s| s["size"].as_u64() > Some(64 << 20)).expect("the main segment");
    assert!(main["attached"].as_array().unwrap().iter().any(|a| a["pid"] == server.postmaster()), "{main}");

    work(&server);
    lose_a_backend(&server);
    lose_the_postmaster(&server);

    stop(&server);
}

fn stop(server: &Server) {
    let output = server.pg_ctl(&["-m", "fast", "-w", "stop"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.segments(), Vec::<Value>::new());
    server.assert_kernel_saw_nothing();
}

const ACCOUNTS: &str = "select count(*), count(distinct aid), min(aid), max(aid) from pgbench_accounts";
const ALL_THERE: &str = "500000|500000|1|500000";

fn work(server: &Server) {
    run(server.client("pgbench").args(["-U", "tester", "-i", "-q", "-s", "5", "postgres"]));
    assert_eq!(server.query(ACCOUNTS), ALL_THERE);
    let report = run(server.client("pgbench").args(["-U", "tester", "-c", "4", "-T", "5", "postgres"]));
    assert!(report.contains("number of failed transactions: 0 "), "{report}");
    // Each transaction writes one row of history, and adds its amount to three balances.
    let done = report.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: ")).unwrap();
    assert_eq!(server.query("select count(*) from pgbench_history"), done);
    let balances = "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches),
                           (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)";
    assert_eq!(server.query(balances), "t|t");

    let parallel = "set max_parallel_workers_per_gather = 2; set min_parallel_table_scan_size = 0;
                    set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
                    explain (analyze, costs off, timing off, summary off) select sum(abalance) from pgbench_accounts";
    let plan = server.query(parallel);
    assert!(plan.contains("Workers Launched: 2"), "{plan}");
    server.assert_kernel_saw_nothing();
}

/// Kills a backend with SIGKILL. The server must reset its shared memory and recover.
fn lose_a_backend(server: &Server) {
    let (session, backend) = server.background("select pg_sleep(600)");
    kill(backend, Signal::KILL);
    assert!(!finish(session).success());
    let recovered = || server.psql("select 1").stderr(Stdio::null()).output().unwrap().status.success().then_some(());
    // The server may still answer before it notices that the backend was killed.
    wait_for("the server to notice", || server.log().contains("was terminated by signal 9").then_some(()));
    wait_for("the recovery", || recovered().filter(|()| server.log().contains("reinitializing")));
    assert_eq!(server.query(ACCOUNTS), ALL_THERE);
    server.assert_kernel_saw_nothing();
}

/// Kills the postmaster with SIGKILL while a backend is still attached. A second server must refuse
/// to start on the same data, because of the attach count of the segment. After the backend has
/// exited, it must start.
fn lose_the_postmaster(server: &Server) {
    // During this query, the backend does not check whether the postmaster is alive.
    let busy = "select count(*) from generate_series(1, 100000000000)";
    let (session, backend) = server.background(busy);
    let postmaster = server.postmaster();
    kill(postmaster, Signal::KILL);
    wait_for("the exit of the postmaster", || has_exited(postmaster).then_some(()));
    assert!(!has_exited(backend), "the backend must still run");

    let refused = server.pg_ctl(&["-w", "-t", "30", "start"]);
    assert!(!refused.status.success(), "a second server started although a backend is attached");
    assert!(server.log().contains("is still in use"), "{}", server.log());

    kill(backend, Signal::KILL);
    let status = finish(session);
    assert!(!status.success() && status.signal().is_none());
    wait_for("the exit of the backend", || has_exited(backend).then_some(()));
    // The other children exit when they notice that the postmaster is gone.
    wait_for("a new server", || server.pg_ctl(&["-w", "-t", "60", "start"]).status.success().then_some(()));
    assert_eq!(server.query(ACCOUNTS), ALL_THERE);
    server.assert_kernel_saw_nothing();
}
