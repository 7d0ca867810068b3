//! Whether a program can be run: the program itself, its namespace, and the drop-in library.

use super::finding::Finding;
use crate::context::Context;
use crate::failure::reason_with_errno;
use crate::preload;
use crate::system::program;
use crate::view::namespace::kind_text;
use crate::words::clean;
use quintet_program::StartedBy;
use rustix::fs::{Access, AtFlags, CWD};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Examines a program.
pub fn examine(context: &Context, name: &OsStr, findings: &mut Vec<Finding>) {
    match program::find_interceptable(name) {
        Ok(path) => {
            let by = quintet_program::started_by(&path);
            findings.push(Finding::ok("program", format!("'quintet run' can run {}{}", shown(&path), through(&by))));
            findings.extend(libraries(by.interpreters.last().unwrap_or(&path), by.loader.as_deref()));
        }
        Err(failure) => findings.push(Finding::failure("program", failure)),
    }
    findings.push(namespace(context));
    findings.push(children());
    findings.extend(log());
}

fn shown(path: &Path) -> String {
    clean(&path.to_string_lossy())
}

/// Returns the interpreters of a script.
fn through(by: &StartedBy) -> String {
    let names: Vec<String> = by.interpreters.iter().map(|path| shown(path)).collect();
    if names.is_empty() { String::new() } else { format!(", a script for {}", names.join(", then ")) }
}

/// Asks the loader which libraries it would load, with the drop-in library. The loader does not run
/// the program.
fn libraries(program: &Path, loader: Option<&Path>) -> Option<Finding> {
    let (loader, library) = (loader?, preload::install().ok()?);
    let mut command = Command::new(loader);
    command.arg("--list").arg(program).env("LD_PRELOAD", &library).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().ok()?;
    let (list, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let reason = errors.lines().next().unwrap_or("it prints no reason");
    if !output.status.success() && !errors.contains("Permission denied") {
        let reason = reason.rsplit_once("loading shared libraries: ").map_or(reason, |(_, reason)| reason);
        let message = format!("{} cannot load the program: {}", shown(loader), clean(reason));
        return Some(Finding::fail("libraries", message, "install the missing library, or set LD_LIBRARY_PATH"));
    }
    if list.lines().any(|line| line.trim().starts_with(&*library.to_string_lossy())) {
        return Some(Finding::ok("libraries", format!("{} finds every library, and the drop-in library", shown(loader))));
    }
    // Only a warning: the program may have permissions that this process does not have.
    Some(Finding::warn(
        "libraries",
        format!("{} does not load the drop-in library: {}", shown(loader), clean(reason)),
        "use a quintet that is built for this system",
    ))
}

/// Examines whether the program can use the namespace. It does not create one.
fn namespace(context: &Context) -> Finding {
    let dir = context.namespace_path();
    let path = shown(&dir);
    if dir.join("namespace").exists() {
        return match context.namespace() {
            Ok(ns) => Finding::ok("namespace", format!("the program can use the {} namespace {path}", kind_text(ns.kind()))),
            Err(failure) => Finding::failure("namespace", failure),
        };
    }
    let in_use = std::fs::read_dir(&dir).map(|mut entries| entries.next().is_some());
    let place = if in_use.is_ok() { &*dir } else { parent(&dir) };
    let elsewhere = "name another directory with --namespace";
    // A hidden namespace is created inside the default directory, which need not be empty.
    if in_use.as_ref().is_ok_and(|in_use| *in_use) && context.named().is_some() {
        return Finding::fail("namespace", format!("cannot use {path}: it is not a namespace, and it is not empty"), elsewhere);
    }
    if in_use.is_err() && dir.symlink_metadata().is_ok() {
        return Finding::fail("namespace", format!("cannot use {path}: it is not a directory that you can read"), elsewhere);
    }
    match rustix::fs::accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Finding::ok("namespace", format!("{path} does not exist yet; 'quintet run' creates it")),
        Err(e) => {
            let message = format!("cannot create the namespace {path}: {}", reason_with_errno(&e.into()));
            Finding::fail("namespace", message, elsewhere)
        }
    }
}

/// Returns the directory that contains a path.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Examines whether the programs that it starts are intercepted, too.
fn children() -> Finding {
    if std::env::var_os("QUINTET_INHERIT").is_some_and(|value| value == "0") {
        return Finding::warn(
            "children",
            "QUINTET_INHERIT is 0: programs that it starts with a new environment are not intercepted",
            "unset QUINTET_INHERIT",
        );
    }
    let message = "programs that it starts are intercepted, too; a warning names those that cannot be (static, setuid, ...)";
    Finding::ok("children", message)
}

/// Examines the log settings of the drop-in library.
fn log() -> Option<Finding> {
    let value = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let level = value("QUINTET_LOG").map(|level| clean(&level.to_string_lossy()));
    if let Some(level) = &level
        && !["off", "error", "warn", "info", "debug"].contains(&level.as_str())
    {
        let message = format!("QUINTET_LOG={level} is not a level");
        return Some(Finding::warn("log", message, "use off, error, warn, info or debug"));
    }
    if level.as_deref() == Some("off") {
        let message = "QUINTET_LOG is off: no message tells why a call fails";
        return Some(Finding::warn("log", message, "unset QUINTET_LOG"));
    }
    let file = value("QUINTET_LOG_FILE")?;
    let path = shown(Path::new(&file));
    match rustix::fs::accessat(CWD, parent(Path::new(&file)), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Some(Finding::ok("log", format!("the drop-in library logs to {path}"))),
        Err(e) => Some(Finding::warn(
            "log",
            format!("the drop-in library cannot log to {path}: {}", reason_with_errno(&e.into())),
            "set QUINTET_LOG_FILE to another file",
        )),
    }
}

/// Examines whether the drop-in library can be installed.
pub fn examine_library(findings: &mut Vec<Finding>) {
    findings.push(match preload::install() {
        Ok(path) => Finding::ok("drop-in", format!("installed at {}", shown(&path))),
        Err(failure) => Finding::failure("drop-in", failure),
    });
}
