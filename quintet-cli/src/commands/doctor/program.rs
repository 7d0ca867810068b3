//! Whether programs can be run: the library, and one program.

use super::finding::Finding;
use crate::context::Context;
use crate::output::clean;
use crate::{preload, program};
use quintet_program::StartedBy;
use rustix::fs::{Access, AtFlags, CWD};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Examines a program.
pub fn examine(context: &Context, name: &OsStr, findings: &mut Vec<Finding>) {
    match program::find(name) {
        Ok(path) => {
            let by = quintet_program::started_by(&path);
            findings.push(Finding::ok("program", format!("{} can be run by 'quintet run'{}", shown(&path), through(&by))));
            findings.extend(libraries(by.interpreters.last().unwrap_or(&path), by.loader.as_deref()));
        }
        Err(failure) => {
            let (message, remedy) = failure.into_parts();
            findings.push(Finding { remedy, ..Finding::fail("program", message, "") });
        }
    }
    findings.push(namespace(context));
    findings.push(children());
    findings.extend(log());
}

fn shown(path: &Path) -> String {
    clean(&path.to_string_lossy())
}

/// What runs a script.
fn through(by: &StartedBy) -> String {
    let names: Vec<String> = by.interpreters.iter().map(|path| shown(path)).collect();
    if names.is_empty() { String::new() } else { format!(", as a script for {}", names.join(", then ")) }
}

/// Has the loader say what it would load, with the drop-in. It runs nothing.
fn libraries(program: &Path, loader: Option<&Path>) -> Option<Finding> {
    let (loader, library) = (loader?, preload::install().ok()?);
    let mut command = Command::new(loader);
    command.arg("--list").arg(program).env("LD_PRELOAD", &library).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().ok()?;
    let (list, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let why = errors.lines().next().unwrap_or("it does not say why");
    if !output.status.success() && !errors.contains("Permission denied") {
        let why = why.rsplit_once("loading shared libraries: ").map_or(why, |(_, why)| why);
        let message = format!("{} cannot load the program: {}", shown(loader), clean(why));
        return Some(Finding::fail("libraries", message, "install what it needs, or set LD_LIBRARY_PATH"));
    }
    if list.lines().any(|line| line.trim().starts_with(&*library.to_string_lossy())) {
        return Some(Finding::ok("libraries", format!("{} finds all that it needs, and the drop-in", shown(loader))));
    }
    // What its rights or a sandbox hide from us, it may find all the same.
    Some(Finding::warn(
        "libraries",
        format!("{} does not load the drop-in: {}", shown(loader), clean(why)),
        "use a quintet that was built for this system",
    ))
}

/// Whether the program will be able to use the namespace. None is made for that.
fn namespace(context: &Context) -> Finding {
    let dir = context.namespace_path();
    let path = shown(&dir);
    if dir.join("namespace").exists() {
        return match context.namespace() {
            Ok(ns) => {
                let kind = crate::commands::view::kind_text(ns.kind());
                Finding::ok("namespace", format!("the program can use the {kind} one at {path}"))
            }
            Err(failure) => {
                let (message, remedy) = failure.into_parts();
                Finding { remedy, ..Finding::fail("namespace", message, "") }
            }
        };
    }
    let in_use = std::fs::read_dir(&dir).map(|mut entries| entries.next().is_some());
    let place =
        if in_use.is_ok() { &*dir } else { dir.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")) };
    let elsewhere = "name another directory by --namespace";
    // The superuser's own one is made within.
    if in_use.as_ref().is_ok_and(|in_use| *in_use) && context.named().is_some() {
        return Finding::fail("namespace", format!("{path} is no namespace, and not empty"), elsewhere);
    }
    if in_use.is_err() && dir.symlink_metadata().is_ok() {
        return Finding::fail("namespace", format!("{path} is not a directory that you may read"), elsewhere);
    }
    match rustix::fs::accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Finding::ok("namespace", format!("there is none at {path} yet; 'quintet run' makes it")),
        Err(e) => Finding::fail(
            "namespace",
            format!("there is none at {path}, and none can be made: {}", quintet_program::describe(e)),
            elsewhere,
        ),
    }
}

/// What is known of the programs that it will start: nothing but what the drop-in does then.
fn children() -> Finding {
    if std::env::var_os("QUINTET_INHERIT").is_some_and(|value| value == "0") {
        return Finding::warn(
            "children",
            "programs that it starts with an environment of their own are not carried: QUINTET_INHERIT is 0",
            "unset QUINTET_INHERIT",
        );
    }
    Finding::ok("children", "programs that it starts are carried, too; a line says so when one cannot be (static, setuid, ...)")
}

/// What the drop-in will say, and where.
fn log() -> Option<Finding> {
    let value = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let level = value("QUINTET_LOG").map(|level| clean(&level.to_string_lossy()));
    if let Some(level) = &level
        && !["off", "error", "warn", "info", "debug"].contains(&level.as_str())
    {
        let message = format!("there is no QUINTET_LOG={level}");
        return Some(Finding::warn("log", message, "use off, error, warn, info or debug"));
    }
    if level.as_deref() == Some("off") {
        let message = "QUINTET_LOG is off: nothing will say why System V IPC does not work";
        return Some(Finding::warn("log", message, "unset QUINTET_LOG"));
    }
    let file = value("QUINTET_LOG_FILE")?;
    let place = Path::new(&file).parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = shown(Path::new(&file));
    match rustix::fs::accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Some(Finding::ok("log", format!("the drop-in's lines go to {path}"))),
        Err(e) => Some(Finding::warn(
            "log",
            format!("the drop-in's lines cannot go to {path}: {}", quintet_program::describe(e)),
            "name another QUINTET_LOG_FILE",
        )),
    }
}

/// Examines whether the drop-in library has a place to be.
pub fn examine_library(findings: &mut Vec<Finding>) {
    findings.push(match preload::install() {
        Ok(path) => Finding::ok("drop-in", format!("installed at {}", shown(&path))),
        Err(failure) => {
            let (message, remedy) = failure.into_parts();
            Finding { remedy, ..Finding::fail("drop-in", message, "") }
        }
    });
}
