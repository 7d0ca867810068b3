//! The scenes.

use super::client::{Client, number};
use super::stage::{Stage, Waited};
use crate::failure::Failure;
use quintet::{Id, Key, ModeFlags};
use std::collections::HashMap;

/// A writer and a reader find each other by a key that ftok makes of a file.
pub fn two_programs_meet(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("Two programs meet")?;
    stage.tell("A key is a number that programs agree on; ftok makes it of a file that both know. shmget turns")?;
    stage.tell("the key into the identifier of a segment, and shmat puts the segment's bytes into memory.")?;
    stage.tell("Two programs that are to meet run on the same namespace: quintet run -- PROGRAM, twice.")?;
    let mut writer = stage.start("writer")?;
    let wrote = writer.listen(stage)?;
    let mut reader = stage.start("reader")?;
    let read = reader.listen(stage)?;
    let key = ftok(stage)?;
    stage.check(number(&wrote, "id")? == number(&read, "id")?, "both have found the same segment")?;
    stage.check(number(&wrote, "wrote")? == number(&read, "read")?, "the reader has read what the writer wrote")?;
    let id = identifier(&wrote)?;
    let found = stage.segment(id)?;
    stage.check(
        found.is_some_and(|s| s.stat.key == key && s.stat.nattch == 2),
        &format!("it has the key {key}, and two are attached"),
    )?;
    reader.finish(stage)?;
    writer.finish(stage)?;
    stage.check(stage.segment(id)?.is_none(), "the writer has removed it, and it is gone")
}

/// A parent and its forked child share a segment that has no key.
pub fn parent_and_child(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("Parent and child")?;
    stage.tell("A segment without a key (IPC_PRIVATE) is found by nobody; a child has what its parent had")?;
    stage.tell("attached when it forked.")?;
    let family = stage.start("family")?;
    let said = family.finish(stage)?;
    let (given, seen) = (number(&said, "wrote")?, number(&said, "saw")?);
    stage.check(given == seen, "the child saw the parent's number")?;
    stage
        .check(number(&said, "answered")? == given + 1 && number(&said, "got")? == given + 1, "the parent got the child's answer")
}

/// One program writes a random number every interval, and one prints it.
pub fn numbers_pass(stage: &mut Stage) -> Result<(), Failure> {
    const NUMBERS: usize = 5;
    stage.scene("Numbers pass, and you can watch")?;
    stage.tell("The clock writes a random number five times a second; the display prints what it sees.")?;
    let mut clock = stage.start("clock")?;
    let mut lines = clock.listen(stage)?;
    let mut display = stage.start("display")?;
    display.listen(stage)?;
    let id = identifier(&lines)?;
    stage.tell("Both are attached now. Who uses what:")?;
    let listing = stage.show(&["ls"])?;
    let shown = [&clock, &display].iter().all(|c| listing.contains(&format!("pid {} ", c.pid())));
    stage.check(shown, "the list shows both of them")?;
    let pids: Vec<u32> = stage.segment(id)?.map_or(Vec::new(), |s| s.attached.iter().map(|a| a.pid as u32).collect());
    stage.check(pids.len() == 2 && [&clock, &display].iter().all(|c| pids.contains(&c.pid())), "and nobody else is attached")?;

    display.go()?;
    clock.go()?;
    let mut written = HashMap::new();
    for _ in 0..NUMBERS {
        let Some(read) = display.line()? else { return Err(Failure::new("the display has ended early")) };
        lines = vec![read];
        let (serial, value) = (number(&lines, "number")?, number(&lines, "read")?);
        follow(&mut clock, stage, serial, &mut written)?;
        stage.say(display.name(), &lines[0])?;
        if written.get(&serial) != Some(&value) {
            return stage.check(false, "the display prints the clock's numbers");
        }
    }
    stage.check(true, &format!("the display has printed {NUMBERS} numbers, each as the clock wrote it"))?;
    display.finish(stage)?;
    clock.finish(stage).map(drop)
}

/// Shows what the clock has written up to number `serial`.
fn follow(clock: &mut Client, stage: &mut Stage, serial: i64, written: &mut HashMap<i64, i64>) -> Result<(), Failure> {
    while !written.contains_key(&serial) {
        let Some(line) = clock.line()? else { return Err(Failure::new("the clock has ended early")) };
        stage.say(clock.name(), &line)?;
        let lines = [line];
        written.insert(number(&lines, "number")?, number(&lines, "wrote")?);
    }
    Ok(())
}

/// A segment is removed while a program is attached to it.
pub fn removed_in_use(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("Removed while in use")?;
    stage.tell("Removing a segment takes its key away at once. Whoever is attached keeps it: its status is dest,")?;
    stage.tell("and it goes with the last detach.")?;
    let mut holder = stage.start("holder")?;
    let said = holder.listen(stage)?;
    let id = identifier(&said)?;
    stage.show(&["rm", &id.to_string()])?;
    stage.show(&["ls"])?;
    let state = stage.segment(id)?;
    let marked = state.is_some_and(|s| s.stat.flags.contains(ModeFlags::DEST) && s.stat.nattch == 1 && s.stat.key.is_private());
    stage.check(marked, "it is marked dest, has lost its key, and one is attached")?;
    holder.go()?;
    let again = holder.listen(stage)?;
    stage.check(number(&again, "still")? == number(&said, "wrote")?, "the program still reads its number")?;
    holder.go()?;
    holder.listen(stage)?;
    stage.show(&["ls"])?;
    stage.check(stage.segment(id)?.is_none(), "after the last detach it is gone")?;
    holder.finish(stage).map(drop)
}

