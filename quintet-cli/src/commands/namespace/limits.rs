//! `quintet namespace limits`: shows and sets the limits of a namespace.

use crate::args::size;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::view::namespace::NamespaceView;
use quintet::{Errno, Id, Limits, Namespace};
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace limits                 show them
  quintet namespace limits --shmmax 1G --shmmni 100
  quintet namespace limits --semmni 100 --semmsl 250
  quintet namespace limits --msgmax 64K --msgmnb 1M
  quintet namespace limits --shm-next-id 7 the next segment gets id 7 if it is free";

/// Show the limits of a namespace, or set limits
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Maximum size of a segment in bytes
    #[arg(long, value_name = "N", value_parser = size::parse)]
    shmmax: Option<u64>,

    /// Maximum size of all segments together in pages of 4096 bytes
    #[arg(long, value_name = "N")]
    shmall: Option<u64>,

    /// Maximum number of segments, 0 to 32768
    #[arg(long, value_name = "N")]
    shmmni: Option<u32>,

    /// 1: the last detach destroys a segment, even if it was not marked; 0: it does not
    #[arg(long, value_name = "0|1", value_parser = parse_switch)]
    shm_rmid_forced: Option<bool>,

    /// Identifier of the next segment; -1: any
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    shm_next_id: Option<i32>,

    /// Maximum number of semaphores in a set, 0 to 65535
    #[arg(long, value_name = "N")]
    semmsl: Option<u32>,

    /// Maximum number of semaphores in all sets together
    #[arg(long, value_name = "N")]
    semmns: Option<u32>,

    /// Maximum number of operations in a semop call, 0 to 500
    #[arg(long, value_name = "N")]
    semopm: Option<u32>,

    /// Maximum number of semaphore sets, 0 to 32768
    #[arg(long, value_name = "N")]
    semmni: Option<u32>,

    /// Identifier of the next semaphore set; -1: any
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    sem_next_id: Option<i32>,

    /// Maximum length of a message in bytes
    #[arg(long, value_name = "N", value_parser = parse_length)]
    msgmax: Option<u32>,

    /// Capacity of a new message queue in bytes
    #[arg(long, value_name = "N", value_parser = parse_length)]
    msgmnb: Option<u32>,

    /// Maximum number of message queues, 0 to 32768
    #[arg(long, value_name = "N")]
    msgmni: Option<u32>,

    /// Identifier of the next message queue; -1: any
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    msg_next_id: Option<i32>,
}

/// Parses a number of bytes that fits a limit of queues.
fn parse_length(text: &str) -> Result<u32, String> {
    let most = i32::MAX;
    let bytes = size::parse(text)?;
    u32::try_from(bytes)
        .ok()
        .filter(|n| i32::try_from(*n).is_ok())
        .ok_or_else(|| format!("'{text}' is too large: give at most {most} bytes"))
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("'{text}' is not a switch: give 0 or 1")),
    }
}

#[derive(Serialize)]
struct LimitsView {
    namespace: NamespaceView,
    shmmax: u64,
    shmall: u64,
    shmmni: u32,
    shm_rmid_forced: bool,
    shm_next_id: Option<i32>,
    semmsl: u32,
    semmns: u32,
    semopm: u32,
    semmni: u32,
    sem_next_id: Option<i32>,
    msgmax: u32,
    msgmnb: u32,
    msgmni: u32,
    msg_next_id: Option<i32>,
    changed: bool,
}

impl Report for LimitsView {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let mut table = Table::new(vec![Column::left("LIMIT"), Column::right("VALUE"), Column::left("MEANING")]);
        let next = |id: Option<i32>| id.unwrap_or(-1).to_string();
        let rows = [
            ("shmmax", self.shmmax.to_string(), "maximum size of a segment in bytes"),
            ("shmall", self.shmall.to_string(), "maximum size of all segments together in pages of 4096 bytes"),
            ("shmmni", self.shmmni.to_string(), "maximum number of segments"),
            ("shm_rmid_forced", u8::from(self.shm_rmid_forced).to_string(), "1: the last detach destroys a segment"),
            ("shm_next_id", next(self.shm_next_id), "identifier of the next segment; -1: any"),
            ("semmsl", self.semmsl.to_string(), "maximum number of semaphores in a set"),
            ("semmns", self.semmns.to_string(), "maximum number of semaphores in all sets together"),
            ("semopm", self.semopm.to_string(), "maximum number of operations in a semop call"),
            ("semmni", self.semmni.to_string(), "maximum number of semaphore sets"),
            ("sem_next_id", next(self.sem_next_id), "identifier of the next semaphore set; -1: any"),
            ("msgmax", self.msgmax.to_string(), "maximum length of a message in bytes"),
            ("msgmnb", self.msgmnb.to_string(), "capacity of a new message queue in bytes"),
            ("msgmni", self.msgmni.to_string(), "maximum number of message queues"),
            ("msg_next_id", next(self.msg_next_id), "identifier of the next message queue; -1: any"),
        ];
        for (name, value, meaning) in rows {
            table.push(Row::new(vec![name.to_owned(), value, meaning.to_owned()]));
        }
        table.print(page)
    }
}

