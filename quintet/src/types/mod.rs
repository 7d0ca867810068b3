//! Plain values: identifiers, keys, limits, permissions, statuses, errors.
//!
//! They know nothing of shared memory, and any other folder may import them.

#[doc(hidden)]
pub mod abi;
pub mod error;
pub mod id;
pub mod key;
pub mod kind;
pub mod limits;
pub mod mechanism;
pub mod message_bytes;
pub mod msg;
pub mod permissions;
pub mod sem;
pub mod shm;
pub mod whole_message;
