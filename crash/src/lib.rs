//! Kills and stops the processes of a namespace at chosen instructions, and checks the state that
//! they leave.

pub mod campaign;
pub mod operations;
pub mod support;