pub fn run(context: &Context, args: &Args) -> Outcome {
    let ns = context.namespace()?;
    let changed = args.apply(&ns)?;
    emit(context, &LimitsView::read(&ns, changed)?)?;
    Ok(Exit::Success)
}

impl LimitsView {
    fn read(ns: &Namespace, changed: bool) -> Result<LimitsView, Failure> {
        let failed = |what: &'static str| move |errno| limits_failure(what, errno);
        let Limits { shmmax, shmall, shmmni, shm_rmid_forced, semmsl, semmns, semopm, semmni, msgmax, msgmnb, msgmni } =
            ns.limits().map_err(failed("read the limits"))?;
        Ok(LimitsView {
            namespace: NamespaceView::new(ns),
            shmmax,
            shmall,
            shmmni,
            shm_rmid_forced,
            shm_next_id: ns.shm_next_id().map_err(failed("read shm_next_id"))?.map(Id::raw),
            semmsl,
            semmns,
            semopm,
            semmni,
            sem_next_id: ns.sem_next_id().map_err(failed("read sem_next_id"))?.map(Id::raw),
            msgmax,
            msgmnb,
            msgmni,
            msg_next_id: ns.msg_next_id().map_err(failed("read msg_next_id"))?.map(Id::raw),
            changed,
        })
    }
}

impl Args {
    /// Sets the given limits. Returns `true` if there are any.
    fn apply(&self, ns: &Namespace) -> Result<bool, Failure> {
        let failed = |what: &'static str| move |errno| limits_failure(what, errno);
        let mut limits = ns.limits().map_err(failed("read the limits"))?;
        let before = limits;
        limits.shmmax = self.shmmax.unwrap_or(limits.shmmax);
        limits.shmall = self.shmall.unwrap_or(limits.shmall);
        limits.shmmni = self.shmmni.unwrap_or(limits.shmmni);
        limits.shm_rmid_forced = self.shm_rmid_forced.unwrap_or(limits.shm_rmid_forced);
        limits.semmsl = self.semmsl.unwrap_or(limits.semmsl);
        limits.semmns = self.semmns.unwrap_or(limits.semmns);
        limits.semopm = self.semopm.unwrap_or(limits.semopm);
        limits.semmni = self.semmni.unwrap_or(limits.semmni);
        limits.msgmax = self.msgmax.unwrap_or(limits.msgmax);
        limits.msgmnb = self.msgmnb.unwrap_or(limits.msgmnb);
        limits.msgmni = self.msgmni.unwrap_or(limits.msgmni);
        if limits != before {
            ns.set_limits(&limits).map_err(failed("set the limits"))?;
        }
        if let Some(id) = self.shm_next_id {
            ns.set_shm_next_id(Id::from_raw(id).ok()).map_err(failed("set shm_next_id"))?;
        }
        if let Some(id) = self.sem_next_id {
            ns.set_sem_next_id(Id::from_raw(id).ok()).map_err(failed("set sem_next_id"))?;
        }
        if let Some(id) = self.msg_next_id {
            ns.set_msg_next_id(Id::from_raw(id).ok()).map_err(failed("set msg_next_id"))?;
        }
        let next = [self.shm_next_id, self.sem_next_id, self.msg_next_id];
        Ok(limits != before || next.iter().any(Option::is_some))
    }
}

fn limits_failure(what: &str, errno: Errno) -> Failure {
    let failed = |reason: &str| Failure::new(format!("cannot {what}: {reason} ({errno:?})")).errno(errno);
    match errno {
        Errno::PERM | Errno::ACCES => failed("only the owner of the namespace has permission"),
        Errno::INVAL => {
            let (semmsl, semopm, semmns) = (Limits::MAX_SEMMSL, Limits::MAX_SEMOPM, i32::MAX);
            failed("a limit is out of range").remedy(format_args!(
                "give shmmni, semmni and msgmni up to 32768, semmsl up to {semmsl}, semopm up to {semopm}, semmns up to {semmns}"
            ))
        }
        _ => failed(errno.description()),
    }
}