/// A program that has the only unit of a semaphore is killed, and the one that waits for it goes on.
pub fn owner_dies(stage: &mut Stage) -> Result<(), Failure> {
    stage.scene("A lock outlives its owner")?;
    stage.tell("A semaphore is a number of units: semop takes some, or waits until there are enough. What was taken")?;
    stage.tell("with SEM_UNDO is given back when the process ends, however that comes about.")?;
    let mut owner = stage.start("owner")?;
    let id = identifier(&owner.listen(stage)?)?;
    let mut next = stage.start("next")?;
    next.listen(stage)?;
    stage.until_waiting(Waited::Set(id), &mut next)?;
    stage.tell("It waits. For what, and who has it?")?;
    let told = stage.show(&["why", &next.pid().to_string()])?;
    stage.check(told.contains(&format!("held by     1 by pid {} ", owner.pid())), "the owner has what the next one waits for")?;
    stage.tell(&format!("kill -9 {}, which lets the owner do nothing more:", owner.pid()))?;
    owner.kill()?;
    let said = next.listen(stage)?;
    stage.check(number(&said, "are")? == 0, "the next one has got the unit at once")?;
    next.finish(stage)?;
    stage.check(stage.set(id)?.is_none(), "and has removed the set in the end")
}

/// Work is handed to two who wait for it; one is killed while it waits, and the other one gets it all. Returns the kernel's lists
/// meanwhile.
pub fn work_is_handed_out(stage: &mut Stage, look: fn() -> Vec<String>) -> Result<Vec<String>, Failure> {
    stage.scene("Work for two")?;
    stage.tell("A message queue keeps messages, each with a type, until somebody takes them: msgrcv takes one, or waits")?;
    stage.tell("until there is one, and who has waited longest is served first.")?;
    let mut boss = stage.start("boss")?;
    let id = identifier(&boss.listen(stage)?)?;
    let mut first = worker(stage, "first", id)?;
    let mut second = worker(stage, "second", id)?;
    boss.go()?;
    boss.listen(stage)?;
    let got = [hear(&mut first, stage)?, hear(&mut second, stage)?];
    let jobs = [number(&got[..1], "job")?, number(&got[1..], "job")?];
    stage.check(jobs == [1, 2], "each has got one, and who came first the first")?;
    for worker in [&mut first, &mut second] {
        stage.until_waiting(Waited::Queue(id), worker)?;
    }
    let during = look();
    let listing = stage.show(&["ls"])?;
    let shown = [&first, &second].iter().all(|worker| listing.contains(&format!("pid {} ", worker.pid())));
    stage.check(shown, "both wait again")?;
    stage.tell(&format!("kill -9 {}, while it waits; then there is more work:", first.pid()))?;
    first.kill()?;
    boss.go()?;
    let sent = boss.listen(stage)?;
    let got = [hear(&mut second, stage)?, hear(&mut second, stage)?];
    let same = sent.iter().map(|line| job(line)).eq(got.iter().map(|line| job(line)));
    stage.check(same, "nothing was given to the dead: the other one has got both, in their order")?;
    stage.until_waiting(Waited::Queue(id), &mut second)?;
    boss.finish(stage)?;
    second.finish(stage)?;
    stage.check(stage.queue(id)?.is_none(), "the boss has removed the queue, and so the waiting ends")?;
    Ok(during)
}

/// A worker that waits for a job.
fn worker(stage: &mut Stage, role: &'static str, queue: Id) -> Result<Client, Failure> {
    let mut worker = stage.start(role)?;
    hear(&mut worker, stage)?;
    stage.until_waiting(Waited::Queue(queue), &mut worker)?;
    Ok(worker)
}

/// The next line of a client that does not pause.
fn hear(client: &mut Client, stage: &mut Stage) -> Result<String, Failure> {
    let line = client.line()?.ok_or_else(|| Failure::new(format!("the {} has ended early", client.name())))?;
    stage.say(client.name(), &line)?;
    Ok(line)
}

/// Which job it is, and its number: what is said after the word.
fn job(line: &str) -> Option<&str> {
    line.split_once(" job ").map(|(_, job)| job)
}

/// The kernel's lists of objects have not changed.
pub fn kernel_saw_nothing(stage: &mut Stage, before: &[String], during: &[String], after: &[String]) -> Result<(), Failure> {
    stage.scene("The kernel saw none of it")?;
    stage.tell("The kernel lists its own objects in /proc/sysvipc; 'quintet ls --kernel' shows them.")?;
    if before == during && before == after {
        let fact = format!("its lines before, during and after the demo are the same ({} of them)", before.len());
        return stage.check(true, &fact);
    }
    // Other programs of this machine use the kernel's objects meanwhile: then the question is whether it was one of ours.
    let ours: Vec<String> = stage.pids.iter().map(u32::to_string).collect();
    let key = ftok(stage)?.raw().to_string();
    let by_us = |line: &String| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let at = match columns[0] {
            "shm" => 5..7,
            "msg" => 6..8,
            _ => 0..0,
        };
        let pids = columns.get(at).unwrap_or_default().iter();
        columns.get(1) == Some(&key.as_str()) || pids.into_iter().any(|pid| ours.iter().any(|o| o == pid))
    };
    let touched = during.iter().chain(after).any(by_us);
    stage.check(!touched, "other programs have used the kernel's objects meanwhile, and none of the clients has")
}

/// The key that the clients make of the file.
fn ftok(stage: &Stage) -> Result<Key, Failure> {
    Key::ftok(stage.file(), i32::from(b'q')).map_err(|e| Failure::new(format!("ftok: {e}")))
}

fn identifier(lines: &[String]) -> Result<Id, Failure> {
    let raw = i32::try_from(number(lines, "id")?).unwrap_or(-1);
    Id::from_raw(raw).map_err(|e| Failure::new(format!("a client of the demo told no identifier: {e}")))
}
