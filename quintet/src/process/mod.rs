//! This process and its peers: liveness, fork, exec, cancellation, and waiting for them.
//!
//! | file | content |
//! |---|---|
//! | `participants`, `liveness` | slots of processes, and which of them are alive |
//! | `fork`, `pid_namespace` | what a fork, a bare `clone` and an exit do to this process |
//! | `acquire`, `mutex` | waiting for a lock of a namespace |
//! | `spin` | trying again before a call sleeps |
//! | `waiting` | a blocked call: its sleep, and the ways it ends |
//! | `cancel` | cancellation of threads that are blocked |
//! | `listener` | events that the embedding library receives |
//! | `namespace_path` | the path of a namespace |
//! | `thread_lock` | a lock among the threads of this process |

pub mod acquire;
pub mod cancel;
pub mod fork;
pub mod listener;
pub mod liveness;
pub mod mutex;
pub mod namespace_path;
pub mod participants;
pub mod pid_namespace;
pub mod spin;
pub mod thread_lock;
pub mod waiting;
