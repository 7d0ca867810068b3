//! What segments, sets and queues share: keys, indexes, creation, mappings, permissions, reclaiming.
//!
//! | file | what |
//! |---|---|
//! | `core` | a namespace as this process has it open, without its objects |
//! | `registry`, `keys` | the lock of creation and removal, indexes, keys |
//! | `create`, `mapping`, `permissions` | what each class does alike |
//! | `reclaim` | what participants that exited have left |

pub mod core;
pub mod create;
pub mod keys;
pub mod mapping;
pub mod permissions;
pub mod reclaim;
pub mod registry;
