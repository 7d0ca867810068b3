//! The tool as its users meet it: each subcommand in a namespace of its own, with good and bad input.

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
