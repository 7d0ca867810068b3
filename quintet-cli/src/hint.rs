//! Command lines of this tool for hints. They name the namespace, so that they work when pasted.

use crate::words::shell_word;
use quintet::Namespace;
use std::fmt::Display;
use std::path::Path;

/// Returns a quoted command line that runs `command` on `ns`: `'quintet --namespace /srv/ipc ls'`.
pub fn on(ns: &Namespace, command: impl Display) -> String {
    match ns.path() {
        Some(path) => at(path, command),
        None => format!("'quintet --kernel {command}'"),
    }
}

/// Returns a quoted command line that runs `command` on the namespace at `path`.
pub fn at(path: &Path, command: impl Display) -> String {
    if is_default(path) {
        return format!("'quintet {command}'");
    }
    format!("'quintet --namespace {} {command}'", shell_word(&path.to_string_lossy()))
}

/// Returns a quoted command line of this tool that names its namespace itself, or needs none.
pub fn command(command: impl Display) -> String {
    format!("'quintet {command}'")
}

/// Returns `true` if a later command finds the namespace without an option.
///
/// The variable may be set for this command only, so a namespace that it names counts as named.
fn is_default(path: &Path) -> bool {
    let is_named = std::env::var_os("QUINTET_NAMESPACE").is_some_and(|value| !value.is_empty());
    !is_named && path == Namespace::default_path()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_namespace() {
        assert_eq!(on(&Namespace::kernel(), "ls"), "'quintet --kernel ls'");
        assert_eq!(at(Path::new("/srv/ipc"), "stat 7"), "'quintet --namespace /srv/ipc stat 7'");
        assert_eq!(command("namespace ls"), "'quintet namespace ls'");
    }
}
