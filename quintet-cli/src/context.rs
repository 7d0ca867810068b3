//! What the global options decide: the namespace, and the look of the output.

use crate::failure::Failure;
use crate::hint;
use crate::options::{Color, GlobalOptions};
use crate::words::{clean, shell_word};
use quintet::{Errno, Kind, Namespace};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The global options of one run of the tool.
pub struct Context {
    options: GlobalOptions,
    command: &'static str,
    named: Option<PathBuf>,
}

impl Context {
    pub fn new(options: GlobalOptions, command: &'static str) -> Context {
        let from_environment = || {
            let path = PathBuf::from(std::env::var_os("QUINTET_NAMESPACE")?);
            (!path.as_os_str().is_empty() && !options.kernel).then_some(path)
        };
        let named = options.namespace.clone().or_else(from_environment);
        Context { options, command, named }
    }

    /// Returns the name of the subcommand.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Returns `true` if the output is JSON.
    pub fn json(&self) -> bool {
        self.options.json
    }

    /// Returns the directory that the option or the environment names.
    pub fn named(&self) -> Option<&Path> {
        self.named.as_deref()
    }

    /// Returns `true` if output to `stream` is coloured.
    pub fn colors(&self, stream: &impl IsTerminal) -> bool {
        let is_unwanted = || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let is_dumb = || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        match self.options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && !is_unwanted() && !is_dumb(),
        }
    }

    /// Opens the namespace that the command works on. Creates the default namespace on first use.
    pub fn namespace(&self) -> Result<Namespace, Failure> {
        if self.options.kernel {
            return Ok(Namespace::kernel());
        }
        match &self.named {
            Some(path) => open(path),
            None => Ok(Namespace::open_default()?),
        }
    }

    /// Returns the directory of the namespace, which need not exist.
    pub fn namespace_path(&self) -> PathBuf {
        self.named.clone().unwrap_or_else(Namespace::default_path)
    }

    /// Refuses `--namespace` for a command that names or creates its namespace otherwise.
    pub fn refuse_namespace(&self, reason: &str) -> Result<(), Failure> {
        if self.options.namespace.is_none() {
            return Ok(());
        }
        let command = self.command;
        Err(Failure::usage(format!("cannot use --namespace with 'quintet {command}': {reason}")).remedy("leave out --namespace"))
    }

    /// Refuses `--kernel` for a command that works on directories only.
    pub fn refuse_kernel(&self) -> Result<(), Failure> {
        if !self.options.kernel {
            return Ok(());
        }
        let command = self.command;
        Err(Failure::usage(format!("cannot use --kernel with 'quintet {command}': it works on directories"))
            .remedy("leave out --kernel"))
    }

    /// Refuses `--json` for a command that has no JSON output.
    pub fn refuse_json(&self, reason: &str) -> Result<(), Failure> {
        if !self.options.json {
            return Ok(());
        }
        let command = self.command;
        Err(Failure::usage(format!("cannot use --json with 'quintet {command}': {reason}")).remedy("leave out --json"))
    }
}

/// Opens a namespace that must exist.
pub fn open(path: &Path) -> Result<Namespace, Failure> {
    Namespace::open(path).map_err(|error| match error.errno() {
        Errno::NOENT => missing(path),
        _ => error.into(),
    })
}

/// Returns the failure for a directory that does not exist or is not a namespace.
fn missing(path: &Path) -> Failure {
    let name = path.to_string_lossy();
    let reason = if path.is_dir() { "it is not a namespace" } else { "it does not exist" };
    let create = hint::command(format_args!("namespace create {}", shell_word(&name)));
    Failure::new(format!("cannot open the namespace {}: {reason} (ENOENT)", clean(&name)))
        .errno(Errno::NOENT)
        .remedy(format_args!("{create} creates it"))
}

/// Opens a namespace, or creates it for programs to run on.
pub fn open_or_create(path: &Path) -> Result<Namespace, Failure> {
    match Namespace::open(path) {
        Err(error) if error.errno() == Errno::NOENT => Ok(Namespace::create(path, kind_for_programs())?),
        opened => Ok(opened?),
    }
}

/// Returns the kind of a new namespace for programs.
///
/// The superuser's is shared, because its programs may change their user id and must keep access.
pub fn kind_for_programs() -> Kind {
    if rustix::process::geteuid().is_root() { Kind::Shared } else { Kind::Private }
}
