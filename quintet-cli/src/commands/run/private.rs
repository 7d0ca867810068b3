//! `quintet run --private`: runs the program as a child, on a namespace that is removed afterwards.

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::complain;
use crate::system::child;
use crate::system::temp_namespace::TempNamespace;
use std::path::Path;
use std::process::Command;

pub fn run(context: &Context, mut command: Command, path: &Path) -> Outcome {
    let ns = TempNamespace::create().map_err(|failure| failure.exit(Exit::RunFailed))?;
    command.env("QUINTET_NAMESPACE", ns.path());
    let status = child::run(command, path);
    if let Err(failure) = ns.close() {
        complain(context, &failure.to_string());
    }
    Ok(child::exit_like(status?))
}
