//! `quintet demo`: the main job, shown.

use crate::context::Context;
use crate::demo;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::scratch::Scratch;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet demo                             takes a few seconds, and leaves nothing behind";

/// Show unmodified System V programs at work on a throw-away namespace, step by step
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

pub fn run(context: &Context, _: &Args) -> Outcome {
    context.refuse_kernel()?;
    context.refuse_namespace("the demo makes a namespace of its own")?;
    if context.json() {
        return Err(Failure::usage("'quintet demo' tells a story, not JSON").remedy("leave out --json"));
    }
    let scratch = Scratch::create()?;
    let played = demo::play(context, &scratch);
    let discarded = scratch.discard();
    played.and(discarded)?;
    Ok(Exit::Success)
}
