//! The namespace itself: who gets in, what is left over, how near its limits are.

use super::finding::Finding;
use super::{logind, queues, space};
use crate::commands::view::count;
use crate::context::Context;
use crate::deadlock::Graph;
use crate::failure::Failure;
use crate::users::Users;
use crate::{object, process};
use quintet::{Kind, Namespace, QueueStatus, SegmentStatus, SetStatus};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Examines the namespace at `dir`; damaged queues are made anew if `repair`.
pub fn examine(context: &Context, dir: &Path, repair: bool, findings: &mut Vec<Finding>) {
    let uid = rustix::process::geteuid().as_raw();
    match context.namespace() {
        Ok(ns) => {
            findings.push(reachable(&ns));
            // First, because what follows tells of the queues as they are.
            let damage = queues::damage(&ns, repair);
            let segments = ns.segments();
            let used = segments.as_ref().ok().map(|all| all.iter().map(|s| s.resident).sum());
            space::examine(dir, used, findings);
            findings.push(privacy(dir, ns.kind(), uid));
            findings.push(logind::examine(dir, uid));
            let all = segments.map_err(Failure::from).and_then(|all| Ok((all, object::sets(&ns)?, object::queues(&ns)?)));
            match all {
                Ok((segments, sets, queues)) => {
                    findings.push(orphans(&segments, &sets, &queues));
                    findings.push(deadlocks(&sets));
                    findings.extend(damage);
                    findings.extend(queues::examine(&queues, &ns.participants().unwrap_or_default()));
                }
                Err(e) => {
                    findings.extend(damage);
                    findings.push(Finding::fail(
                        "contents",
                        e.to_string(),
                        "the directory may be damaged; 'quintet namespace rm' removes it",
                    ));
                }
            }
            findings.extend(limits(&ns));
        }
        Err(failure) => {
            let (message, remedy) = failure.into_parts();
            findings.push(Finding { remedy, ..Finding::fail("namespace", message, "") });
            if dir.is_dir() {
                space::examine(dir, None, findings);
            }
        }
    }
}

fn reachable(ns: &Namespace) -> Finding {
    let path = ns.path().map(|p| crate::output::clean(&p.to_string_lossy())).unwrap_or_default();
    let kind = crate::commands::view::kind_text(ns.kind());
    let processes = ns.participants().map_or(0, |p| p.len()) as u64;
    Finding::ok("namespace", format!("{path} is a {kind} namespace, in use by {}", count(processes, "process")))
}

fn privacy(dir: &Path, kind: Kind, uid: u32) -> Finding {
    let Ok(metadata) = dir.metadata() else {
        return Finding::fail("access", "the directory cannot be looked at", "see that it can be reached");
    };
    let mode = metadata.mode() & 0o7777;
    let owner = Users::load().name(metadata.uid());
    let foreign = metadata.uid() != uid && metadata.uid() != 0;
    match kind {
        _ if foreign => Finding::warn(
            "access",
            format!("the directory belongs to {owner}, who can remove every object in it"),
            "use it only if you trust them",
        ),
        Kind::Private if mode & 0o077 != 0 => Finding::fail(
            "access",
            format!("private, but its mode is {mode:04o}: others get in"),
            format!("chmod 0700 {}", crate::output::clean(&dir.to_string_lossy())),
        ),
        Kind::Private => Finding::ok("access", format!("private: nobody but {owner} gets in (mode {mode:04o})")),
        Kind::Shared if mode & 0o1002 == 0o0002 => Finding::fail(
            "access",
            format!("its mode is {mode:04o}: anybody can remove the objects of others"),
            format!("chmod 1777 {}", crate::output::clean(&dir.to_string_lossy())),
        ),
        Kind::Shared if is_unlisted(dir) => Finding::ok(
            "access",
            format!(
                "shared, but under a name that only {owner} can list: programs that change their user go on, others do not find it"
            ),
        ),
        Kind::Shared => Finding::ok("access", format!("shared: each object's own mode decides who uses it (mode {mode:04o})")),
    }
}

/// Whether the directory that holds it can be searched by others, but not listed.
fn is_unlisted(dir: &std::path::Path) -> bool {
    let around = dir.parent().and_then(|parent| parent.metadata().ok());
    around.is_some_and(|around| around.mode() & 0o066 == 0 && around.mode() & 0o011 != 0)
}

fn orphans(segments: &[SegmentStatus], sets: &[SetStatus], queues: &[QueueStatus]) -> Finding {
    let kinds = [
        (segments.iter().filter(|s| s.orphan).count() as u64, "segment"),
        (sets.iter().filter(|s| s.orphan).count() as u64, "semaphore set"),
        (queues.iter().filter(|q| q.orphan).count() as u64, "message queue"),
    ];
    let all = kinds.iter().map(|(n, _)| n).sum::<u64>();
    if all == 0 {
        return Finding::ok("orphans", "no segment, no semaphore set and no empty message queue has been left behind");
    }
    let what: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| count(*n, noun)).collect();
    let message = format!("{} ({}): nobody uses them, and the creator is gone", count(all, "orphan"), what.join(", "));
    Finding::warn("orphans", message, "if nobody comes back for them: 'quintet rm --orphans'")
}

fn deadlocks(sets: &[SetStatus]) -> Finding {
    let circles = Graph::new(sets, process::awaited_children).circles();
    let Some(pid) = circles.first().and_then(|circle| circle.first()).map(|link| link.pid) else {
        return Finding::ok("deadlocks", "no processes wait for each other's semaphores in a circle");
    };
    let pids: Vec<String> = circles.iter().flatten().map(|link| link.pid.to_string()).collect();
    let message = format!("processes wait for each other's semaphores in a circle: pid {}", pids.join(", "));
    Finding::warn("deadlocks", message, format!("'quintet why {pid}' shows it; it is over when one of them ends"))
}

/// The limit that is nearest, if one is near.
fn limits(ns: &Namespace) -> Option<Finding> {
    let (limits, shm, sem, msg) = (ns.limits().ok()?, ns.shm_usage().ok()?, ns.sem_usage().ok()?, ns.msg_usage().ok()?);
    let uses = [
        ("shmmni", "segment", shm.segments.into(), limits.shmmni.into()),
        ("shmall", "page", shm.pages, limits.shmall),
        ("semmni", "semaphore set", sem.sets.into(), limits.semmni.into()),
        ("semmns", "semaphore", sem.semaphores.into(), limits.semmns.into()),
        ("msgmni", "message queue", msg.queues.into(), limits.msgmni.into()),
    ];
    let told = |(name, noun, used, limit): (&str, &str, u64, u64)| format!("{} of {limit} ({name})", count(used, noun));
    let near = uses.into_iter().find(|(_, _, used, limit)| u128::from(*used) * 5 > u128::from(*limit) * 4);
    Some(match near {
        Some(near) => {
            let what = match &near.0[..3] {
                "shm" => "segments",
                "sem" => "sets",
                _ => "queues",
            };
            Finding::warn("limits", told(near), format!("remove {what}, or 'quintet namespace limits --{} N'", near.0))
        }
        None => Finding::ok("limits", [0, 2, 4].map(|i| told(uses[i])).join(", ")),
    })
}
