//! Code that segments, sets and queues share.
//!
//! | file | content |
//! |---|---|
//! | `core` | an open namespace without its objects |
//! | `registry`, `indexes` | the lock for creation and removal; the indexes in use |
//! | `keys`, `hints` | keys, and where this process last found them |
//! | `create` | creation of sets and queues |
//! | `mapping` | the mapped files of sets and queues |
//! | `permissions` | permission checks |
//! | `reclaim` | repair after a crash; reclaiming after participants that exited |

pub mod core;
pub mod create;
pub mod hints;
pub mod indexes;
pub mod keys;
pub mod mapping;
pub mod permissions;
pub mod reclaim;
pub mod registry;
