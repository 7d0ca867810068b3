//! `quintet doctor`: examines a namespace or a program, and shows how to fix problems.

mod finding;
mod logind;
mod mount;
mod namespace;
mod program;
mod queues;
mod space;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::text::{BAD, DIM, FAIR, GOOD, Page};
use crate::output::{Report, emit};
use finding::{Finding, Level};
use serde::Serialize;
use std::ffi::OsString;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet doctor                           is the default namespace healthy?
  quintet --namespace /srv/ipc doctor      is this one?
  quintet doctor --repair                  rebuild damaged message queues
  quintet doctor -- ./server               can this program be run? if not, why not?";

/// Examine a namespace and its file system, or whether a program can be run
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Rebuild damaged message queues, with all messages that are intact
    #[arg(long, conflicts_with = "program")]
    repair: bool,

    /// Program to examine instead
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Serialize)]
struct Diagnosis {
    path: Option<String>,
    findings: Vec<Finding>,
    healthy: bool,
}

impl Report for Diagnosis {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        for finding in &self.findings {
            let (style, word) = match finding.level {
                Level::Ok => (GOOD, "ok  "),
                Level::Warn => (FAIR, "warn"),
                Level::Fail => (BAD, "FAIL"),
            };
            page.line(format_args!("{style}{word}{style:#}  {:<12} {}", finding.subject, finding.message))?;
            if let Some(remedy) = &finding.remedy {
                page.line(format_args!("{DIM}                   -> {remedy}{DIM:#}"))?;
            }
        }
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    context.refuse_kernel()?;
    let mut findings = Vec::new();
    let mut path = None;
    match args.program.first() {
        Some(name) => program::examine(context, name, &mut findings),
        None => {
            let dir = context.namespace_path();
            path = Some(dir.to_string_lossy().into_owned());
            namespace::examine(context, &dir, args.repair, &mut findings);
        }
    }
    program::examine_library(&mut findings);
    let healthy = findings.iter().all(|f| f.level != Level::Fail);
    emit(context, &Diagnosis { path, findings, healthy })?;
    Ok(if healthy { Exit::Success } else { Exit::Failure })
}
