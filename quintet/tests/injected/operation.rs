//! Runs an operation with faults in its system calls, and compares the namespace with undisturbed
//! runs.
//!
//! `QUINTET_INJECTED_LOG=1` prints the outcome of each fault.

use super::tracer::{self, Call, Ended, Fault, begin, failures, finish, name};
use crash::support::{End, Signpost, alone, fork, on_signal, shared_words};
use quintet::{Errno, Kind, Namespace};
use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

pub type Outcome = Result<(), Errno>;

/// What a signal handler does.
pub type Act = fn(&Namespace) -> Outcome;

/// An operation and its preparation.
#[derive(Clone, Copy)]
pub struct Operation<'a> {
    /// Prepares the new namespace, in a process of its own.
    pub setup: &'a dyn Fn(&Namespace),
    /// Runs before the operation, in the same process.
    pub prelude: &'a dyn Fn(&Namespace),
    /// The operation. It gets the open namespace if `opens`.
    pub body: &'a dyn Fn(&Path, Option<&Namespace>) -> Outcome,
    /// `true` if the namespace exists before the operation.
    pub exists: bool,
    /// `true` if the process opens the namespace before the operation.
    pub opens: bool,
    /// `true` if a failed operation may be complete all the same.
    pub may_be_done: bool,
    /// What the handler of `SIGUSR1` does.
    pub handler: Option<Act>,
}

impl Default for Operation<'_> {
    fn default() -> Self {
        Operation {
            setup: &|_| {},
            prelude: &|_| {},
            body: &|_, _| Ok(()),
            exists: true,
            opens: true,
            may_be_done: false,
            handler: None,
        }
    }
}

/// The state after an operation.
struct Found {
    outcome: Outcome,
    calls: Vec<Call>,
    /// What another process sees after the operation.
    then: String,
    /// The outcome of a second attempt after a failure, and what another process then sees.
    again: Option<(Outcome, String)>,
    /// How many more descriptors and mappings of the namespace the process has.
    left: (i32, i32),
    /// The outcome of the handler, if it has run.
    handled: Option<Outcome>,
}

/// For the handler: the namespace, what to do, and where to store the outcome.
static HANDLER: OnceLock<(Namespace, Act, &AtomicU32)> = OnceLock::new();

extern "C" fn handle(_: i32) {
    let (ns, act, word) = HANDLER.get().unwrap();
    word.store(pack(act(ns)), SeqCst);
}

fn pack(outcome: Outcome) -> u32 {
    outcome.map_or_else(|e| 2 + e.raw() as u32, |()| 1)
}

fn unpack(word: u32) -> Outcome {
    match word {
        0 => panic!("the process has stored no outcome"),
        1 => Ok(()),
        errno => Err(Errno::from_raw(errno as i32 - 2)),
    }
}

/// Counts the descriptors of this process, and its mappings of files in the directory.
fn resources(path: &Path) -> (i32, i32) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = path.to_str().unwrap();
    (descriptors as i32, maps.lines().filter(|line| line.contains(path)).count() as i32)
}

/// Describes a namespace as a new process sees it, without times, process ids and identifiers.
/// Adds the file names that are left after a sweep.
fn observe(path: &Path) -> String {
    let log = path.with_extension("seen");
    let end = fork(|| {
        let mut text = String::new();
        if let Ok(ns) = Namespace::open(path) {
            describe(&ns, &mut text);
            ns.sweep().unwrap();
            text += &names(path);
        }
        std::fs::write(&log, text).unwrap();
    })
    .end();
    let seen = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    if end != End::Exit(0) {
        return format!("the observing process ended with {end:?}");
    }
    seen
}

/// Returns the file names of a namespace, without the files of objects, which are kept for reuse.
fn names(path: &Path) -> String {
    let mut all: Vec<String> = Vec::new();
    for folder in ["", "key"] {
        for entry in std::fs::read_dir(path.join(folder)).into_iter().flatten().flatten() {
            all.push(entry.path().strip_prefix(path).unwrap().display().to_string());
        }
    }
    all.sort();
    all.join(" ")
}

