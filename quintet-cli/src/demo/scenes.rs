//! The scenes of the demo.

use super::client::{Client, number};
use super::stage::{BlockedAt, Stage};
use crate::failure::Failure;
use quintet::{Id, Key, ModeFlags};
use std::collections::HashMap;

/// A writer and a reader find the same segment by a key from ftok.
pub fn two_programs_meet(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("Two programs meet")?;
    stage.explain("A key is a number that programs agree on; ftok makes one from a file that both know. shmget maps the")?;
    stage.explain("key to the identifier of a segment, and shmat maps the bytes of the segment into memory.")?;
    stage.explain("Two programs that share objects run on the same namespace: run 'quintet run -- PROGRAM' for each.")?;
    let mut writer = stage.start("writer")?;
    let wrote = stage.listen(&mut writer)?;
    let mut reader = stage.start("reader")?;
    let read = stage.listen(&mut reader)?;
    let key = ftok(stage)?;
    stage.check(number(&wrote, "id")? == number(&read, "id")?, "both found the same segment")?;
    stage.check(number(&wrote, "wrote")? == number(&read, "read")?, "the reader read what the writer wrote")?;
    let id = identifier(&wrote)?;
    let found = stage.segment(id)?;
    stage.check(
        found.is_some_and(|s| s.stat.key == key && s.stat.nattch == 2),
        &format!("the segment has the key {key} and two attachments"),
    )?;
    stage.finish(reader)?;
    stage.finish(writer)?;
    stage.check(stage.segment(id)?.is_none(), "the writer removed the segment, and it no longer exists")
}

/// A parent and its forked child share a segment that has no key.
pub fn parent_and_child(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("Parent and child")?;
    stage.explain("No key finds a segment that is created with IPC_PRIVATE. A forked child inherits the attachments")?;
    stage.explain("of its parent.")?;
    let family = stage.start("family")?;
    let lines = stage.finish(family)?;
    let (wrote, read) = (number(&lines, "wrote")?, number(&lines, "read")?);
    stage.check(wrote == read, "the child read the number of its parent")?;
    let answered = number(&lines, "answered")? == wrote + 1 && number(&lines, "received")? == wrote + 1;
    stage.check(answered, "the parent received the answer of its child")
}

/// One program writes random numbers, and another one prints them.
pub fn numbers_pass(stage: &mut Stage) -> Result<(), Failure> {
    const NUMBERS: usize = 5;
    stage.scene("Numbers pass, and you can watch")?;
    stage.explain("The clock writes a random number five times a second; the display prints what it reads.")?;
    let mut clock = stage.start("clock")?;
    let lines = stage.listen(&mut clock)?;
    let mut display = stage.start("display")?;
    stage.listen(&mut display)?;
    let id = identifier(&lines)?;
    stage.explain("Both are attached now. The list of objects and the processes that use them:")?;
    let listing = stage.show(&["ls"])?;
    let is_shown = [&clock, &display].iter().all(|c| listing.contains(&format!("pid {} ", c.pid())));
    stage.check(is_shown, "the list shows both processes")?;
    let pids: Vec<u32> = stage.segment(id)?.map_or(Vec::new(), |s| s.attached.iter().map(|a| a.pid as u32).collect());
    let are_alone = pids.len() == 2 && [&clock, &display].iter().all(|c| pids.contains(&c.pid()));
    stage.check(are_alone, "no other process is attached")?;

    display.resume()?;
    clock.resume()?;
    let mut written = HashMap::new();
    for _ in 0..NUMBERS {
        pass_number(&mut clock, &mut display, stage, &mut written)?;
    }
    stage.check(true, &format!("the display printed {NUMBERS} numbers, each as the clock wrote it"))?;
    stage.finish(display)?;
    stage.finish(clock).map(drop)
}

