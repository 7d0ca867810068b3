//! `quintet demo`: plays the demonstration.

use crate::context::Context;
use crate::demo;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::system::temp_namespace::TempNamespace;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet demo                             takes a few seconds and leaves nothing behind";

/// Show unmodified System V programs at work on a temporary namespace, step by step
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

pub fn run(context: &Context, _: &Args) -> Outcome {
    context.refuse_kernel()?;
    context.refuse_namespace("it creates its own namespace")?;
    context.refuse_json("it prints text")?;
    let ns = TempNamespace::create()?;
    let played = demo::play(context, &ns);
    let discarded = ns.discard();
    played.and(discarded)?;
    Ok(Exit::Success)
}