fn describe(ns: &Namespace, text: &mut String) {
    for segment in ns.segments().unwrap() {
        let stat = segment.stat;
        writeln!(text, "segment {:?} {:?} {:?} {} {}", stat.key, stat.perm, stat.flags, stat.size, stat.nattch).unwrap();
    }
    for set in ns.sets().unwrap() {
        let values: Vec<u16> = set.semaphores.iter().map(|semaphore| semaphore.value).collect();
        let undo: Vec<_> = set.undo.iter().map(|undo| &undo.adjustments).filter(|undo| !undo.is_empty()).collect();
        let (stat, waiters) = (set.stat, set.waiters.len());
        writeln!(text, "set {:?} {:?} {values:?} {undo:?} {waiters}", stat.key, stat.perm).unwrap();
    }
    for queue in ns.queues().unwrap() {
        let (stat, waiters) = (queue.stat, queue.waiters.len());
        writeln!(text, "queue {:?} {:?} {waiters} {} {}", stat.key, stat.perm, stat.bytes, stat.messages).unwrap();
        let tell = |message: quintet::MessageStat, bytes: &[u8]| {
            let sum = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
            writeln!(text, " message {} {} {sum}", message.mtype, message.len).is_ok()
        };
        ns.peek(stat.id.raw(), tell).unwrap();
    }
    let (shm, sem, msg) = (ns.shm_usage().unwrap(), ns.sem_usage().unwrap(), ns.msg_usage().unwrap());
    writeln!(text, "{} {} {} {} {} {}", shm.segments, shm.pages, sem.sets, sem.semaphores, msg.queues, msg.messages).unwrap();
}

impl Operation<'_> {
    fn run(&self, path: &Path, kind: Kind, fault: Fault) -> Result<Found, String> {
        if self.exists {
            fork(|| (self.setup)(&Namespace::create(path, kind).unwrap())).succeeds();
        }
        let (words, go) = (shared_words(6), [Signpost::new(), Signpost::new(), Signpost::new()]);
        let ended = tracer::run(fault, || {
            let ns = self.opens.then(|| Namespace::open(path).unwrap());
            if let Some(ns) = &ns {
                (self.prelude)(ns);
                if let Some(handler) = self.handler {
                    let _ = HANDLER.set((ns.clone(), handler, &words[4]));
                    on_signal(libc::SIGUSR1, handle, 0);
                }
            }
            let before = resources(path);
            begin();
            let outcome = (self.body)(path, ns.as_ref());
            finish();
            let after = resources(path);
            words[1].store((after.0 - before.0) as u32, SeqCst);
            words[2].store((after.1 - before.1) as u32, SeqCst);
            words[0].store(pack(outcome), SeqCst);
            go[0].post(1);
            go[1].wait();
            if outcome.is_err() {
                words[3].store(pack((self.body)(path, ns.as_ref())), SeqCst);
                go[0].post(1);
                go[2].wait();
            }
        });
        let (child, calls) = match ended {
            Ended::Finished(child, calls) => (child, calls),
            Ended::Failed(why) => return Err(why),
        };
        go[0].wait();
        let outcome = unpack(words[0].load(SeqCst));
        let then = observe(path);
        go[1].post(1);
        let again = outcome.is_err().then(|| {
            go[0].wait();
            let again = (unpack(words[3].load(SeqCst)), observe(path));
            go[2].post(1);
            again
        });
        let end = child.end();
        if end != End::Exit(0) {
            return Err(format!("the process ended with {end:?}"));
        }
        let left = (words[1].load(SeqCst) as i32, words[2].load(SeqCst) as i32);
        let handled = Some(words[4].load(SeqCst)).filter(|word| *word != 0).map(unpack);
        Ok(Found { outcome, calls, then, again, left, handled })
    }
}

/// Returns `true` if an operation may fail with `said` when a system call fails with `injected`.
fn matches_fault(said: Errno, injected: i32) -> bool {
    let no_room = [libc::ENOSPC, libc::EMFILE].contains(&injected);
    // No descriptor is free, and the thread with its own descriptor table cannot start.
    let no_thread = said == Errno::MFILE && injected == libc::ENOMEM;
    said.raw() == injected || said == Errno::NOMEM && no_room || said == Errno::PERM && injected == libc::EACCES || no_thread
}

