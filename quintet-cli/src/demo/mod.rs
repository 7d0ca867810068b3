//! The demonstration: unmodified System V clients, what they do, and what `quintet` shows of it.
//! Every value is checked; the demo fails if one is not what it must be.

mod client;
pub mod clients;
mod scenes;
mod stage;

use crate::context::Context;
use crate::failure::Failure;
use crate::scratch::Scratch;
use rustix::fs::{Mode, OFlags};
use stage::Stage;
use std::fs::File;
use std::io;

/// Plays all scenes.
pub fn play(context: &Context, scratch: &Scratch) -> Result<(), Failure> {
    let mut stage = Stage::new(context, scratch)?;
    let before = kernel_objects();
    stage.open()?;
    scenes::two_programs_meet(&mut stage)?;
    scenes::parent_and_child(&mut stage)?;
    scenes::numbers_pass(&mut stage)?;
    scenes::removed_in_use(&mut stage)?;
    scenes::owner_dies(&mut stage)?;
    let during = scenes::work_is_handed_out(&mut stage, kernel_objects)?;
    scenes::kernel_saw_nothing(&mut stage, &before, &during, &kernel_objects())?;
    stage.close()
}

/// The kernel's own lists of objects, each line after the word `shm`, `sem` or `msg`; empty where it has none at all.
fn kernel_objects() -> Vec<String> {
    let list = |class: &str| {
        // By the system call itself: under an outer `quintet run`, libc's open would show the drop-in's list.
        let list = rustix::fs::open(format!("/proc/sysvipc/{class}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let text = list.map_err(io::Error::from).and_then(|list| io::read_to_string(File::from(list))).unwrap_or_default();
        text.lines().skip(1).map(|line| format!("{class} {line}")).collect::<Vec<_>>()
    };
    ["shm", "sem", "msg"].map(list).concat()
}
