//! Starts, kills, stops and interrupts the workers, and checks the namespace after each round.

use crate::files::{FINDINGS, LEDGER, NAMESPACE};
use crate::ledger::{Ledger, REFUSED, SENT, STARTED};
use crate::objects::{self, Objects};
use crate::params::{BLOCK_LEN, BLOCKS, CAPACITIES, MAX_MESSAGES, MAX_TEXT, QUEUES, SEGMENTS, TRANSIENT_KEYS, WORKERS};
use crate::payload::Payload;
use crate::{block, ledger, worker};
use fastrand::Rng;
use quintet::{Errno, Key, Kind, MsgFlags, Namespace};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// Another user and its group.
const NOBODY: u32 = 65534;

/// Limit for an action: no call waits longer than a moment.
const HANG_LIMIT: Duration = Duration::from_secs(20);
/// How often the supervisor looks for workers that hang.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How often counts are printed.
const PRINT_INTERVAL: Duration = Duration::from_secs(30);

/// Counts over all rounds.
#[derive(Default)]
struct Counters {
    rounds: u64,
    kills: u64,
    stops: u64,
    interruptions: u64,
    actions: u64,
    waits: u64,
    sent: u64,
    received: u64,
    /// Messages lost because their receiver was killed while it received.
    lost: u64,
    /// Messages that were returned to the queue when a receiver was killed.
    late: u64,
    /// Messages of senders that were killed before the call returned. They may have been sent or
    /// not.
    unknown: u64,
}

pub struct Supervisor {
    directory: tempfile::TempDir,
    /// `true` if every other worker runs as another user.
    second_user: bool,
    ns: Namespace,
    ledger: Ledger,
    objects: Objects,
    rng: Rng,
    round: Duration,
    workers: Vec<Child>,
    /// For each stopped worker, the time until which it is stopped.
    stopped: [Option<Instant>; WORKERS],
    /// For each queue, the workers killed while they received from it in this round.
    losses: [u64; QUEUES],
    counters: Counters,
    /// The state after the first round and after the last one.
    after: Option<(State, State)>,
}

/// The state of the namespace after all workers have exited.
#[derive(Clone, Copy, Debug)]
struct State {
    files: usize,
    /// The disk space of the files.
    bytes: u64,
    slots: usize,
    descriptors: usize,
    mappings: usize,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { files, bytes, slots, descriptors, mappings } = self;
        write!(
            f,
            "{files} files of {bytes} bytes, {slots} registry slot; supervisor: {descriptors} descriptors, {mappings} mappings"
        )
    }
}

/// The lasting objects, and the transient objects that sixteen processes may have at a time.
/// Control files stay for the next object.
const MAX_FILES: usize = 120;
/// One or two per file, and those of the program.
const MAX_MAPPINGS: usize = 3 * MAX_FILES;

/// Returns the limit for the disk space of a file.
fn max_bytes(name: &str) -> u64 {
    match *name.split('/').collect::<Vec<_>>() {
        // A control file. The bytes of a removed segment may wait for reuse.
        ["", "shm", index] if !index.ends_with(".data") => 8192,
        ["", "shm", _] => SEGMENTS.into_iter().max().unwrap_or(0),
        // Each process that holds undo or waits has a page or two.
        ["", "sem", _] => 512 << 10,
        // Each message has a header, and most have little text.
        ["", "msg", index] => {
            8 * index.trim_end_matches(".data").parse().ok().and_then(|nth: usize| CAPACITIES.get(nth)).unwrap_or(&0)
                + (128 << 10)
        }
        ["", "registry"] => 64 << 10,
        _ => 4096,
    }
}

