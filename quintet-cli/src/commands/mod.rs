//! The subcommands, one module each: options, work and report.

pub mod cat;
pub mod completions;
pub mod create;
pub mod demo;
pub mod doctor;
pub mod ls;
pub mod man;
pub mod msg;
pub mod namespace;
pub mod rm;
pub mod run;
pub mod sem;
pub mod stat;
pub mod why;
pub mod write;