/// Prints the next number of the display, and checks it against the clock.
fn pass_number(
    clock: &mut Client,
    display: &mut Client,
    stage: &mut Stage,
    written: &mut HashMap<i64, i64>,
) -> Result<(), Failure> {
    let lines = [display.line()?.ok_or_else(|| display.exited_early())?];
    let (serial, value) = (number(&lines, "number")?, number(&lines, "read")?);
    follow_clock(clock, stage, serial, written)?;
    stage.say(display.name(), &lines[0])?;
    if written.get(&serial) == Some(&value) {
        return Ok(());
    }
    stage.check(false, "the display prints the numbers of the clock")
}

/// Prints the lines of the clock up to the number `serial`.
fn follow_clock(clock: &mut Client, stage: &mut Stage, serial: i64, written: &mut HashMap<i64, i64>) -> Result<(), Failure> {
    while !written.contains_key(&serial) {
        let lines = [next_line(clock, stage)?];
        written.insert(number(&lines, "number")?, number(&lines, "wrote")?);
    }
    Ok(())
}

/// A segment is removed while a program is attached to it.
pub fn removed_in_use(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("Removed while in use")?;
    stage.explain("Removal takes the key of a segment away at once. Existing attachments stay valid: the segment is")?;
    stage.explain("marked for destruction (dest), and the last detach destroys it.")?;
    let mut holder = stage.start("holder")?;
    let lines = stage.listen(&mut holder)?;
    let id = identifier(&lines)?;
    stage.show(&["rm", &id.to_string()])?;
    stage.show(&["ls"])?;
    let state = stage.segment(id)?;
    let is_marked =
        state.is_some_and(|s| s.stat.flags.contains(ModeFlags::DEST) && s.stat.nattch == 1 && s.stat.key.is_private());
    stage.check(is_marked, "it is marked dest, has lost its key, and has one attachment")?;
    holder.resume()?;
    let again = stage.listen(&mut holder)?;
    stage.check(number(&again, "reads")? == number(&lines, "wrote")?, "the program still reads its number")?;
    holder.resume()?;
    stage.listen(&mut holder)?;
    stage.show(&["ls"])?;
    stage.check(stage.segment(id)?.is_none(), "the last detach destroyed it")?;
    stage.finish(holder).map(drop)
}

/// The holder of a semaphore is killed, and the waiter proceeds.
pub fn owner_is_killed(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("A lock outlives its owner")?;
    stage.explain("The value of a semaphore is a number of units: semop takes units, or blocks until there are enough.")?;
    stage.explain("Units that were taken with SEM_UNDO are given back when the process exits or is killed.")?;
    let mut owner = stage.start("owner")?;
    let id = identifier(&stage.listen(&mut owner)?)?;
    let mut next = stage.start("next")?;
    stage.listen(&mut next)?;
    stage.until_blocked(BlockedAt::Set(id), &mut next)?;
    stage.explain("It is blocked. What does it wait for, and which process holds it?")?;
    let answer = stage.show(&["why", &next.pid().to_string()])?;
    let names_owner = answer.contains(&format!("held by     1 by pid {} ", owner.pid()));
    stage.check(names_owner, "the owner holds what the next client waits for")?;
    stage.explain(&format!("kill -9 {}, so that the owner cannot clean up:", owner.pid()))?;
    owner.kill()?;
    let lines = stage.listen(&mut next)?;
    stage.check(number(&lines, "is")? == 0, "the next client got the unit at once")?;
    stage.finish(next)?;
    stage.check(stage.set(id)?.is_none(), "it removed the set at the end")
}

