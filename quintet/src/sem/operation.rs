//! `struct sembuf`: what `semop` is asked to do to one semaphore.

use bitflags::bitflags;

bitflags! {
    /// The flags of an operation. Unknown bits are ignored, as the kernel ignores them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct SemFlags: i16 {
        /// `IPC_NOWAIT`: fail with `EAGAIN` instead of waiting.
        const NOWAIT = 0o4000;
        /// `SEM_UNDO`: taken back when the process ends, however it ends.
        const UNDO = 0x1000;
        const _ = !0;
    }
}

/// One operation on one semaphore of a set: `struct sembuf`, and laid out like it.
///
/// ```
/// use quintet::{SemFlags, SemOp};
/// let take = SemOp::new(0, -1).flags(SemFlags::UNDO);
/// assert_eq!((take.num, take.op), (0, -1));
/// assert_eq!(take.to_string(), "0:-1u");
/// ```
///
/// # References
///
/// semop(2)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
#[doc(alias = "sembuf")]
pub struct SemOp {
    /// Which semaphore of the set, from 0.
    pub num: u16,
    /// What to add to its value. Below 0: waits until the value is large enough. 0: waits until the value is 0.
    pub op: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: SemFlags,
}

impl SemOp {
    /// Adds `op` to semaphore `num`, or waits for zero if `op` is 0.
    pub const fn new(num: u16, op: i16) -> SemOp {
        SemOp { num, op, flags: SemFlags::empty() }
    }

    /// The same with these flags.
    pub const fn flags(self, flags: SemFlags) -> SemOp {
        SemOp { flags, ..self }
    }
}

/// `NUM:OP` with an explicit sign, then `n` for `IPC_NOWAIT` and `u` for `SEM_UNDO`.
impl std::fmt::Display for SemOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.op {
            0 => write!(f, "{}:0", self.num)?,
            op => write!(f, "{}:{op:+}", self.num)?,
        }
        if self.flags.contains(SemFlags::NOWAIT) {
            f.write_str("n")?;
        }
        if self.flags.contains(SemFlags::UNDO) {
            f.write_str("u")?;
        }
        Ok(())
    }
}
