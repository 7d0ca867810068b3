//! The namespace: access, orphans, deadlocks and limits.

use super::finding::Finding;
use super::{logind, queues, space};
use crate::args::object;
use crate::context::Context;
use crate::deadlock::WaitGraph;
use crate::failure::Failure;
use crate::hint;
use crate::system::process;
use crate::system::users::Users;
use crate::view::namespace::kind_text;
use crate::words::{clean, count, shell_word};
use quintet::{Kind, Namespace, QueueStatus, SegmentStatus, SetStatus};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Examines the namespace at `dir`. Rebuilds damaged queues if `repair` is set.
pub fn examine(context: &Context, dir: &Path, repair: bool, findings: &mut Vec<Finding>) {
    match context.namespace() {
        Ok(ns) => examine_open(&ns, dir, repair, findings),
        Err(failure) => {
            findings.push(Finding::failure("namespace", failure));
            if dir.is_dir() {
                space::examine(dir, None, findings);
            }
        }
    }
}

fn examine_open(ns: &Namespace, dir: &Path, repair: bool, findings: &mut Vec<Finding>) {
    let uid = rustix::process::geteuid().as_raw();
    findings.push(open(ns));
    // The repair comes first, so that the other findings show its result.
    let damage = queues::damage(ns, repair);
    let segments = ns.segments();
    let used = segments.as_ref().ok().map(|all| all.iter().map(|s| s.resident).sum());
    space::examine(dir, used, findings);
    findings.push(access(dir, ns.kind(), uid));
    findings.push(logind::examine(dir, uid));
    let all = segments.map_err(Failure::from).and_then(|all| Ok((all, object::sets(ns)?, object::queues(ns)?)));
    match all {
        Ok((segments, sets, queues)) => {
            findings.push(orphans(ns, &segments, &sets, &queues));
            findings.push(deadlocks(ns, &sets));
            findings.extend(damage);
            findings.extend(queues::examine(ns, &queues));
        }
        Err(failure) => {
            findings.extend(damage);
            let remove = hint::command(format_args!("namespace rm --force {}", shell_word(&dir.to_string_lossy())));
            let remedy = format!("the namespace may be damaged; {remove} removes it with all objects");
            findings.push(Finding::fail("contents", failure.to_string(), remedy));
        }
    }
    findings.extend(limits(ns));
}

fn open(ns: &Namespace) -> Finding {
    let path = ns.path().map(|p| clean(&p.to_string_lossy())).unwrap_or_default();
    let kind = kind_text(ns.kind());
    let processes = ns.participants().map_or(0, |p| p.len()) as u64;
    Finding::ok("namespace", format!("{path} is a {kind} namespace, used by {}", count(processes, "process")))
}

fn access(dir: &Path, kind: Kind, uid: u32) -> Finding {
    let Ok(metadata) = dir.metadata() else {
        return Finding::fail("access", "cannot read the mode of the directory", "check that it exists and can be entered");
    };
    let mode = metadata.mode() & 0o7777;
    let owner = Users::load().name(metadata.uid());
    let has_other_owner = metadata.uid() != uid && metadata.uid() != 0;
    let chmod = |mode: &str| format!("chmod {mode} {}", shell_word(&dir.to_string_lossy()));
    let ok = |message: String| Finding::ok("access", message);
    match kind {
        _ if has_other_owner => Finding::warn(
            "access",
            format!("the directory belongs to {owner}: this user can remove every object in it"),
            format!("use it only if you trust {owner}"),
        ),
        Kind::Private if mode & 0o077 != 0 => {
            Finding::fail("access", format!("private, but mode {mode:04o} lets other users in"), chmod("0700"))
        }
        Kind::Private => ok(format!("private: only {owner} has access (mode {mode:04o})")),
        Kind::Shared if mode & 0o1002 == 0o0002 => {
            Finding::fail("access", format!("mode {mode:04o} lets every user remove every object"), chmod("1777"))
        }
        Kind::Shared if is_hidden(dir) => {
            ok(format!("shared and hidden: only {owner} can list its name; programs that change their user id keep access"))
        }
        Kind::Shared => ok(format!("shared: the mode of each object decides which users have access (mode {mode:04o})")),
    }
}

