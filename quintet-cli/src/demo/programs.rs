//! The programs that the demo runs: short System V clients. They call only libc, and they would run
//! on the kernel's own objects without a change.
//!
//! # Safety
//!
//! Pointers come from `shmat` and are checked. They are used within the size of the segment and
//! with atomic operations only, because another process writes to the same memory. `fork` is called
//! while the process has one thread.
#![allow(unsafe_code)]

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The line that announces a pause of the client.
pub const PAUSE: &str = ".";

const SIZE: usize = 4096;

/// A client of 'quintet demo'
#[derive(clap::Args)]
pub struct Args {
    role: Role,
    file: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    Writer,
    Reader,
    Family,
    Clock,
    Display,
    Holder,
    Owner,
    Next,
    Boss,
    First,
    Second,
}

pub fn run(args: &Args) -> Outcome {
    match args.role {
        Role::Writer => writer(&args.file)?,
        Role::Reader => reader(&args.file)?,
        Role::Family => family()?,
        Role::Clock => clock(&args.file)?,
        Role::Display => display(&args.file)?,
        Role::Holder => holder(&args.file)?,
        Role::Owner => owner(&args.file)?,
        Role::Next => next(&args.file)?,
        Role::Boss => boss(&args.file)?,
        Role::First | Role::Second => worker(&args.file)?,
    }
    Ok(Exit::Success)
}

