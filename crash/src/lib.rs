//! What kills, stops and hinders the processes of a namespace, and checks by value what is left.

pub mod campaign;
pub mod operations;
pub mod support;
