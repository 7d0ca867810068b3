//! Sizes and numbers of the processes and objects of a soak run.

use std::ops::Range;

/// Number of worker processes.
pub const WORKERS: usize = 16;
/// Maximal number of messages that a worker sends in a round.
pub const MAX_MESSAGES: usize = 1 << 17;
/// Length of a block in bytes.
pub const BLOCK_LEN: usize = 512;
/// Sizes of the segments. Each block of a segment has a semaphore that guards it.
pub const SEGMENTS: [u64; 3] = [4096, 40_000, 1 << 20];
pub const BLOCKS: usize = 4;
/// Semaphores from which workers take units and give them back.
pub const POOL: u16 = 6;
pub const POOL_VALUE: u16 = 20;
/// Semaphores with a constant sum.
pub const BALANCE: u16 = 4;
pub const BALANCE_VALUE: u16 = 50;
pub const QUEUES: usize = 3;
/// `msg_qbytes` of each queue.
pub const CAPACITIES: [u64; QUEUES] = [2000, 60_000, 200_000];
pub const MAX_TEXT: usize = 30_000;
/// Keys of objects that workers create and remove.
pub const TRANSIENT_KEYS: Range<i32> = 100..106;
