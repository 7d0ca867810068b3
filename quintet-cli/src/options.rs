//! The options that every subcommand accepts.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args, Clone, Debug, Default)]
pub struct GlobalOptions {
    /// Directory of the namespace [env: QUINTET_NAMESPACE] [default: /dev/shm/quintet-UID]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "kernel", help_heading = "Global options")]
    pub namespace: Option<PathBuf>,

    /// Use the kernel's own System V IPC objects instead of a directory
    #[arg(long, global = true, help_heading = "Global options")]
    pub kernel: bool,

    /// Print one JSON object, as docs/json.md describes it
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// When to use colours
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = "Global options")]
    pub color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// In pipes and files, too
    Always,
    /// Never
    Never,
}
