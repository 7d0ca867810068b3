//! `quintet stat`: everything about one object.

mod sem;
mod shm;

use super::view::set::SetView;
use super::view::{NamespaceView, SegmentView};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::object::{self, Object, Status};
use crate::output::json::Error;
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
use crate::users::Users;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet stat 32769                       by identifier
  quintet stat key:0x4d2                   by key
  quintet stat sem:0                       a semaphore set: each semaphore, who waits, who holds
  quintet stat --kernel shm:0 --json       a kernel's segment, for programs";

/// Show everything about objects
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[arg(required = true, value_name = "OBJECT", help = object::HELP)]
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Details {
    namespace: NamespaceView,
    shm: Vec<SegmentView>,
    sem: Vec<SetView>,
    errors: Vec<Error>,
}

impl Report for Details {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        for (i, segment) in self.shm.iter().enumerate() {
            if i > 0 {
                page.gap()?;
            }
            shm::describe(segment, &self.namespace, page)?;
        }
        for (i, set) in self.sem.iter().enumerate() {
            if i > 0 || !self.shm.is_empty() {
                page.gap()?;
            }
            sem::describe(set, &self.namespace, page)?;
        }
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let mut details = Details { namespace: NamespaceView::new(&ns), shm: Vec::new(), sem: Vec::new(), errors: Vec::new() };
    for object in &args.objects {
        match object.status(&ns) {
            Ok(Status::Shm(status)) => details.shm.push(SegmentView::new(&status, &users)),
            Ok(Status::Sem(status)) => details.sem.push(SetView::new(&ns, &status, &users)),
            Err(failure) => {
                complain(context, &failure.to_string());
                details.errors.push(Error::from(&failure));
            }
        }
    }
    emit(context, &details)?;
    Ok(if details.errors.is_empty() { Exit::Success } else { Exit::Failure })
}