impl Supervisor {
    pub fn new(seed: u64, round: Duration, kind: Kind) -> Result<Supervisor, String> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| e.to_string())?;
        let memory = Path::new("/dev/shm");
        let location = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("quintet-soak-").tempdir_in(location).map_err(|e| e.to_string())?;
        let second_user = kind == Kind::Shared && rustix::process::geteuid().is_root();
        if second_user {
            std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).map_err(|e| e.to_string())?;
        }
        let ns = Namespace::create(directory.path().join(NAMESPACE), kind).map_err(|e| e.to_string())?;
        let path = directory.path().join(LEDGER);
        let ledger = Ledger::create(&path).map_err(|e| e.to_string())?;
        for path in [path, directory.path().join(FINDINGS)] {
            let file = std::fs::File::options().append(true).create(true).open(&path);
            let opened =
                file.and_then(|file| file.set_permissions(Permissions::from_mode(if second_user { 0o666 } else { 0o600 })));
            opened.map_err(|e| e.to_string())?;
        }
        let objects = Objects::create(&ns, if second_user { 0o666 } else { 0o600 }).map_err(|e| e.to_string())?;
        Ok(Supervisor {
            second_user,
            directory,
            ns,
            ledger,
            objects,
            rng: Rng::with_seed(seed),
            round,
            workers: Vec::new(),
            stopped: [None; WORKERS],
            losses: [0; QUEUES],
            counters: Counters::default(),
            after: None,
        })
    }

    /// Runs rounds until the time is over.
    pub fn run(&mut self, time: Duration) -> Result<(), String> {
        let (begin, mut printed) = (Instant::now(), Instant::now());
        while self.counters.rounds == 0 || begin.elapsed() < time {
            let result = self.run_round().and_then(|()| self.stop_workers()).and_then(|()| self.check_round());
            result.map_err(|why| why + &self.findings())?;
            if printed.elapsed() > PRINT_INTERVAL {
                printed = Instant::now();
                self.print_counters(begin.elapsed());
            }
        }
        self.print_counters(begin.elapsed());
        println!("soak: no violations");
        Ok(())
    }

    fn print_counters(&self, time: Duration) {
        let Counters { rounds, kills, stops, interruptions, actions, waits, sent, received, lost, late, unknown } =
            &self.counters;
        println!(
            "soak: {:.0} s, {rounds} rounds: {kills} killed, {stops} stopped, {interruptions} interrupted; {actions} actions, {waits} calls that could \
             block; {sent} messages sent, {received} received, {lost} lost with killed receivers, {late} late because of them, {unknown} of unknown fate",
            time.as_secs_f64()
        );
        if let Some((first, last)) = &self.after {
            println!("soak: after the first round {first}\nsoak: after the last round  {last}");
        }
    }

    fn start(&mut self, number: usize) -> Result<Child, String> {
        let page = &self.ledger.pages[number];
        page.incarnation.fetch_add(1, SeqCst);
        page.receiving.store(0, SeqCst);
        page.doing.store(0, SeqCst);
        page.since.store(ledger::nanoseconds(), SeqCst);
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg("worker").arg(number.to_string()).arg(self.directory.path()).arg(self.rng.u64(..).to_string());
        if self.second_user && number % 2 == 1 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().map_err(|e| e.to_string())
    }

    /// Runs one round: starts all workers, and kills, stops and interrupts them.
    fn run_round(&mut self) -> Result<(), String> {
        self.counters.rounds += 1;
        self.ledger.round_word.store((self.counters.rounds as u32) << 1, SeqCst);
        self.losses = [0; QUEUES];
        self.workers = (0..WORKERS).map(|number| self.start(number)).collect::<Result<_, _>>()?;
        let end = Instant::now() + self.round;
        let mut watched = Instant::now();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(self.rng.u64(200..6000)));
            let number = self.rng.usize(0..WORKERS);
            match self.rng.u32(0..100) {
                0..50 => self.kill(number)?,
                50..75 => self.stop(number),
                _ => self.interrupt(number),
            }
            self.resume(false);
            if watched.elapsed() > CHECK_INTERVAL {
                watched = Instant::now();
                self.check_workers()?;
            }
        }
        Ok(())
    }

    fn pid(&self, number: usize) -> Pid {
        Pid::from_child(&self.workers[number])
    }

    fn kill(&mut self, number: usize) -> Result<(), String> {
        self.stopped[number] = None;
        let child = &mut self.workers[number];
        let status = child.kill().and_then(|()| child.wait()).map_err(|e| e.to_string())?;
        if status.code().is_some() {
            return Err(format!("worker {number} exited on its own: {status}"));
        }
        self.counters.kills += 1;
        if let Some(queue) = self.ledger.pages[number].receiving.load(SeqCst).checked_sub(1) {
            self.losses[queue as usize % QUEUES] += 1;
        }
        self.workers[number] = self.start(number)?;
        Ok(())
    }

    fn stop(&mut self, number: usize) {
        // A stopped worker may hold any lock.
        let time = Duration::from_micros(self.rng.u64(100..30_000));
        self.counters.stops += 1;
        self.stopped[number] = Some(Instant::now() + time);
        let _ = kill_process(self.pid(number), Signal::STOP);
    }

    /// Resumes workers after their stop, or all.
    fn resume(&mut self, all: bool) {
        for number in 0..WORKERS {
            if self.stopped[number].is_some_and(|until| all || until <= Instant::now()) {
                self.stopped[number] = None;
                self.ledger.pages[number].since.store(ledger::nanoseconds(), SeqCst);
                let _ = kill_process(self.pid(number), Signal::CONT);
            }
        }
    }

    fn interrupt(&mut self, number: usize) {
        // Not before the worker has installed its signal handler.
        if self.ledger.pages[number].doing.load(SeqCst) != 0 {
            self.counters.interruptions += 1;
            let _ = kill_process(self.pid(number), Signal::USR1);
        }
    }

    /// Checks that no worker has exited on its own, and that none hangs.
    fn check_workers(&mut self) -> Result<(), String> {
        for number in 0..WORKERS {
            if let Some(status) = self.workers[number].try_wait().map_err(|e| e.to_string())? {
                return Err(format!("worker {number} exited on its own: {status}"));
            }
            let page = &self.ledger.pages[number];
            let since = Duration::from_nanos(ledger::nanoseconds().saturating_sub(page.since.load(SeqCst)));
            if since > HANG_LIMIT {
                let action = (page.doing.load(SeqCst) as usize).checked_sub(1).and_then(|nth| worker::ACTIONS.get(nth));
                let action = action.map_or("begin", |action| action.0);
                return Err(format!("worker {number} hangs in '{action}' for {since:.1?}: {}", location(self.pid(number))));
            }
        }
        Ok(())
    }

    /// Ends the round: all workers exit.
    fn stop_workers(&mut self) -> Result<(), String> {
        self.ledger.round_word.fetch_or(1, SeqCst);
        self.resume(true);
        let end = Instant::now() + HANG_LIMIT;
        for (number, child) in self.workers.iter_mut().enumerate() {
            loop {
                match child.try_wait().map_err(|e| e.to_string())? {
                    Some(status) if status.success() => break,
                    Some(status) => return Err(format!("worker {number} exited on its own: {status}")),
                    None if Instant::now() > end => {
                        return Err(format!("worker {number} does not exit: {}", location(Pid::from_child(child))));
                    }
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
        // Children of killed workers.
        while !matches!(rustix::process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD)) {
            if Instant::now() > end {
                return Err("a child of a killed worker does not exit".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Checks the namespace after all workers have exited.
    fn check_round(&mut self) -> Result<(), String> {
        // Undo of killed processes must be complete before a sweep.
        self.objects.check_balance(&self.ns)?;
        let no = |e: Errno| e.to_string();
        let damaged = self.ns.damaged_queues().map_err(no)?;
        if !damaged.is_empty() {
            return Err(format!("damaged: {damaged:?}"));
        }
        for nth in 0..QUEUES {
            self.drain(nth)?;
        }
        self.count_messages()?;
        self.ns.sweep().map_err(no)?;
        self.check_lists()?;
        (0..QUEUES).try_for_each(|nth| self.fill(nth))?;
        (0..SEGMENTS.len()).try_for_each(|nth| self.check_blocks(nth))?;
        self.remove_transient();
        self.check_state()?;
        for page in &self.ledger.pages {
            self.counters.actions += page.actions.swap(0, SeqCst);
            self.counters.waits += page.waits.swap(0, SeqCst);
        }
        Ok(())
    }

    /// Receives all remaining messages of a queue.
    fn drain(&mut self, nth: usize) -> Result<(), String> {
        let id = self.objects.queues[nth];
        let mut buffer = vec![0; 2 * MAX_TEXT];
        loop {
            match self.ns.msgrcv(id, &mut buffer, 0, MsgFlags::NOWAIT, None) {
                Ok((mtype, len)) => {
                    let payload = Payload::read(&buffer[..len])?;
                    self.ledger.note_received(payload, nth as u32, self.counters.rounds as u32, mtype)?;
                }
                Err(Errno::NOMSG) => break,
                Err(e) => return Err(format!("cannot drain queue {nth}: {e}")),
            }
        }
        let stat = self.ns.msg_stat(id).map_err(|e| e.to_string())?;
        match (stat.messages, stat.bytes) {
            (0, 0) => Ok(()),
            (messages, bytes) => Err(format!("queue {nth} is empty but counts {messages} messages and {bytes} bytes")),
        }
    }

    /// Checks that each sent message was received once, unless its receiver was killed.
    fn count_messages(&mut self) -> Result<(), String> {
        let mut missing = [0; QUEUES];
        for (from, page) in self.ledger.pages.iter().enumerate() {
            let count = page.messages.swap(0, SeqCst) as usize;
            for (number, record) in page.records[..count.min(MAX_MESSAGES)].iter().enumerate() {
                let (sent, received) = (record.sent.swap(0, SeqCst), record.received.swap(0, SeqCst));
                match (sent, received) {
                    (SENT, 1) => {}
                    (SENT, 0) => missing[record.queue.load(SeqCst) as usize % QUEUES] += 1,
                    (REFUSED, 0) => continue,
                    (STARTED, 0 | 1) => self.counters.unknown += 1,
                    _ => return Err(format!("message {number} of worker {from}: sent {sent}, received {received} times")),
                }
                self.counters.sent += u64::from(sent == SENT);
                self.counters.received += u64::from(received);
            }
        }
        for nth in 0..QUEUES {
            let (missing, killed) = (missing[nth], self.losses[nth]);
            let late = u64::from(self.ledger.late[nth].swap(0, SeqCst));
            if missing + late > killed {
                return Err(format!(
                    "queue {nth}: {missing} messages lost and {late} late, but only {killed} workers were killed while receiving from it"
                ));
            }
            self.counters.late += late;
            self.counters.lost += missing;
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), String> {
        let participants = self.ns.participants().map_err(|e| e.to_string())?;
        if participants.iter().any(|participant| participant.pid != std::process::id() as i32) {
            return Err(format!("all workers have exited, but participants remain: {participants:?}"));
        }
        for set in self.ns.sets().map_err(|e| e.to_string())? {
            if !set.waiters.is_empty() || !set.undo.is_empty() {
                return Err(format!("killed workers left waiters or undo: {set:?}"));
            }
        }
        for queue in self.ns.queues().map_err(|e| e.to_string())? {
            if !queue.waiters.is_empty() {
                return Err(format!("killed workers left waiters: {queue:?}"));
            }
        }
        for segment in self.ns.segments().map_err(|e| e.to_string())? {
            if segment.stat.nattch != 0 || segment.stat.key == Key::PRIVATE && segment.stat.size != 0 && !segment.orphan {
                return Err(format!("all workers have exited, but a segment is attached: {segment:?}"));
            }
        }
        Ok(())
    }

    /// Fills a queue to its capacity and empties it.
    fn fill(&mut self, nth: usize) -> Result<(), String> {
        const LEN: usize = 100;
        let (id, fits) = (self.objects.queues[nth], CAPACITIES[nth] as usize / LEN);
        let mut sent = 0;
        let refused = loop {
            match self.ns.msgsnd(id, 7, &[sent as u8; LEN], MsgFlags::NOWAIT, None) {
                Ok(()) => sent += 1,
                Err(e) => break e,
            }
        };
        if (sent, refused) != (fits, Errno::AGAIN) {
            return Err(format!("queue {nth} accepted {sent} messages, expected {fits}; then: {refused}"));
        }
        let mut buffer = [0; LEN];
        for nth in 0..sent {
            let got = self.ns.msgrcv(id, &mut buffer, 0, MsgFlags::NOWAIT, None);
            if got != Ok((7, LEN)) || buffer != [nth as u8; LEN] {
                return Err(format!("message {nth} of {sent}: {got:?}, {:?}...", &buffer[..4]));
            }
        }
        Ok(())
    }

    fn check_blocks(&self, nth: usize) -> Result<(), String> {
        let memory = objects::open_segment(&self.ns, nth).and_then(|segment| segment.attach()).map_err(|e| e.to_string())?;
        for at in (0..BLOCKS).map(|block| objects::location(nth, block)) {
            let mut text = [0; BLOCK_LEN];
            memory.read(at, &mut text).map_err(|e| e.to_string())?;
            let owner = memory.atomic_u32(at).map_err(|e| e.to_string())?;
            if owner.swap(0, SeqCst) == 0 {
                block::check(&text)?;
            } else {
                // A killed process has left it half-written, and no process has used it since.
                memory.fill(at, BLOCK_LEN, 0).map_err(|e| e.to_string())?;
            }
        }
        memory.detach().map_err(|e| e.to_string())
    }

    /// Removes the objects under transient keys.
    fn remove_transient(&self) {
        let is_transient = |key: Key| key == Key::PRIVATE || TRANSIENT_KEYS.contains(&key.raw());
        let (ns, ids) =
            (&self.ns, |all: Vec<(Key, i32)>| all.into_iter().filter(move |(key, _)| is_transient(*key)).map(|(_, id)| id));
        let segments =
            ns.segments().unwrap_or_default().iter().map(|segment| (segment.stat.key, segment.stat.id.raw())).collect();
        ids(segments).for_each(|id| _ = ns.shm_remove(id));
        let sets = ns.sets().unwrap_or_default().iter().map(|set| (set.stat.key, set.stat.id.raw())).collect();
        ids(sets).for_each(|id| _ = ns.sem_remove(id));
        let queues = ns.queues().unwrap_or_default().iter().map(|queue| (queue.stat.key, queue.stat.id.raw())).collect();
        ids(queues).for_each(|id| _ = ns.msg_remove(id));
    }

    /// Checks that nothing has grown.
    fn check_state(&mut self) -> Result<(), String> {
        let mut files = BTreeMap::new();
        list_files(&self.directory.path().join(NAMESPACE), "", &mut files).map_err(|e| e.to_string())?;
        let text = std::fs::read_to_string("/proc/self/maps").map_err(|e| e.to_string())?;
        let now = State {
            files: files.len(),
            bytes: files.values().sum(),
            slots: self.ns.participants().map_err(|e| e.to_string())?.len(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            mappings: text.lines().count(),
        };
        for (name, bytes) in &files {
            let most = max_bytes(name);
            if *bytes > most {
                return Err(format!("{name} takes {bytes} bytes; the limit is {most}"));
            }
        }
        if now.files > MAX_FILES || now.mappings > MAX_MAPPINGS || now.slots != 1 {
            return Err(format!("more than {MAX_FILES} files, {MAX_MAPPINGS} mappings or 1 registry slot: {now:?}; {files:?}"));
        }
        if self.after.get_or_insert((now, now)).0.descriptors != now.descriptors {
            return Err(format!("descriptors: {:?}, {now:?}", self.after));
        }
        self.after = self.after.map(|(first, _)| (first, now));
        Ok(())
    }

    fn findings(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join(FINDINGS)).unwrap_or_default();
        text.lines().map(|line| format!("\n  {line}")).collect()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for child in &mut self.workers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lists files with their disk space.
fn list_files(folder: &Path, name: &str, files: &mut BTreeMap<String, u64>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, stat) = (format!("{name}/{}", entry.file_name().to_string_lossy()), entry.metadata()?);
        match stat.is_dir() {
            true => list_files(&entry.path(), &name, files)?,
            false => _ = files.insert(name, stat.blocks() * 512),
        }
    }
    Ok(())
}

/// Returns the state and the system call of a process.
fn location(pid: Pid) -> String {
    let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    let state = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    format!("state {state:?}, system call {}", read("syscall").trim())
}
