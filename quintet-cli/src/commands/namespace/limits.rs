//! `quintet namespace limits`.

use crate::commands::view::NamespaceView;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::table::{Column, Row, Table};
use crate::output::text::Page;
use crate::output::{Report, emit};
use crate::size;
use quintet::{Errno, Id, Limits, Namespace};
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "\
EXAMPLES:
  quintet namespace limits                 show them
  quintet namespace limits --shmmax 1G --shmmni 100
  quintet namespace limits --semmni 100 --semmsl 250
  quintet namespace limits --msgmax 64K --msgmnb 1M
  quintet namespace limits --shm-next-id 7 the next segment's id, where it is free";

/// Show the limits of a namespace, and set those that are given
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The greatest size of a segment, in bytes
    #[arg(long, value_name = "N", value_parser = size::parse)]
    shmmax: Option<u64>,

    /// The greatest sum of all segments, in pages of 4096 bytes
    #[arg(long, value_name = "N")]
    shmall: Option<u64>,

    /// The greatest number of segments, 0 to 32768
    #[arg(long, value_name = "N")]
    shmmni: Option<u32>,

    /// Whether a segment goes with its last detach, although nobody removed it: 0 or 1
    #[arg(long, value_name = "0|1", value_parser = parse_switch)]
    shm_rmid_forced: Option<bool>,

    /// The identifier of the next segment; -1 takes that back
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    shm_next_id: Option<i32>,

    /// The greatest number of semaphores in one set, 0 to 65535
    #[arg(long, value_name = "N")]
    semmsl: Option<u32>,

    /// The greatest number of semaphores in all sets
    #[arg(long, value_name = "N")]
    semmns: Option<u32>,

    /// The greatest number of operations in one semop, 0 to 500
    #[arg(long, value_name = "N")]
    semopm: Option<u32>,

    /// The greatest number of sets, 0 to 32768
    #[arg(long, value_name = "N")]
    semmni: Option<u32>,

    /// The identifier of the next set; -1 takes that back
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    sem_next_id: Option<i32>,

    /// The greatest length of a message, in bytes
    #[arg(long, value_name = "N", value_parser = parse_length)]
    msgmax: Option<u32>,

    /// How many bytes of messages a new queue takes
    #[arg(long, value_name = "N", value_parser = parse_length)]
    msgmnb: Option<u32>,

    /// The greatest number of queues, 0 to 32768
    #[arg(long, value_name = "N")]
    msgmni: Option<u32>,

    /// The identifier of the next queue; -1 takes that back
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    msg_next_id: Option<i32>,
}

/// Bytes as the limits of queues count them.
fn parse_length(text: &str) -> Result<u32, String> {
    let most = i32::MAX;
    let bytes = size::parse(text)?;
    u32::try_from(bytes)
        .ok()
        .filter(|n| i32::try_from(*n).is_ok())
        .ok_or_else(|| format!("'{text}' is too much: at most {most} bytes"))
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("give 0 or 1".to_owned()),
    }
}

#[derive(Serialize)]
struct Shown {
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

impl Report for Shown {
    fn text(&self, page: &mut Page) -> io::Result<()> {
        let mut table = Table::new(vec![Column::left("LIMIT"), Column::right("VALUE"), Column::left("MEANING")]);
        let next = |id: Option<i32>| id.unwrap_or(-1).to_string();
        let rows = [
            ("shmmax", self.shmmax.to_string(), "bytes of one segment, at most"),
            ("shmall", self.shmall.to_string(), "pages of 4096 bytes of all segments together, at most"),
            ("shmmni", self.shmmni.to_string(), "segments, at most"),
            ("shm_rmid_forced", u8::from(self.shm_rmid_forced).to_string(), "1: a segment goes with its last detach"),
            ("shm_next_id", next(self.shm_next_id), "identifier of the next segment; -1: any"),
            ("semmsl", self.semmsl.to_string(), "semaphores of one set, at most"),
            ("semmns", self.semmns.to_string(), "semaphores of all sets together, at most"),
            ("semopm", self.semopm.to_string(), "operations of one semop, at most"),
            ("semmni", self.semmni.to_string(), "sets, at most"),
            ("sem_next_id", next(self.sem_next_id), "identifier of the next set; -1: any"),
            ("msgmax", self.msgmax.to_string(), "bytes of one message, at most"),
            ("msgmnb", self.msgmnb.to_string(), "bytes of messages that a new queue takes"),
            ("msgmni", self.msgmni.to_string(), "queues, at most"),
            ("msg_next_id", next(self.msg_next_id), "identifier of the next queue; -1: any"),
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
    let unread = |what: &'static str| move |errno| refusal(what, errno);
    let Limits { shmmax, shmall, shmmni, shm_rmid_forced, semmsl, semmns, semopm, semmni, msgmax, msgmnb, msgmni } =
        ns.limits().map_err(unread("read the limits"))?;
    let shown = Shown {
        namespace: NamespaceView::new(&ns),
        shmmax,
        shmall,
        shmmni,
        shm_rmid_forced,
        shm_next_id: ns.shm_next_id().map_err(unread("read shm_next_id"))?.map(Id::raw),
        semmsl,
        semmns,
        semopm,
        semmni,
        sem_next_id: ns.sem_next_id().map_err(unread("read sem_next_id"))?.map(Id::raw),
        msgmax,
        msgmnb,
        msgmni,
        msg_next_id: ns.msg_next_id().map_err(unread("read msg_next_id"))?.map(Id::raw),
        changed,
    };
    emit(context, &shown)?;
    Ok(Exit::Success)
}

impl Args {
    /// Sets what is given, and tells whether anything is.
    fn apply(&self, ns: &Namespace) -> Result<bool, Failure> {
        let refused = |what: &'static str| move |errno| refusal(what, errno);
        let mut limits = ns.limits().map_err(refused("read the limits"))?;
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
            ns.set_limits(&limits).map_err(refused("set the limits"))?;
        }
        if let Some(id) = self.shm_next_id {
            ns.set_shm_next_id(Id::from_raw(id).ok()).map_err(refused("set shm_next_id"))?;
        }
        if let Some(id) = self.sem_next_id {
            ns.set_sem_next_id(Id::from_raw(id).ok()).map_err(refused("set sem_next_id"))?;
        }
        if let Some(id) = self.msg_next_id {
            ns.set_msg_next_id(Id::from_raw(id).ok()).map_err(refused("set msg_next_id"))?;
        }
        let next = [self.shm_next_id, self.sem_next_id, self.msg_next_id];
        Ok(limits != before || next.iter().any(Option::is_some))
    }
}

fn refusal(what: &str, errno: Errno) -> Failure {
    let why = match errno {
        Errno::PERM | Errno::ACCES => format!("only the namespace's owner may do this ({errno:?})"),
        Errno::INVAL => {
            let (semmsl, semopm) = (Limits::MOST_SEMMSL, Limits::MOST_SEMOPM);
            format!(
                "shmmni, semmni and msgmni are at most 32768, semmsl {semmsl}, semopm {semopm}, semmns {} ({errno:?})",
                i32::MAX
            )
        }
        _ => errno.to_string(),
    };
    Failure::new(format!("cannot {what}: {why}")).errno(errno)
}
