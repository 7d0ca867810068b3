//! `quintet stat`: shows every detail of objects.

mod msg;
mod sem;
mod shm;

use crate::args::object::{self, Object, ObjectStatus};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::json::ErrorView;
use crate::output::text::Page;
use crate::output::{Report, complain, emit};
use crate::system::users::Users;
use crate::view::namespace::NamespaceView;
use crate::view::queue::QueueView;
use crate::view::segment::SegmentView;
use crate::view::set::SetView;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet stat 32769                       by identifier
  quintet stat key:0x4d2                   by key
  quintet stat sem:0                       a semaphore set: values, waiters, undo adjustments
  quintet stat msg:0                       a message queue: messages by type, waiters
  quintet stat --kernel shm:0 --json       a segment of the kernel, for scripts";

/// Show every detail of objects
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
    msg: Vec<QueueView>,
    errors: Vec<ErrorView>,
}

impl Report for Details {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let separate = |first: &mut bool, page: &mut Page| if std::mem::take(first) { Ok(()) } else { page.gap() };
        let mut first = true;
        for segment in &self.shm {
            separate(&mut first, page)?;
            shm::describe(segment, &self.namespace, page)?;
        }
        for set in &self.sem {
            separate(&mut first, page)?;
            sem::describe(set, &self.namespace, page)?;
        }
        for queue in &self.msg {
            separate(&mut first, page)?;
            msg::describe(queue, &self.namespace, page)?;
        }
        Ok(())
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let users = Users::load();
    let namespace = NamespaceView::new(&ns);
    let mut details = Details { namespace, shm: Vec::new(), sem: Vec::new(), msg: Vec::new(), errors: Vec::new() };
    for object in &args.objects {
        match object.status(&ns) {
            Ok(ObjectStatus::Shm(status)) => details.shm.push(SegmentView::new(&status, &users)),
            Ok(ObjectStatus::Sem(status)) => details.sem.push(SetView::new(&ns, &status, &users)),
            Ok(ObjectStatus::Msg(status)) => details.msg.push(QueueView::new(&ns, &status, &users)),
            Err(failure) => {
                complain(context, &failure.to_string());
                details.errors.push(ErrorView::from(&failure));
            }
        }
    }
    emit(context, &details)?;
    Ok(if details.errors.is_empty() { Exit::Success } else { Exit::Failure })
}
