//! The subcommands, each on a new namespace, with valid and invalid input.

mod bytes;
mod create;
mod demo;
mod doctor;
mod kernel;
mod ls;
mod manual;
mod msg;
mod namespace;
mod output;
mod permissions;
mod pid_namespace;
mod private;
mod programs;
mod rm;
mod run;
mod sem;
mod stat;
mod support;
mod why;