/// Makes each system call of the operation fail in turn, with each of its errors.
pub fn inject(test: &str, directory: &Path, kind: Kind, operation: Operation<'_>) {
    let log = std::env::var_os("QUINTET_INJECTED_LOG").is_some();
    let mut runs = 0;
    let mut fresh = || {
        runs += 1;
        directory.join(format!("{test}-{kind:?}-{runs}"))
    };
    let before = {
        let path = fresh();
        let doing_nothing = Operation { body: &|_, _| Ok(()), ..operation };
        let found = doing_nothing.run(&path, kind, Fault::None).unwrap();
        remove(&path);
        found.then
    };
    let path = fresh();
    let healthy = operation.run(&path, kind, Fault::None).unwrap();
    remove(&path);
    assert_eq!(healthy.outcome, Ok(()), "{test}");
    let mut wrong = Vec::new();
    let mut faults = 0;
    for (nth, call) in healthy.calls.iter().enumerate() {
        for &errno in failures(call) {
            let lasts = [libc::ENOMEM, libc::ENOSPC, libc::EIO, libc::EMFILE].contains(&errno) && call.number != libc::SYS_munmap;
            let lasting = lasts.then_some(Fault::FromThen(nth, errno));
            for fault in [Some(Fault::Once(nth, errno)), lasting].into_iter().flatten() {
                let path = fresh();
                let what =
                    format!("{test} {kind:?}: {} ({fault:?}, {})", name(call), Errno::from_raw(errno).name().unwrap_or("?"));
                faults += 1;
                let found = operation.run(&path, kind, fault);
                remove(&path);
                let found = match found {
                    Ok(found) => found,
                    Err(why) => {
                        wrong.push(format!("{what}: {why}"));
                        continue;
                    }
                };
                if log {
                    println!("{what}: {:?}", found.outcome);
                }
                let mut say = |why: String| wrong.push(format!("{what}: {:?}: {why}", found.outcome));
                match found.outcome {
                    Ok(()) if found.then != healthy.then => {
                        say(format!("another process sees\n{}\ninstead of\n{}", found.then, healthy.then))
                    }
                    Ok(()) => {}
                    Err(e) => {
                        if !matches_fault(e, errno) {
                            say("the error does not match the fault".to_owned());
                        }
                        // The next creator completes a namespace that is partly created.
                        if found.then != before && !(operation.may_be_done && found.then == healthy.then) {
                            say(format!("another process sees\n{}\ninstead of the state before\n{before}", found.then));
                        }
                        if found.left.0 != 0 || found.left.1 > 0 && found.left.1 > healthy.left.1 {
                            say(format!("the operation leaks {:?} descriptors and mappings", found.left));
                        }
                        match &found.again {
                            Some((Ok(()), then)) if *then == healthy.then => {}
                            Some((Ok(()), then)) => {
                                say(format!("after a second attempt, another process sees\n{then}\ninstead of\n{}", healthy.then))
                            }
                            other => say(format!("second attempt: {:?}", other.as_ref().map(|again| again.0))),
                        }
                    }
                }
                if found.outcome.is_ok() && found.left.0 != healthy.left.0 {
                    say(format!("the operation leaks {} descriptors", found.left.0));
                }
            }
        }
    }
    println!("{test} {kind:?}: {} system calls, {faults} failures", healthy.calls.len());
    assert!(wrong.is_empty(), "{} of {faults}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs a handler after each system call of the operation. The result must be as if it had run
/// after the operation.
pub fn interrupt(test: &str, directory: &Path, kind: Kind, operation: Operation<'_>) {
    let mut runs = 0;
    let mut run = |operation: Operation<'_>, fault| {
        runs += 1;
        let path = directory.join(format!("{test}-{kind:?}-{runs}"));
        let found = operation.run(&path, kind, fault);
        remove(&path);
        found
    };
    let act = operation.handler.unwrap();
    let body = |path: &Path, ns: Option<&Namespace>| (operation.body)(path, ns).and_then(|()| act(open(ns)));
    let both = run(Operation { body: &body, ..operation }, Fault::None).unwrap();
    let healthy = run(operation, Fault::None).unwrap();
    assert_eq!((both.outcome, healthy.outcome), (Ok(()), Ok(())), "{test}");
    assert!(both.then != healthy.then || both.left != healthy.left, "{test}: the handler has no visible effect");
    for (nth, call) in healthy.calls.iter().enumerate() {
        let what = format!("{test} {kind:?}: after {} ({nth})", name(call));
        let found = run(operation, Fault::Interrupted(nth)).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!((found.outcome, found.handled), (Ok(()), Some(Ok(()))), "{what}");
        assert_eq!(found.then, both.then, "{what}");
        assert_eq!(found.left.0, 0, "{what}: the operation leaks descriptors");
        // A duplicate mapping must be unmapped again.
        assert!(found.left.1 <= both.left.1, "{what}: the operation leaves {} mappings, not {}", found.left.1, both.left.1);
    }
    println!("{test} {kind:?}: {} signals", healthy.calls.len());
}

fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}

/// Runs [`inject`] in a private and in a shared namespace.
pub fn in_both(test: &str, operation: Operation<'_>) {
    alone(test, |directory| {
        for kind in [Kind::Private, Kind::Shared] {
            inject(test, directory, kind, operation);
        }
    });
}

/// Returns the namespace of an operation that opens one.
pub fn open(ns: Option<&Namespace>) -> &Namespace {
    ns.expect("the operation opens the namespace")
}