/// Returns `true` if other users can search the parent directory, but not list it.
fn is_hidden(dir: &Path) -> bool {
    let parent = dir.parent().and_then(|parent| parent.metadata().ok());
    parent.is_some_and(|parent| parent.mode() & 0o066 == 0 && parent.mode() & 0o011 != 0)
}

fn orphans(ns: &Namespace, segments: &[SegmentStatus], sets: &[SetStatus], queues: &[QueueStatus]) -> Finding {
    let classes = [
        (segments.iter().filter(|s| s.orphan).count() as u64, "segment"),
        (sets.iter().filter(|s| s.orphan).count() as u64, "semaphore set"),
        (queues.iter().filter(|q| q.orphan).count() as u64, "message queue"),
    ];
    let all = classes.iter().map(|(n, _)| n).sum::<u64>();
    if all == 0 {
        return Finding::ok("orphans", "no segment, semaphore set or empty message queue is left behind");
    }
    let by_class: Vec<String> = classes.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| count(*n, noun)).collect();
    let message = format!("{} ({}): unused, and the creator has exited", count(all, "orphan"), by_class.join(", "));
    Finding::warn("orphans", message, format!("if no program will use them again: {}", hint::on(ns, "rm --orphans")))
}

fn deadlocks(ns: &Namespace, sets: &[SetStatus]) -> Finding {
    let deadlocks = WaitGraph::new(sets, process::awaited_children).deadlocks();
    let Some(pid) = deadlocks.first().and_then(|cycle| cycle.first()).map(|edge| edge.pid) else {
        return Finding::ok("deadlocks", "no processes wait for each other's semaphores in a cycle");
    };
    let pids: Vec<String> = deadlocks.iter().flatten().map(|edge| edge.pid.to_string()).collect();
    let message = format!("processes wait for each other's semaphores in a cycle: pid {}", pids.join(", "));
    let show = hint::on(ns, format_args!("why {pid}"));
    Finding::warn("deadlocks", message, format!("{show} shows the cycle; end one of the processes to break it"))
}

/// Returns the limit that is nearly reached, or the usage of the three most important limits.
fn limits(ns: &Namespace) -> Option<Finding> {
    let (limits, shm, sem, msg) = (ns.limits().ok()?, ns.shm_usage().ok()?, ns.sem_usage().ok()?, ns.msg_usage().ok()?);
    let uses = [
        ("shmmni", "segment", shm.segments.into(), limits.shmmni.into()),
        ("shmall", "page", shm.pages, limits.shmall),
        ("semmni", "semaphore set", sem.sets.into(), limits.semmni.into()),
        ("semmns", "semaphore", sem.semaphores.into(), limits.semmns.into()),
        ("msgmni", "message queue", msg.queues.into(), limits.msgmni.into()),
    ];
    let usage = |(name, noun, used, limit): (&str, &str, u64, u64)| format!("{} of {limit} ({name})", count(used, noun));
    let near = uses.into_iter().find(|(_, _, used, limit)| u128::from(*used) * 5 > u128::from(*limit) * 4);
    let Some(near) = near else {
        return Some(Finding::ok("limits", [0, 2, 4].map(|i| usage(uses[i])).join(", ")));
    };
    let (name, _, _, limit) = near;
    let objects = match &name[..3] {
        "shm" => "segments",
        "sem" => "sets",
        _ => "queues",
    };
    let most = match name {
        "shmall" => u64::MAX,
        "semmns" => i32::MAX as u64,
        _ => 32768,
    };
    let more = limit.saturating_mul(2).clamp(1, most);
    let raise = hint::on(ns, format_args!("namespace limits --{name} {more}"));
    Some(Finding::warn("limits", usage(near), format!("remove {objects}, or raise the limit: {raise}")))
}
