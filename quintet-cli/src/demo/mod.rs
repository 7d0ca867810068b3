//! The demonstration: what unmodified System V clients do, and what `quintet` shows of it.
//! The demo checks every value, and fails if one is wrong.

mod client;
pub mod programs;
mod scenes;
mod stage;

use crate::context::Context;
use crate::failure::Failure;
use crate::system::temp_namespace::TempNamespace;
use rustix::fs::{Mode, OFlags};
use stage::Stage;
use std::fs::File;
use std::io;

/// Plays all scenes on a temporary namespace.
pub fn play(context: &Context, ns: &TempNamespace) -> Result<(), Failure> {
    let mut stage = Stage::new(context, ns)?;
    let before = kernel_objects();
    stage.open()?;
    scenes::two_programs_meet(&mut stage)?;
    scenes::parent_and_child(&mut stage)?;
    scenes::numbers_pass(&mut stage)?;
    scenes::removed_in_use(&mut stage)?;
    scenes::owner_is_killed(&mut stage)?;
    let during = scenes::work_is_distributed(&mut stage, kernel_objects)?;
    scenes::kernel_is_not_used(&mut stage, &before, &during, &kernel_objects())?;
    stage.close()
}

/// Returns the lines of the kernel's own lists of objects, each after the word `shm`, `sem` or
/// `msg`.
fn kernel_objects() -> Vec<String> {
    let list = |class: &str| {
        // The system call, because under an outer `quintet run` the drop-in library intercepts
        // `open`.
        let list = rustix::fs::open(format!("/proc/sysvipc/{class}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let text = list.map_err(io::Error::from).and_then(|list| io::read_to_string(File::from(list))).unwrap_or_default();
        text.lines().skip(1).map(|line| format!("{class} {line}")).collect::<Vec<_>>()
    };
    ["shm", "sem", "msg"].map(list).concat()
}
