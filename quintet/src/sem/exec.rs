//! What is to be taken back outlives `exec`.
//!
//! A participant's lock goes with its memory, that is at `exec`. A process that has something to take back then locks a second byte, its
//! heir's, through a descriptor that the new program inherits: until that is closed, at the latest when the process ends, the
//! process counts as one that holds undo. The drop-in in the new program makes the records its own, and closes it.

use crate::layout::Registry;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::process::participants::pack;
use crate::sem::mapping::Sets;
use crate::sync::attach_count::ParticipantId;
use crate::sys::fd::Fd;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{file, ids, memory};
use crate::types::error::Errno;
use crate::types::mechanism::Mechanism;
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ffi::{CStr, CString};

/// The descriptor goes out of the way of those that programs count on.
const FIRST_DESCRIPTOR: i32 = 100;

/// What a program that execs another one leaves to it.
pub struct ExecHandoff {
    variable: CString,
    _heirs: Vec<Fd>,
}

impl ExecHandoff {
    /// For the other program's environment: `QUINTET_UNDO=` and a value.
    pub fn variable(&self) -> &CStr {
        &self.variable
    }

    /// The exec has failed, and this program goes on.
    pub fn take_back(self) {}
}

/// A participant whose records this process could not make its own, because its user may not alter the set any more. A mapping
/// keeps the heir's lock for it, on the byte of this number.
#[derive(Clone, Copy)]
pub struct InheritedUndo {
    who: ParticipantId,
    byte: usize,
}

impl Sets {
    /// Locks the heirs' bytes, if there is something to take back.
    pub fn exec_handoff(&self, name: &str) -> Option<ExecHandoff> {
        // In a vfork child the records are its parent's.
        let me = self.core.participants.me_if_joined().filter(|_| ids::pid() == ids::asked_pid())?;
        let mut left = Vec::new();
        if self.sets_with_undo().any(|set| set.records().any(|(.., who, _)| who == me)) {
            left.push(InheritedUndo { who: me, byte: 0 });
        }
        if let Ok(inherited) = self.inherited.try_lock() {
            // The other byte: the first one's lock goes with this memory.
            left.extend(inherited.iter().map(|inherited| InheritedUndo { byte: 1 - inherited.byte, ..*inherited }));
        }
        let (mut exec_locks, mut value) = (Vec::new(), String::new());
        for InheritedUndo { who, byte } in left {
            if let Some(fork_slot) = self.lock_exec_byte(who, byte) {
                let comma = if value.is_empty() { "" } else { "," };
                value += &format!("{comma}{}:{}:{}:{byte}", fork_slot.as_raw_fd(), who.slot, who.incarnation);
                exec_locks.push(fork_slot);
            }
        }
        let variable = CString::new(format!("{name}={value}")).ok().filter(|_| !exec_locks.is_empty())?;
        Some(ExecHandoff { variable, _heirs: exec_locks })
    }

    /// A descriptor that outlives exec, with the lock on a heir's byte.
    fn lock_exec_byte(&self, who: ParticipantId, byte: usize) -> Option<Fd> {
        let fd = file::reopen(self.core.registry_path()).ok()?;
        let fork_slot = rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_DESCRIPTOR).map_or(fd, Fd::from);
        let at = Registry::EXEC_LOCKS[byte] + u64::from(who.slot);
        file::lock_byte(&fork_slot, at).ok().filter(|locked| *locked)?;
        rustix::io::fcntl_setfd(&fork_slot, rustix::io::FdFlags::empty()).ok()?;
        Some(fork_slot)
    }

    /// Makes the records its own that the program before in this process has left.
    pub fn adopt(&self, value: &CStr) -> Result<(), Errno> {
        let text = value.to_str().map_err(|_| Errno::INVAL)?;
        text.split(',').map(|left| self.adopt_one(left)).fold(Ok(()), Result::and)
    }

    fn adopt_one(&self, left: &str) -> Result<(), Errno> {
        let mut numbers = left.split(':').map(|number| number.parse::<u32>().map_err(|_| Errno::INVAL));
        let mut next = || numbers.next().unwrap_or(Err(Errno::INVAL));
        let (number, slot, incarnation, byte) = (next()?, next()?, next()?, next()? as usize);
        let before = ParticipantId { slot, incarnation: incarnation as u16 };
        let fork_slot = self.own_descriptor(number)?;
        let me = {
            let _inside = Inside::enter();
            self.core.participants.me()?
        };
        let mut all = true;
        for index in self.core.used_indexes(Mechanism::Sem) {
            let Ok(Some(set)) = self.writable_at(index) else { continue };
            if !set.is_live() || !set.records().any(|(.., who, pid)| who == before && pid == ids::pid()) {
                continue;
            }
            let Ok(guard) = self.lock(set, Patience::Endless) else {
                all = false;
                continue;
            };
            for (record, page, who, pid) in guard.set.records() {
                if who == before && pid == ids::pid() {
                    page.set_owner(me.slot, me.incarnation, pid);
                    set.set_own_record(pack(me), record);
                    self.note_undo(index);
                }
            }
        }
        if !all && byte < Registry::EXEC_LOCKS.len() {
            memory::exclude_from_fork(memory::map_token(&fork_slot)?)?;
            if let Ok(mut inherited) = self.inherited.lock() {
                inherited.push(InheritedUndo { who: before, byte });
            }
        }
        Ok(())
    }

    /// A descriptor by its number, if it is one of this namespace's registry: the variable may say anything.
    fn own_descriptor(&self, number: u32) -> Result<Fd, Errno> {
        let number = i32::try_from(number).ok().filter(|number| *number > 2).ok_or(Errno::BADF)?;
        let path = PathBuffer::new(b"/proc/self/fd/", format_args!("{number}"));
        let (there, own) = (rustix::fs::stat(path.c_str())?, rustix::fs::stat(self.core.registry_path())?);
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino) {
            return Err(Errno::BADF);
        }
        #[allow(unsafe_code)]
        // SAFETY: it is open, on a file that only this crate opens, and was left to this process for this purpose.
        Ok(Fd::from(unsafe { OwnedFd::from_raw_fd(number) }))
    }
}
