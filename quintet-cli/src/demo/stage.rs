//! Where the demo is played: the namespace, and the page on which it is told.

use super::client::Client;
use crate::context::Context;
use crate::failure::{Failure, reason};
use crate::object;
use crate::output::text::{BOLD, DIM, GOOD, Page};
use crate::scratch::Scratch;
use quintet::{Id, Namespace, QueueStatus, SegmentStatus, SetStatus};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;

/// What a reader can do next.
const NEXT: [(&str, &str); 6] = [
    ("quintet doctor -- PROGRAM", "can it be run? if not, why not?"),
    ("quintet run -- PROGRAM", "run it on your own namespace, each time the same"),
    ("quintet run --private -- PROGRAM", "or on a fresh one that goes when it ends"),
    ("quintet ls", "what is there, and who is attached"),
    ("quintet why PID", "what does it wait for, and who has it?"),
    ("quintet rm --orphans", "clear what dead programs left"),
];

pub struct Stage<'a> {
    page: Page,
    scratch: &'a Scratch,
    program: PathBuf,
    /// The file of which the clients make their keys.
    file: NamedTempFile,
    /// The processes that have played.
    pub pids: Vec<u32>,
    interrupted: Arc<AtomicBool>,
    scene: u32,
}

impl<'a> Stage<'a> {
    pub fn new(context: &Context, scratch: &'a Scratch) -> Result<Stage<'a>, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Without it an interrupted demo leaves its namespace behind; no reason not to play.
            let _ = signal_hook::flag::register(signal, interrupted.clone());
        }
        let program = std::env::current_exe().map_err(|e| Failure::new(format!("cannot find this program: {}", reason(&e))))?;
        let file = NamedTempFile::with_prefix("quintet-demo-");
        let file = file.map_err(|e| Failure::io("make a file in", &std::env::temp_dir(), &e))?;
        let page = Page::new(context);
        Ok(Stage { page, scratch, program, file, pids: Vec::new(), interrupted, scene: 0 })
    }

    pub fn open(&mut self) -> Result<(), Failure> {
        let path = self.scratch.path().display().to_string();
        self.tell("Quintet gives programs System V IPC in user space. A namespace is a directory, and an object")?;
        self.tell("in it is a file: who may enter the directory finds the objects, nobody else does.")?;
        self.tell("The clients in this demo call shmget, shmat, shmdt, shmctl, semget, semop, semctl, msgget, msgsnd,")?;
        self.tell("msgrcv, msgctl and ftok of libc, and know nothing of Quintet. 'quintet run' starts each on this namespace, which goes when the demo ends:")?;
        self.tell(&format!("  {path}"))
    }

    pub fn close(&mut self) -> Result<(), Failure> {
        self.page.gap()?;
        self.page.line(format_args!("{GOOD}All values were right.{GOOD:#} Now with programs of your own:"))?;
        for (command, purpose) in NEXT {
            self.page.line(format_args!("  {BOLD}{command:<33}{BOLD:#} {purpose}"))?;
        }
        Ok(self.page.flush()?)
    }

    pub fn scene(&mut self, title: &str) -> Result<(), Failure> {
        self.scene += 1;
        self.page.gap()?;
        self.page.line(format_args!("{BOLD}{}. {title}{BOLD:#}", self.scene))?;
        Ok(self.page.flush()?)
    }

    /// A sentence of the story.
    pub fn tell(&mut self, text: &str) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("the demo was interrupted"));
        }
        self.page.line(format_args!("{text}"))?;
        Ok(self.page.flush()?)
    }

    /// What a client has said.
    pub fn say(&mut self, name: &str, line: &str) -> Result<(), Failure> {
        self.tell(&format!("    {DIM}{name:>7} |{DIM:#} {line}"))
    }

    /// A fact that was checked.
    pub fn check(&mut self, right: bool, fact: &str) -> Result<(), Failure> {
        if !right {
            return Err(
                Failure::new(format!("the demo has failed: this is not so: {fact}")).remedy("'quintet doctor' may tell why")
            );
        }
        self.tell(&format!("    {GOOD}     ok |{GOOD:#} {fact}"))
    }

    /// Starts a client on the namespace.
    pub fn start(&mut self, role: &'static str) -> Result<Client, Failure> {
        let mut command = self.quintet();
        command.arg("run").arg("--").arg(&self.program).arg("demo-client").arg(role).arg(self.file.path());
        let client = Client::start(role, command)?;
        self.pids.push(client.pid());
        Ok(client)
    }

    /// Runs a command of `quintet` for the reader, and shows what it prints.
    pub fn show(&mut self, args: &[&str]) -> Result<String, Failure> {
        self.tell(&format!("    {BOLD}$ quintet {}{BOLD:#}", args.join(" ")))?;
        let output = self.quintet().args(args).output();
        let output = output.map_err(|e| Failure::new(format!("cannot start quintet: {}", reason(&e))))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            self.tell(&format!("      {line}"))?;
        }
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("'quintet {}' has failed: {}", args.join(" "), said.trim())));
        }
        Ok(text)
    }

    fn quintet(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--namespace").arg(self.scratch.path());
        command
    }

    pub fn namespace(&self) -> &Namespace {
        self.scratch.namespace()
    }

    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// A segment as the library sees it.
    pub fn segment(&self, id: Id) -> Result<Option<SegmentStatus>, Failure> {
        Ok(self.namespace().segments()?.into_iter().find(|s| s.stat.id == id))
    }

    /// A set as the library sees it.
    pub fn set(&self, id: Id) -> Result<Option<SetStatus>, Failure> {
        Ok(object::sets(self.namespace())?.into_iter().find(|s| s.stat.id == id))
    }

    /// A queue as the library sees it.
    pub fn queue(&self, id: Id) -> Result<Option<QueueStatus>, Failure> {
        Ok(object::queues(self.namespace())?.into_iter().find(|q| q.stat.id == id))
    }

    /// Waits until a client waits for a semaphore of the set, or at the queue.
    pub fn until_waiting(&self, object: Waited, client: &mut Client) -> Result<(), Failure> {
        while !self.pids_waiting(object)?.contains(&client.pid()) {
            if client.has_ended() || self.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new(format!("the {} has ended early", client.name())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn pids_waiting(&self, object: Waited) -> Result<Vec<u32>, Failure> {
        Ok(match object {
            Waited::Set(id) => self.set(id)?.iter().flat_map(|set| &set.waiters).map(|waiter| waiter.pid as u32).collect(),
            Waited::Queue(id) => {
                self.queue(id)?.iter().flat_map(|queue| &queue.waiters).map(|waiter| waiter.pid as u32).collect()
            }
        })
    }
}

/// Where a client waits.
#[derive(Clone, Copy)]
pub enum Waited {
    Set(Id),
    Queue(Id),
}
