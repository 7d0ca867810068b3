//! Code that segments, sets and queues share.
//!
//! | file | contents |
//! |---|---|
//! | `core` | an open namespace without its objects |
//! | `registry` | the lock for creation and removal; the indexes in use |
//! | `keys` | keys |
//! | `create` | creation of sets and queues |
//! | `mapping` | the mapped files of sets and queues |
//! | `permissions` | permission checks |
//! | `reclaim` | repair after a crash; reclaiming after participants that exited |

pub mod core;
pub mod create;
pub mod keys;
pub mod mapping;
pub mod permissions;
pub mod reclaim;
pub mod registry;
