//! Objects, processes and namespaces as the subcommands show them: the shared JSON shapes, and
//! phrases for text.

pub mod namespace;
pub mod perm;
pub mod process;
pub mod queue;
pub mod segment;
pub mod set;
