//! The operations that are killed and stopped.

use crate::campaign::Operation;

mod forks;
mod namespaces;
mod queues;
mod segments;
mod sets;

/// Returns all operations.
pub fn all() -> Vec<&'static Operation> {
    let segments = [namespaces::ALL, segments::share::ALL, segments::permissions::ALL, forks::ALL];
    let sets = [sets::operate::ALL, sets::wait::ALL, sets::control::ALL];
    let queues = [queues::pass::ALL, queues::wait::ALL, queues::control::ALL];
    segments.into_iter().chain(sets).chain(queues).flatten().collect()
}
