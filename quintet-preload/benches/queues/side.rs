//! The two sides of the comparison, and a queue on one of them.
//!
//! # Safety
//!
//! A message is a C structure with room for its declared length; a size is at most that room.

use crate::common;
use crate::common::loaded::Loaded;
use libc::{c_int, c_long, c_void, key_t, msqid_ds, size_t, ssize_t};

/// The first of the keys that are used here.
const FIRST_KEY: key_t = 0x5149_0000;
/// The kernel's default `msgmax`: no message here is longer.
pub const MOST: usize = 8192;

/// One side of the comparison.
pub type Side = common::side::Side<Functions>;

/// The C functions.
pub struct Functions {
    msgget: unsafe extern "C" fn(key_t, c_int) -> c_int,
    msgsnd: unsafe extern "C" fn(c_int, *const c_void, size_t, c_int) -> c_int,
    msgrcv: unsafe extern "C" fn(c_int, *mut c_void, size_t, c_long, c_int) -> ssize_t,
    msgctl: unsafe extern "C" fn(c_int, c_int, *mut msqid_ds) -> c_int,
}

impl common::side::Functions for Functions {
    fn plain() -> Functions {
        Functions { msgget: libc::msgget, msgsnd: libc::msgsnd, msgrcv: libc::msgrcv, msgctl: libc::msgctl }
    }

    fn of(preload: &Loaded) -> Functions {
        // SAFETY: the library's functions of these names have the C library's signatures, which are
        // those of the fields.
        unsafe {
            Functions {
                msgget: preload.function(c"msgget"),
                msgsnd: preload.function(c"msgsnd"),
                msgrcv: preload.function(c"msgrcv"),
                msgctl: preload.function(c"msgctl"),
            }
        }
    }
}

/// A message, with room for the longest text.
#[repr(C)]
pub struct Message {
    pub mtype: c_long,
    pub text: [u8; MOST],
}

impl Message {
    pub fn new(mtype: c_long) -> Message {
        Message { mtype, text: [b'q'; MOST] }
    }
}

fn error() -> std::io::Error {
    std::io::Error::last_os_error()
}

impl Side {
    /// Returns the queue of a key, or a new one.
    #[inline]
    pub fn get(&self, key: key_t, flags: c_int) -> Queue<'_> {
        // SAFETY: numbers only.
        let id = unsafe { (self.functions.msgget)(key, flags) };
        assert!(id != -1, "msgget: {}", error());
        Queue { side: self, id }
    }

    pub fn private(&self) -> Owned<'_> {
        Owned(self.get(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600))
    }

    /// Creates a queue with a key that was free.
    pub fn keyed(&self) -> (key_t, Owned<'_>) {
        let mut key = FIRST_KEY;
        loop {
            key += 1;
            // SAFETY: numbers only.
            let id = unsafe { (self.functions.msgget)(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
            if id != -1 {
                return (key, Owned(Queue { side: self, id }));
            }
            assert!(error().raw_os_error() == Some(libc::EEXIST), "msgget: {}", error());
        }
    }
}

#[derive(Clone, Copy)]
pub struct Queue<'a> {
    side: &'a Side,
    pub id: c_int,
}

impl<'a> Queue<'a> {
    /// A queue of another process, by its identifier.
    pub fn of(side: &'a Side, id: c_int) -> Queue<'a> {
        Queue { side, id }
    }

    /// Sends this many bytes.
    #[inline]
    pub fn send(self, message: &Message, len: usize) {
        assert!(self.try_send(message, len, 0), "msgsnd: {}", error());
    }

    #[inline]
    pub fn try_send(self, message: &Message, len: usize, flags: c_int) -> bool {
        // SAFETY: the message, and at most its room.
        unsafe { (self.side.functions.msgsnd)(self.id, (&raw const *message).cast(), len.min(MOST), flags) == 0 }
    }

    /// Receives at most this many bytes; returns the length.
    #[inline]
    pub fn receive(self, message: &mut Message, len: usize, mtype: c_long, flags: c_int) -> usize {
        let got = self.try_receive(message, len, mtype, flags);
        assert!(got >= 0, "msgrcv: {}", error());
        got as usize
    }

    #[inline]
    pub fn try_receive(self, message: &mut Message, len: usize, mtype: c_long, flags: c_int) -> ssize_t {
        // SAFETY: the message, and at most its room.
        unsafe { (self.side.functions.msgrcv)(self.id, (&raw mut *message).cast(), len.min(MOST), mtype, flags) }
    }

    #[inline]
    pub fn stat(self) -> msqid_ds {
        // SAFETY: zeroes are valid.
        let mut stat = unsafe { std::mem::zeroed() };
        self.control(libc::IPC_STAT, &raw mut stat);
        stat
    }

    #[inline]
    pub fn remove(self) {
        self.control(libc::IPC_RMID, std::ptr::null_mut());
    }

    #[inline]
    fn control(self, command: c_int, stat: *mut msqid_ds) {
        // SAFETY: nothing, or a local of the right type.
        let done = unsafe { (self.side.functions.msgctl)(self.id, command, stat) };
        assert!(done == 0, "msgctl {command}: {}", error());
    }
}

/// A queue that is removed when dropped.
pub struct Owned<'a>(pub Queue<'a>);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}
