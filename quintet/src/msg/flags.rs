//! What a sender or receiver asks for besides the message.

use bitflags::bitflags;

bitflags! {
    /// The flags of `msgsnd` and `msgrcv`. Unknown bits are ignored, as the kernel ignores them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MsgFlags: i32 {
        /// `IPC_NOWAIT`: fail with `EAGAIN` (no room) or `ENOMSG` (no message) instead of waiting.
        const NOWAIT = 0o4000;
        /// `MSG_NOERROR`: a message that is longer than the buffer is cut off, and the rest lost; else it stays, and the call fails with `E2BIG`.
        const NOERROR = 0o10000;
        /// `MSG_EXCEPT`: the first message that is not of the type.
        const EXCEPT = 0o20000;
        /// `MSG_COPY`: a copy of the message at the position that the type names, from 0. Only with `IPC_NOWAIT`, and without `MSG_EXCEPT`.
        const COPY = 0o40000;
        const _ = !0;
    }
}
