//! Who kills and starts, and counts at the end of each round.

use crate::ledger::{Ledger, MOST, REFUSED, SENT};
use crate::letter::Letter;
use crate::objects::{self, CAPACITIES, LONGEST, Objects, PASSING, QUEUES, SEGMENTS, STRIPES};
use crate::{WORKERS, stripe, worker};
use fastrand::Rng;
use quintet::{Errno, Key, Kind, MsgFlags, Namespace};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub const NAMESPACE: &str = "ns";
pub const LEDGER: &str = "ledger";
/// Another user, and his group.
const NOBODY: u32 = 65534;
const FINDINGS: &str = "findings";

/// Nothing takes so long: no call waits for more than a moment.
const BOUND: Duration = Duration::from_secs(20);
/// How often it is looked whether somebody hangs.
const WATCH: Duration = Duration::from_millis(200);
/// How often it is told how it goes.
const TELL: Duration = Duration::from_secs(30);

/// What happened, all rounds together.
#[derive(Default)]
struct Figures {
    rounds: u64,
    kills: u64,
    stops: u64,
    interruptions: u64,
    deeds: u64,
    waits: u64,
    sent: u64,
    received: u64,
    /// Messages that went with somebody who was killed while he received.
    lost: u64,
    /// Messages that were given back when somebody was killed while he received.
    late: u64,
    /// Messages whose sender was killed before he knew: were they sent?
    unknown: u64,
}

pub struct Storm {
    directory: tempfile::TempDir,
    /// Every other worker is another user.
    others: bool,
    ns: Namespace,
    ledger: Ledger,
    objects: Objects,
    dice: Rng,
    round: Duration,
    workers: Vec<Child>,
    /// Who is stopped, and until when.
    stopped: [Option<Instant>; WORKERS],
    /// How many were killed while they received from a queue, in this round.
    losses: [u64; QUEUES],
    figures: Figures,
    /// What there was after the first round, and after the last.
    after: Option<(State, State)>,
}

/// What there is when all have left.
#[derive(Clone, Copy, Debug)]
struct State {
    files: usize,
    /// What the files take.
    bytes: u64,
    slots: usize,
    descriptors: usize,
    mappings: usize,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { files, bytes, slots, descriptors, mappings } = self;
        write!(f, "{files} files of {bytes} bytes, {slots} slot; of who counts {descriptors} descriptors, {mappings} mappings")
    }
}

/// What lasts, and what sixteen processes may have at a time of what comes and goes: control files stay for the next user.
const MOST_FILES: usize = 120;
/// Of each file one or two, and the program's own.
const MOST_MAPPINGS: usize = 3 * MOST_FILES;

/// What a file may take, from what it is for.
fn most_bytes(name: &str) -> u64 {
    match *name.split('/').collect::<Vec<_>>() {
        // Control files; the bytes of the segments, one of which may be waiting for the next.
        ["", "shm", index] if !index.ends_with(".data") => 8192,
        ["", "shm", _] => SEGMENTS.into_iter().max().unwrap_or(0),
        // Each who holds or waits has a page or two.
        ["", "sem", _] => 512 << 10,
        // Messages have a head each, and few bytes most of them.
        ["", "msg", index] => {
            8 * index.trim_end_matches(".data").parse().ok().and_then(|nth: usize| CAPACITIES.get(nth)).unwrap_or(&0)
                + (128 << 10)
        }
        ["", "registry"] => 64 << 10,
        _ => 4096,
    }
}