/// Two workers receive jobs. One is killed while it is blocked, and the other one receives all
/// further jobs.
///
/// Returns the kernel's lists of objects while both workers are blocked.
pub fn work_is_distributed(stage: &mut Stage, kernel_objects: fn() -> Vec<String>) -> Result<Vec<String>, Failure> {
    stage.scene("Work for two")?;
    stage.explain("A message queue keeps messages, each with a type, until they are received: msgrcv takes a message, or")?;
    stage.explain("blocks until there is one. The longest waiter is served first.")?;
    let mut boss = stage.start("boss")?;
    let id = identifier(&stage.listen(&mut boss)?)?;
    let mut first = blocked_worker(stage, "first", id)?;
    let mut second = blocked_worker(stage, "second", id)?;
    boss.resume()?;
    stage.listen(&mut boss)?;
    let received = [next_line(&mut first, stage)?, next_line(&mut second, stage)?];
    let jobs = [number(&received[..1], "job")?, number(&received[1..], "job")?];
    stage.check(jobs == [1, 2], "each worker received one job, in the order in which they began to wait")?;
    for worker in [&mut first, &mut second] {
        stage.until_blocked(BlockedAt::Queue(id), worker)?;
    }
    let during = kernel_objects();
    let listing = stage.show(&["ls"])?;
    let is_shown = [&first, &second].iter().all(|worker| listing.contains(&format!("pid {} ", worker.pid())));
    stage.check(is_shown, "both workers are blocked again")?;
    stage.explain(&format!("kill -9 {}, while it is blocked; then there is more work:", first.pid()))?;
    first.kill()?;
    boss.resume()?;
    let sent = stage.listen(&mut boss)?;
    let received = [next_line(&mut second, stage)?, next_line(&mut second, stage)?];
    let same = sent.iter().map(|line| job(line)).eq(received.iter().map(|line| job(line)));
    stage.check(same, "the killed worker received nothing: the other worker received both jobs, in order")?;
    stage.until_blocked(BlockedAt::Queue(id), &mut second)?;
    stage.finish(boss)?;
    stage.finish(second)?;
    stage.check(stage.queue(id)?.is_none(), "the boss removed the queue, which ended the wait")?;
    Ok(during)
}

/// Starts a worker, and returns it when it is blocked at the queue.
fn blocked_worker(stage: &mut Stage, role: &'static str, queue: Id) -> Result<Client, Failure> {
    let mut worker = stage.start(role)?;
    next_line(&mut worker, stage)?;
    stage.until_blocked(BlockedAt::Queue(queue), &mut worker)?;
    Ok(worker)
}

/// Prints and returns the next line of a client that does not pause.
fn next_line(client: &mut Client, stage: &mut Stage) -> Result<String, Failure> {
    let line = client.line()?.ok_or_else(|| client.exited_early())?;
    stage.say(client.name(), &line)?;
    Ok(line)
}

/// Returns the type and the number of a job: the part of the line after " job ".
fn job(line: &str) -> Option<&str> {
    line.split_once(" job ").map(|(_, job)| job)
}

/// The kernel's lists of objects have not changed.
pub fn kernel_is_not_used(stage: &mut Stage, before: &[String], during: &[String], after: &[String]) -> Result<(), Failure> {
    stage.scene("The kernel saw none of it")?;
    stage.explain("The kernel lists its own objects in /proc/sysvipc; 'quintet ls --kernel' shows them.")?;
    if before == during && before == after {
        let fact = format!("its lists are the same before, during and after the demo (lines: {})", before.len());
        return stage.check(true, &fact);
    }
    // Other programs on this machine use the kernel's objects meanwhile. Look for the clients of
    // the demo.
    let clients: Vec<String> = stage.pids.iter().map(u32::to_string).collect();
    let key = ftok(stage)?.raw().to_string();
    let is_of_client = |line: &String| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let pid_columns = match columns[0] {
            "shm" => 5..7,
            "msg" => 6..8,
            _ => 0..0,
        };
        let mut pids = columns.get(pid_columns).unwrap_or_default().iter();
        columns.get(1) == Some(&key.as_str()) || pids.any(|pid| clients.iter().any(|client| client == pid))
    };
    let is_touched = during.iter().chain(after).any(is_of_client);
    stage.check(!is_touched, "other programs used the kernel's objects meanwhile, but no client did")
}

/// Returns the key that the clients make from the file.
fn ftok(stage: &Stage) -> Result<Key, Failure> {
    Key::ftok(stage.file(), i32::from(b'q')).map_err(|errno| Failure::call("make a key with ftok", errno))
}

fn identifier(lines: &[String]) -> Result<Id, Failure> {
    let raw = i32::try_from(number(lines, "id")?).unwrap_or(-1);
    Id::from_raw(raw).map_err(|_| Failure::new(format!("cannot continue the demo: a client printed the invalid id {raw}")))
}
