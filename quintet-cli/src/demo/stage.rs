//! The stage of the demo: its namespace, its clients, and the page that it prints.

use super::client::Client;
use crate::args::object;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::text::{BOLD, DIM, GOOD, Page};
use crate::system::temp_namespace::TempNamespace;
use crate::words::clean;
use quintet::{Id, Namespace, QueueStatus, SegmentStatus, SetStatus};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;

/// What the reader can try next.
const NEXT: [(&str, &str); 6] = [
    ("quintet doctor -- PROGRAM", "can it be run? if not, why not?"),
    ("quintet run -- PROGRAM", "run it on your own namespace, which is kept"),
    ("quintet run --private -- PROGRAM", "run it on a new namespace, removed at exit"),
    ("quintet ls", "list objects and the processes that use them"),
    ("quintet why PID", "what does the process wait for?"),
    ("quintet rm --orphans", "remove what exited programs left behind"),
];

pub struct Stage<'a> {
    page: Page,
    temp: &'a TempNamespace,
    program: PathBuf,
    /// The file from which the clients make their keys.
    file: NamedTempFile,
    /// The pids of all clients so far.
    pub pids: Vec<u32>,
    interrupted: Arc<AtomicBool>,
    scene: u32,
}

impl<'a> Stage<'a> {
    pub fn new(context: &Context, temp: &'a TempNamespace) -> Result<Stage<'a>, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Without the handler, an interrupted demo leaves its namespace behind. It can still be
            // played.
            let _ = signal_hook::flag::register(signal, interrupted.clone());
        }
        let program = std::env::current_exe().map_err(|e| Failure::system("find the path of this program", &e))?;
        let file = NamedTempFile::with_prefix("quintet-demo-");
        let file = file.map_err(|e| Failure::io("create a file in", &std::env::temp_dir(), &e))?;
        let page = Page::new(context);
        Ok(Stage { page, temp, program, file, pids: Vec::new(), interrupted, scene: 0 })
    }

    pub fn open(&mut self) -> Result<(), Failure> {
        let path = clean(&self.temp.path().to_string_lossy());
        self.explain("Quintet provides System V IPC in user space. A namespace is a directory, and each object in it is")?;
        self.explain("a file. File permissions decide which users may enter the directory and find the objects.")?;
        self.explain("The clients in this demo call shmget, shmat, shmdt, shmctl, semget, semop, semctl, msgget, msgsnd,")?;
        self.explain("msgrcv, msgctl and ftok of libc, and nothing of Quintet. 'quintet run' starts each of them on this")?;
        self.explain("namespace, which is removed at the end:")?;
        self.explain(&format!("  {path}"))
    }

    pub fn close(&mut self) -> Result<(), Failure> {
        self.page.gap()?;
        self.page.line(format_args!("{GOOD}All values are correct.{GOOD:#} Try your own programs:"))?;
        for (command, purpose) in NEXT {
            self.page.line(format_args!("  {BOLD}{command:<33}{BOLD:#} {purpose}"))?;
        }
        Ok(self.page.flush()?)
    }

    /// Begins a scene.
    pub fn scene(&mut self, title: &str) -> Result<(), Failure> {
        self.scene += 1;
        self.page.gap()?;
        self.page.line(format_args!("{BOLD}{}. {title}{BOLD:#}", self.scene))?;
        Ok(self.page.flush()?)
    }

    /// Prints a line of explanation.
    pub fn explain(&mut self, text: &str) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("cannot continue the demo: a signal interrupted it"));
        }
        self.page.line(format_args!("{text}"))?;
        Ok(self.page.flush()?)
    }

    /// Prints a line of a client.
    pub fn say(&mut self, name: &str, line: &str) -> Result<(), Failure> {
        self.explain(&format!("    {DIM}{name:>7} |{DIM:#} {line}"))
    }

    /// Prints a fact, or fails if it is wrong.
    pub fn check(&mut self, is_true: bool, fact: &str) -> Result<(), Failure> {
        if is_true {
            return self.explain(&format!("    {GOOD}     ok |{GOOD:#} {fact}"));
        }
        Err(Failure::new(format!("cannot continue the demo: a check failed: {fact}"))
            .remedy("'quintet doctor' examines this machine"))
    }

    /// Starts a client on the namespace.
    pub fn start(&mut self, role: &'static str) -> Result<Client, Failure> {
        let mut command = self.quintet();
        command.arg("run").arg("--").arg(&self.program).arg("demo-client").arg(role).arg(self.file.path());
        let client = Client::start(role, command)?;
        self.pids.push(client.pid());
        Ok(client)
    }

    /// Prints and returns the lines of a client until it pauses or exits.
    pub fn listen(&mut self, client: &mut Client) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        while let Some(line) = client.line()? {
            self.say(client.name(), &line)?;
            lines.push(line);
        }
        Ok(lines)
    }

    /// Lets a client run to its end, and checks that it succeeds. Prints and returns its lines.
    pub fn finish(&mut self, mut client: Client) -> Result<Vec<String>, Failure> {
        client.close_input();
        let lines = self.listen(&mut client)?;
        client.wait()?;
        Ok(lines)
    }

    /// Runs a command of `quintet`. Prints and returns its output.
    pub fn show(&mut self, args: &[&str]) -> Result<String, Failure> {
        let command = args.join(" ");
        self.explain(&format!("    {BOLD}$ quintet {command}{BOLD:#}"))?;
        let output = self.quintet().args(args).output();
        let output = output.map_err(|e| Failure::system("start quintet", &e))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            self.explain(&format!("      {line}"))?;
        }
        if output.status.success() {
            return Ok(text);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("cannot continue the demo: 'quintet {command}' failed: {}", error.trim())))
    }

    fn quintet(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--namespace").arg(self.temp.path());
        command
    }

    pub fn namespace(&self) -> &Namespace {
        self.temp.namespace()
    }

    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// Returns the status of a segment, or `None` if it does not exist.
    pub fn segment(&self, id: Id) -> Result<Option<SegmentStatus>, Failure> {
        Ok(self.namespace().segments()?.into_iter().find(|s| s.stat.id == id))
    }

    /// Returns the status of a set, or `None` if it does not exist.
    pub fn set(&self, id: Id) -> Result<Option<SetStatus>, Failure> {
        Ok(object::sets(self.namespace())?.into_iter().find(|s| s.stat.id == id))
    }

    /// Returns the status of a queue, or `None` if it does not exist.
    pub fn queue(&self, id: Id) -> Result<Option<QueueStatus>, Failure> {
        Ok(object::queues(self.namespace())?.into_iter().find(|q| q.stat.id == id))
    }

    /// Blocks until a client is blocked at a set or a queue.
    pub fn until_blocked(&self, object: BlockedAt, client: &mut Client) -> Result<(), Failure> {
        while !self.blocked_pids(object)?.contains(&client.pid()) {
            if client.has_exited() || self.interrupted.load(Ordering::Relaxed) {
                return Err(client.exited_early());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn blocked_pids(&self, object: BlockedAt) -> Result<Vec<u32>, Failure> {
        Ok(match object {
            BlockedAt::Set(id) => self.set(id)?.iter().flat_map(|set| &set.waiters).map(|w| w.pid as u32).collect(),
            BlockedAt::Queue(id) => self.queue(id)?.iter().flat_map(|queue| &queue.waiters).map(|w| w.pid as u32).collect(),
        })
    }
}

/// The object at which a client is blocked.
#[derive(Clone, Copy)]
pub enum BlockedAt {
    Set(Id),
    Queue(Id),
}