impl Storm {
    pub fn new(seed: u64, round: Duration, kind: Kind) -> Result<Storm, String> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| e.to_string())?;
        let memory = Path::new("/dev/shm");
        let place = if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() };
        let directory = tempfile::Builder::new().prefix("quintet-soak-").tempdir_in(place).map_err(|e| e.to_string())?;
        let others = kind == Kind::Shared && rustix::process::geteuid().is_root();
        if others {
            std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).map_err(|e| e.to_string())?;
        }
        let ns = Namespace::create(directory.path().join(NAMESPACE), kind).map_err(|e| e.to_string())?;
        let path = directory.path().join(LEDGER);
        let ledger = Ledger::create(&path).map_err(|e| e.to_string())?;
        for path in [path, directory.path().join(FINDINGS)] {
            let file = std::fs::File::options().append(true).create(true).open(&path);
            let opened = file.and_then(|file| file.set_permissions(Permissions::from_mode(if others { 0o666 } else { 0o600 })));
            opened.map_err(|e| e.to_string())?;
        }
        let objects = Objects::create(&ns, if others { 0o666 } else { 0o600 }).map_err(|e| e.to_string())?;
        Ok(Storm {
            others,
            directory,
            ns,
            ledger,
            objects,
            dice: Rng::with_seed(seed),
            round,
            workers: Vec::new(),
            stopped: [None; WORKERS],
            losses: [0; QUEUES],
            figures: Figures::default(),
            after: None,
        })
    }

    /// Round after round.
    pub fn rage(&mut self, time: Duration) -> Result<(), String> {
        let (begin, mut told) = (Instant::now(), Instant::now());
        while self.figures.rounds == 0 || begin.elapsed() < time {
            let result = self.storm().and_then(|()| self.calm()).and_then(|()| self.count());
            result.map_err(|why| why + &self.findings())?;
            if told.elapsed() > TELL {
                told = Instant::now();
                self.tell(begin.elapsed());
            }
        }
        self.tell(begin.elapsed());
        println!("soak: nothing is wrong");
        Ok(())
    }

    fn tell(&self, time: Duration) {
        let Figures { rounds, kills, stops, interruptions, deeds, waits, sent, received, lost, late, unknown } = &self.figures;
        println!(
            "soak: {:.0} s, {rounds} rounds: {kills} killed, {stops} stopped, {interruptions} interrupted; {deeds} deeds, {waits} calls that \
             could wait; {sent} messages sent, {received} received, {lost} gone with their receivers, {late} late because of them, {unknown} of unknown fate",
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
        page.since.store(nanoseconds(), SeqCst);
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg("worker").arg(number.to_string()).arg(self.directory.path()).arg(self.dice.u64(..).to_string());
        if self.others && number % 2 == 1 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().map_err(|e| e.to_string())
    }

    /// A round: all work, and are hindered.
    fn storm(&mut self) -> Result<(), String> {
        self.figures.rounds += 1;
        self.ledger.over.store((self.figures.rounds as u32) << 1, SeqCst);
        self.losses = [0; QUEUES];
        self.workers = (0..WORKERS).map(|number| self.start(number)).collect::<Result<_, _>>()?;
        let end = Instant::now() + self.round;
        let mut watched = Instant::now();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(self.dice.u64(200..6000)));
            let number = self.dice.usize(0..WORKERS);
            match self.dice.u32(0..100) {
                0..50 => self.kill(number)?,
                50..75 => self.stop(number),
                _ => self.interrupt(number),
            }
            self.go_on(false);
            if watched.elapsed() > WATCH {
                watched = Instant::now();
                self.watch()?;
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
            return Err(format!("worker {number} had ended: {status}"));
        }
        self.figures.kills += 1;
        if let Some(queue) = self.ledger.pages[number].receiving.load(SeqCst).checked_sub(1) {
            self.losses[queue as usize % QUEUES] += 1;
        }
        self.workers[number] = self.start(number)?;
        Ok(())
    }

    fn stop(&mut self, number: usize) {
        // Whoever holds most may be stopped longest.
        let time = Duration::from_micros(self.dice.u64(100..30_000));
        self.figures.stops += 1;
        self.stopped[number] = Some(Instant::now() + time);
        let _ = kill_process(self.pid(number), Signal::STOP);
    }

    /// Those whose time has come, or all, go on.
    fn go_on(&mut self, all: bool) {
        for number in 0..WORKERS {
            if self.stopped[number].is_some_and(|until| all || until <= Instant::now()) {
                self.stopped[number] = None;
                self.ledger.pages[number].since.store(nanoseconds(), SeqCst);
                let _ = kill_process(self.pid(number), Signal::CONT);
            }
        }
    }

    fn interrupt(&mut self, number: usize) {
        // Not before it can be caught.
        if self.ledger.pages[number].doing.load(SeqCst) != 0 {
            self.figures.interruptions += 1;
            let _ = kill_process(self.pid(number), Signal::USR1);
        }
    }

    /// Nobody has ended of himself, and nobody hangs.
    fn watch(&mut self) -> Result<(), String> {
        for number in 0..WORKERS {
            if let Some(status) = self.workers[number].try_wait().map_err(|e| e.to_string())? {
                return Err(format!("worker {number} has ended: {status}"));
            }
            let page = &self.ledger.pages[number];
            let since = Duration::from_nanos(nanoseconds().saturating_sub(page.since.load(SeqCst)));
            if since > BOUND {
                let deed = (page.doing.load(SeqCst) as usize).checked_sub(1).and_then(|nth| worker::DEEDS.get(nth));
                let deed = deed.map_or("begin", |deed| deed.0);
                return Err(format!("worker {number} has been at '{deed}' for {since:.1?}: {}", place(self.pid(number))));
            }
        }
        Ok(())
    }

    /// The round is over: all leave, at once.
    fn calm(&mut self) -> Result<(), String> {
        self.ledger.over.fetch_or(1, SeqCst);
        self.go_on(true);
        let end = Instant::now() + BOUND;
        for (number, child) in self.workers.iter_mut().enumerate() {
            loop {
                match child.try_wait().map_err(|e| e.to_string())? {
                    Some(status) if status.success() => break,
                    Some(status) => return Err(format!("worker {number} has ended: {status}")),
                    None if Instant::now() > end => {
                        return Err(format!("worker {number} does not leave: {}", place(Pid::from_child(child))));
                    }
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
        // Children of the killed.
        while !matches!(rustix::process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD)) {
            if Instant::now() > end {
                return Err("a child of one of the killed does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// All are gone: what have they left?
    fn count(&mut self) -> Result<(), String> {
        // What the dead held is back before anything is swept.
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
        (0..SEGMENTS.len()).try_for_each(|nth| self.check_stripes(nth))?;
        self.clear_passing();
        self.check_state()?;
        for page in &self.ledger.pages {
            self.figures.deeds += page.deeds.swap(0, SeqCst);
            self.figures.waits += page.waits.swap(0, SeqCst);
        }
        Ok(())
    }

    /// Takes out what is left.
    fn drain(&mut self, nth: usize) -> Result<(), String> {
        let id = self.objects.queues[nth];
        let mut buffer = vec![0; 2 * LONGEST];
        loop {
            match self.ns.msgrcv(id, &mut buffer, 0, MsgFlags::NOWAIT, None) {
                Ok((mtype, len)) => {
                    let letter = Letter::read(&buffer[..len])?;
                    note(&self.ledger, letter, nth as u32, self.figures.rounds as u32, mtype)?;
                }
                Err(Errno::NOMSG) => break,
                Err(e) => return Err(format!("queue {nth} cannot be emptied: {e}")),
            }
        }
        let stat = self.ns.msg_stat(id).map_err(|e| e.to_string())?;
        match (stat.messages, stat.bytes) {
            (0, 0) => Ok(()),
            (messages, bytes) => Err(format!("the empty queue {nth} says that it has {messages} messages, {bytes} bytes")),
        }
    }

    /// Each message that was sent was received once, but for those that went with a receiver.
    fn count_messages(&mut self) -> Result<(), String> {
        let mut missing = [0; QUEUES];
        for (from, page) in self.ledger.pages.iter().enumerate() {
            let count = page.messages.swap(0, SeqCst) as usize;
            for (number, fate) in page.fates[..count.min(MOST)].iter().enumerate() {
                let (sent, received) = (fate.sent.swap(0, SeqCst), fate.received.swap(0, SeqCst));
                match (sent, received) {
                    (SENT, 1) => {}
                    (SENT, 0) => missing[fate.queue.load(SeqCst) as usize % QUEUES] += 1,
                    (REFUSED, 0) => continue,
                    (crate::ledger::INTENDED, 0 | 1) => self.figures.unknown += 1,
                    _ => return Err(format!("message {number} of worker {from}: sent {sent}, received {received} times")),
                }
                self.figures.sent += u64::from(sent == SENT);
                self.figures.received += u64::from(received);
            }
        }
        for nth in 0..QUEUES {
            let (missing, killed) = (missing[nth], self.losses[nth]);
            let late = u64::from(self.ledger.late[nth].swap(0, SeqCst));
            if missing + late > killed {
                return Err(format!(
                    "queue {nth}: {missing} messages are lost, {late} came late, and {killed} were killed while they received from it"
                ));
            }
            self.figures.late += late;
            self.figures.lost += missing;
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), String> {
        let participants = self.ns.participants().map_err(|e| e.to_string())?;
        if participants.iter().any(|participant| participant.pid != std::process::id() as i32) {
            return Err(format!("nobody is there, but: {participants:?}"));
        }
        for set in self.ns.sets().map_err(|e| e.to_string())? {
            if !set.waiters.is_empty() || !set.undo.is_empty() {
                return Err(format!("of the dead there is left: {set:?}"));
            }
        }
        for queue in self.ns.queues().map_err(|e| e.to_string())? {
            if !queue.waiters.is_empty() {
                return Err(format!("of the dead there is left: {queue:?}"));
            }
        }
        for segment in self.ns.segments().map_err(|e| e.to_string())? {
            if segment.stat.nattch != 0 || segment.stat.key == Key::PRIVATE && segment.stat.size != 0 && !segment.orphan {
                return Err(format!("nobody is attached, but: {segment:?}"));
            }
        }
        Ok(())
    }

    /// A queue takes as much as it should, and gives it back.
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
            return Err(format!("queue {nth} has taken {sent} messages and not {fits}, and then said {refused}"));
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

    fn check_stripes(&self, nth: usize) -> Result<(), String> {
        let memory = objects::open_segment(&self.ns, nth).and_then(|segment| segment.attach()).map_err(|e| e.to_string())?;
        for at in (0..STRIPES).map(|stripe| objects::place(nth, stripe)) {
            let mut text = [0; stripe::LEN];
            memory.read(at, &mut text).map_err(|e| e.to_string())?;
            let owner = memory.atomic_u32(at).map_err(|e| e.to_string())?;
            if owner.swap(0, SeqCst) == 0 {
                stripe::check(&text)?;
            } else {
                // Left in the middle by somebody who is dead: nobody has come since.
                memory.fill(at, stripe::LEN, 0).map_err(|e| e.to_string())?;
            }
        }
        memory.detach().map_err(|e| e.to_string())
    }

    /// What the dead have made under the keys that come and go, and what they had no time to remove.
    fn clear_passing(&self) {
        let passes = |key: Key| key == Key::PRIVATE || PASSING.contains(&key.raw());
        let (ns, ids) = (&self.ns, |all: Vec<(Key, i32)>| all.into_iter().filter(move |(key, _)| passes(*key)).map(|(_, id)| id));
        let segments =
            ns.segments().unwrap_or_default().iter().map(|segment| (segment.stat.key, segment.stat.id.raw())).collect();
        ids(segments).for_each(|id| _ = ns.shm_remove(id));
        let sets = ns.sets().unwrap_or_default().iter().map(|set| (set.stat.key, set.stat.id.raw())).collect();
        ids(sets).for_each(|id| _ = ns.sem_remove(id));
        let queues = ns.queues().unwrap_or_default().iter().map(|queue| (queue.stat.key, queue.stat.id.raw())).collect();
        ids(queues).for_each(|id| _ = ns.msg_remove(id));
    }

    /// Nothing has grown beyond what those need who are there.
    fn check_state(&mut self) -> Result<(), String> {
        let mut files = BTreeMap::new();
        list(&self.directory.path().join(NAMESPACE), "", &mut files).map_err(|e| e.to_string())?;
        let text = std::fs::read_to_string("/proc/self/maps").map_err(|e| e.to_string())?;
        let now = State {
            files: files.len(),
            bytes: files.values().sum(),
            slots: self.ns.participants().map_err(|e| e.to_string())?.len(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            mappings: text.lines().count(),
        };
        for (name, bytes) in &files {
            let most = most_bytes(name);
            if *bytes > most {
                return Err(format!("{name} takes {bytes} bytes, and {most} are enough"));
            }
        }
        if now.files > MOST_FILES || now.mappings > MOST_MAPPINGS || now.slots != 1 {
            return Err(format!("more than {MOST_FILES} files, {MOST_MAPPINGS} mappings or one slot: {now:?}; {files:?}"));
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

impl Drop for Storm {
    fn drop(&mut self) {
        for child in &mut self.workers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The files, and how many bytes each takes.
fn list(folder: &Path, name: &str, files: &mut BTreeMap<String, u64>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, stat) = (format!("{name}/{}", entry.file_name().to_string_lossy()), entry.metadata()?);
        match stat.is_dir() {
            true => list(&entry.path(), &name, files)?,
            false => _ = files.insert(name, stat.blocks() * 512),
        }
    }
    Ok(())
}

/// Where a process is.
fn place(pid: Pid) -> String {
    let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    let state = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    format!("state {state:?}, system call {}", read("syscall").trim())
}

/// Notes that a message was received.
pub fn note(ledger: &Ledger, letter: Letter, queue: u32, round: u32, mtype: i64) -> Result<(), String> {
    let page = ledger.pages.get(letter.from as usize);
    let Some(fate) = page.and_then(|page| page.fates.get(letter.number as usize)) else {
        return Err(format!("{letter:?} is of nobody"));
    };
    if (letter.queue, letter.round, letter.mtype()) != (queue, round, mtype) {
        return Err(format!("{letter:?} came by queue {queue} in round {round}, with type {mtype}"));
    }
    if fate.sent.load(SeqCst) == REFUSED {
        return Err(format!("{letter:?} was received, and its sender was told that it is not sent"));
    }
    match fate.received.fetch_add(1, SeqCst) {
        0 => Ok(()),
        _ => Err(format!("{letter:?} was received twice")),
    }
}

/// Writes down what is wrong.
pub fn find(directory: &Path, what: &str) {
    let file = std::fs::File::options().append(true).create(true).open(directory.join(FINDINGS));
    let _ = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
}

/// Of the monotonic clock.
pub fn nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
