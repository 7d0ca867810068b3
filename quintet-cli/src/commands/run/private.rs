//! `quintet run --private`: the program as a child, on a namespace that goes with it.

use crate::child;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::complain;
use crate::scratch::Scratch;
use std::path::Path;
use std::process::Command;

pub fn run(context: &Context, mut command: Command, path: &Path) -> Outcome {
    let scratch = Scratch::create().map_err(|failure| failure.exit(Exit::RunFailed))?;
    command.env("QUINTET_NAMESPACE", scratch.path());
    let status = child::run(command, path);
    if let Err(failure) = scratch.close() {
        complain(context, &failure.to_string());
    }
    Ok(child::ended(status?))
}
