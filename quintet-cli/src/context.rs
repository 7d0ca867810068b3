//! What the global options decide: which namespace, and how output looks.

use crate::cli::{Color, Global};
use crate::failure::Failure;
use crate::output;
use quintet::{Errno, Kind, Namespace};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The choices that hold for the whole command.
pub struct Context {
    global: Global,
    command: &'static str,
    named: Option<PathBuf>,
}

impl Context {
    pub fn new(global: Global, command: &'static str) -> Context {
        let from_environment = || {
            let path = PathBuf::from(std::env::var_os("QUINTET_NAMESPACE")?);
            (!path.as_os_str().is_empty() && !global.kernel).then_some(path)
        };
        let named = global.namespace.clone().or_else(from_environment);
        Context { global, command, named }
    }

    /// The subcommand's name.
    pub fn command(&self) -> &'static str {
        self.command
    }

    /// Whether output is JSON.
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// The directory that was asked for, by option or environment.
    pub fn named(&self) -> Option<&Path> {
        self.named.as_deref()
    }

    /// Whether what goes to `stream` is in colours.
    pub fn colors(&self, stream: &impl IsTerminal) -> bool {
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        match self.global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && !unwanted() && !dumb(),
        }
    }

    /// The namespace that the command works on; the default one is made on first use.
    pub fn namespace(&self) -> Result<Namespace, Failure> {
        if self.global.kernel {
            return Ok(Namespace::kernel());
        }
        match &self.named {
            Some(path) => open(path),
            None => Ok(Namespace::open_default()?),
        }
    }

    /// Where the namespace is, or will be.
    pub fn namespace_path(&self) -> PathBuf {
        self.named.clone().unwrap_or_else(Namespace::default_path)
    }

    /// Refuses `--namespace` where it contradicts `why`.
    pub fn refuse_namespace(&self, why: &str) -> Result<(), Failure> {
        match &self.global.namespace {
            Some(_) => Err(Failure::usage(format!("--namespace makes no sense here: {why}")).remedy("leave out one of the two")),
            None => Ok(()),
        }
    }

    /// Refuses `--kernel` where it means nothing.
    pub fn refuse_kernel(&self) -> Result<(), Failure> {
        if self.global.kernel {
            let command = self.command;
            return Err(Failure::usage(format!("'quintet {command}' works on directories, not on the kernel's objects"))
                .remedy("leave out --kernel"));
        }
        Ok(())
    }
}

/// Opens a namespace that must exist.
pub fn open(path: &Path) -> Result<Namespace, Failure> {
    Namespace::open(path).map_err(|error| {
        let missing = error.errno() == Errno::NOENT;
        let failure = Failure::from(error);
        if missing {
            failure.remedy(format_args!("'quintet namespace create {}' makes one", output::clean(&path.to_string_lossy())))
        } else {
            failure
        }
    })
}

/// Opens a namespace or makes it: private, but the superuser's is shared, because its
/// programs change their user and go on.
pub fn open_or_create(path: &Path) -> Result<Namespace, Failure> {
    match Namespace::open(path) {
        Err(error) if error.errno() == Errno::NOENT => Ok(Namespace::create(path, kind_for_programs())?),
        opened => Ok(opened?),
    }
}

/// The kind of a namespace that is made for programs to run on.
pub fn kind_for_programs() -> Kind {
    if rustix::process::geteuid().is_root() { Kind::Shared } else { Kind::Private }
}