fn writer(file: &Path) -> Result<(), Failure> {
    let id = shmget(ftok(file)?, SIZE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?;
    let word = shmat(id, 0)?;
    let number = random()?;
    word.store(number, Ordering::SeqCst);
    say(&format!("shmget created id {id}, attached it and wrote {number}"))?;
    pause()?;
    shmdt(word)?;
    remove(id)?;
    say("detached and removed it")
}

fn reader(file: &Path) -> Result<(), Failure> {
    let id = shmget(ftok(file)?, 0, 0)?;
    let word = shmat(id, libc::SHM_RDONLY)?;
    say(&format!("shmget found id {id}, attached it and read {}", word.load(Ordering::SeqCst)))?;
    pause()?;
    shmdt(word)
}

fn family() -> Result<(), Failure> {
    let id = shmget(libc::IPC_PRIVATE, SIZE, 0o600)?;
    let word = shmat(id, 0)?;
    let number = random()?;
    word.store(number, Ordering::SeqCst);
    say(&format!("parent: created id {id}, attached it, wrote {number} and forks"))?;
    // SAFETY: the process has one thread.
    match unsafe { libc::fork() } {
        -1 => return Err(failed("fork")),
        0 => {
            let seen = word.load(Ordering::SeqCst);
            word.store(seen + 1, Ordering::SeqCst);
            let said = say(&format!("child: read {seen} and answered {}", seen + 1));
            // SAFETY: `_exit` ends the child without the exit handlers of the parent.
            unsafe { libc::_exit(i32::from(said.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a local variable that the call writes.
            if unsafe { libc::waitpid(child, &raw mut status, 0) } != child || status != 0 {
                return Err(failed("waitpid"));
            }
        }
    }
    say(&format!("parent: received {}", word.load(Ordering::SeqCst)))?;
    shmdt(word)?;
    remove(id)
}

/// Writes a serial number to the upper half and a random number to the lower half of the word.
fn clock(file: &Path) -> Result<(), Failure> {
    let id = shmget(ftok(file)?, SIZE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?;
    let word = shmat(id, 0)?;
    say(&format!("shmget created id {id} and attached it"))?;
    pause()?;
    let mut serial = 0;
    while !stopped(Duration::from_millis(200))? {
        serial += 1;
        let value = random()?;
        word.store(serial << 32 | value, Ordering::SeqCst);
        say(&format!("number {serial}: wrote {value}"))?;
    }
    shmdt(word)?;
    remove(id)
}

fn display(file: &Path) -> Result<(), Failure> {
    let id = shmget(ftok(file)?, 0, 0)?;
    let word = shmat(id, libc::SHM_RDONLY)?;
    say(&format!("shmget found id {id} and attached it"))?;
    pause()?;
    let mut last = 0;
    while !stopped(Duration::from_millis(2))? {
        let seen = word.load(Ordering::SeqCst);
        if seen != last {
            last = seen;
            say(&format!("number {}: read {}", seen >> 32, seen & 0xffff_ffff))?;
        }
    }
    shmdt(word)
}

fn holder(file: &Path) -> Result<(), Failure> {
    let id = shmget(ftok(file)?, SIZE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?;
    let word = shmat(id, 0)?;
    let number = random()?;
    word.store(number, Ordering::SeqCst);
    say(&format!("shmget created id {id}, attached it and wrote {number}"))?;
    pause()?;
    say(&format!("still reads {} after the removal", word.load(Ordering::SeqCst)))?;
    pause()?;
    shmdt(word)?;
    say("detached it")?;
    pause()
}

/// Creates a semaphore of value 1, and takes it.
fn owner(file: &Path) -> Result<(), Failure> {
    let id = semget(ftok(file)?, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?;
    // SAFETY: SETVAL takes an integer.
    if unsafe { libc::semctl(id, 0, libc::SETVAL, 1) } == -1 {
        return Err(failed("semctl"));
    }
    take(id)?;
    say(&format!("semget created id {id}, and semop took the only unit"))?;
    pause()
}

/// Waits for the same unit, and takes it.
fn next(file: &Path) -> Result<(), Failure> {
    let id = semget(ftok(file)?, 0)?;
    say(&format!("semget found id {id}, and semop waits for the unit"))?;
    say(PAUSE)?;
    take(id)?;
    // SAFETY: GETVAL takes no argument.
    let left = unsafe { libc::semctl(id, 0, libc::GETVAL) };
    say(&format!("semop took the unit, the value is {left}"))?;
    pause()?;
    // SAFETY: IPC_RMID takes no argument.
    if unsafe { libc::semctl(id, 0, libc::IPC_RMID) } == -1 { Err(failed("semctl")) } else { say("removed the set") }
}

/// A message of the demo: a type and a number.
#[repr(C)]
struct Job {
    mtype: libc::c_long,
    number: i64,
}

/// Creates a queue, and sends two jobs after each pause.
fn boss(file: &Path) -> Result<(), Failure> {
    let id = msgget(ftok(file)?, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)?;
    say(&format!("msgget created id {id}"))?;
    pause()?;
    for serial in [1, 3] {
        for mtype in [serial, serial + 1] {
            let job = Job { mtype: mtype as libc::c_long, number: random()? };
            // SAFETY: `job` is a local variable: a type and eight bytes.
            if unsafe { libc::msgsnd(id, (&raw const job).cast(), size_of::<i64>(), 0) } == -1 {
                return Err(failed("msgsnd"));
            }
            say(&format!("msgsnd sent job {mtype}: {}", job.number))?;
        }
        pause()?;
    }
    // SAFETY: IPC_RMID takes no argument.
    if unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) } == -1 {
        Err(failed("msgctl"))
    } else {
        say("removed the queue")
    }
}

/// Receives jobs until the queue is removed.
fn worker(file: &Path) -> Result<(), Failure> {
    let id = msgget(ftok(file)?, 0)?;
    say(&format!("msgget found id {id}, and msgrcv waits for a job"))?;
    loop {
        let mut job = Job { mtype: 0, number: 0 };
        // SAFETY: `job` is a local variable with room for a type and eight bytes.
        match unsafe { libc::msgrcv(id, (&raw mut job).cast(), size_of::<i64>(), 0, 0) } {
            8 => say(&format!("msgrcv received job {}: {}", job.mtype, job.number))?,
            -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EIDRM) => {
                return say("msgrcv: the queue was removed (EIDRM)");
            }
            _ => return Err(failed("msgrcv")),
        }
    }
}

fn msgget(key: libc::key_t, flags: i32) -> Result<i32, Failure> {
    // SAFETY: the call takes integers only.
    match unsafe { libc::msgget(key, flags) } {
        -1 => Err(failed("msgget")),
        id => Ok(id),
    }
}

fn semget(key: libc::key_t, flags: i32) -> Result<i32, Failure> {
    // SAFETY: the call takes integers only.
    match unsafe { libc::semget(key, 1, flags) } {
        -1 => Err(failed("semget")),
        id => Ok(id),
    }
}

/// Takes a unit, which is given back when the process exits.
fn take(id: i32) -> Result<(), Failure> {
    let mut op = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: libc::SEM_UNDO as i16 };
    // SAFETY: `op` is one `sembuf`, a local variable.
    if unsafe { libc::semop(id, &raw mut op, 1) } == -1 { Err(failed("semop")) } else { Ok(()) }
}

fn ftok(file: &Path) -> Result<libc::key_t, Failure> {
    let path = CString::new(file.as_os_str().as_bytes())
        .map_err(|_| Failure::new("cannot make a key: the path contains a zero byte"))?;
    // SAFETY: `path` is a C string that outlives the call.
    match unsafe { libc::ftok(path.as_ptr(), i32::from(b'q')) } {
        -1 => Err(failed("ftok")),
        key => Ok(key),
    }
}

fn shmget(key: libc::key_t, size: usize, flags: i32) -> Result<i32, Failure> {
    // SAFETY: the call takes integers only.
    match unsafe { libc::shmget(key, size, flags) } {
        -1 => Err(failed("shmget")),
        id => Ok(id),
    }
}

/// Attaches a segment of `SIZE` bytes, and returns its first word.
fn shmat(id: i32, flags: i32) -> Result<&'static AtomicI64, Failure> {
    // SAFETY: with a null address, the call chooses a free range.
    let at = unsafe { libc::shmat(id, std::ptr::null(), flags) };
    if at as isize == -1 {
        return Err(failed("shmat"));
    }
    // SAFETY: the address is page-aligned and mapped for SIZE bytes until `shmdt`; no client uses
    // it afterwards.
    Ok(unsafe { &*at.cast::<AtomicI64>() })
}

fn shmdt(word: &'static AtomicI64) -> Result<(), Failure> {
    // SAFETY: the address comes from `shmat`, and the caller does not use it again.
    if unsafe { libc::shmdt(std::ptr::from_ref(word).cast()) } == -1 { Err(failed("shmdt")) } else { Ok(()) }
}

fn remove(id: i32) -> Result<(), Failure> {
    // SAFETY: IPC_RMID takes no buffer.
    if unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) } == -1 { Err(failed("shmctl")) } else { Ok(()) }
}

fn failed(call: &str) -> Failure {
    Failure::system(format_args!("call {call} in a client of the demo"), &io::Error::last_os_error())
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Pauses until a line or the end of the input is read.
fn pause() -> Result<(), Failure> {
    say(PAUSE)?;
    let mut byte = [0];
    let read = io::stdin().lock().read(&mut byte);
    read.map(drop).map_err(|e| Failure::io("read", Path::new("standard input"), &e))
}

/// Waits for the time to pass. Returns `true` if there is input or the input ended.
fn stopped(time: Duration) -> Result<bool, Failure> {
    let mut input = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: `input` is one `pollfd`, a local variable.
    match unsafe { libc::poll(&raw mut input, 1, time.as_millis() as i32) } {
        -1 => Err(failed("poll")),
        ready => Ok(ready > 0),
    }
}

/// Returns a random number of at most nine digits.
fn random() -> Result<i64, Failure> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| Failure::io("read", path, &e))?;
    Ok((u64::from_ne_bytes(bytes) % 1_000_000_000) as i64)
}
