//! How `SEM_UNDO` outlives `exec`.
//!
//! A participant's lock ends with its memory image, which is at `exec`. A process that has undo to
//! apply therefore makes an exec handoff before:
//!
//! 1. It locks a second byte of the registry for its slot, through a descriptor that the new
//!    program inherits.
//! 2. It names the descriptor and the participant in an environment variable.
//! 3. While the byte is locked, the owner of the undo records counts as alive
//!    ([`LivenessProbe::holds_undo`]).
//! 4. The preload library in the new program takes the records over, and closes the descriptor.
//!
//! If the new program does not do step 4, the descriptor is closed when the process ends, and the
//! records are applied then.
//!
//! [`LivenessProbe::holds_undo`]: crate::process::liveness::LivenessProbe::holds_undo

use crate::layout::Registry;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::fork::Inside;
use crate::process::participants::pack;
use crate::sem::mapping::{InheritedUndo, Sets};
use crate::sync::attach_count::ParticipantId;
use crate::sys::fd::Fd;
use crate::sys::path_buffer::PathBuffer;
use crate::sys::{file, ids, memory};
use crate::types::error::Errno;
use crate::types::mechanism::Mechanism;
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ffi::{CStr, CString};

/// The lowest number of the descriptor. Programs count on lower ones.
const MIN_DESCRIPTOR: i32 = 100;

/// An exec handoff: what a program leaves to the one that it executes. Dropping it releases the
/// locks.
pub struct ExecHandoff {
    variable: CString,
    _locks: Vec<Fd>,
}

impl ExecHandoff {
    /// Returns the entry for the new program's environment: the name of the variable, `=`, and the
    /// value.
    pub fn variable(&self) -> &CStr {
        &self.variable
    }

    /// Releases the locks after an `exec` that failed.
    pub fn cancel(self) {}
}

impl Sets {
    /// Locks the bytes for an `exec`. Returns `None` if there is no undo to hand over. `name` is
    /// that of the environment variable.
    pub fn exec_handoff(&self, name: &str) -> Option<ExecHandoff> {
        // In a child of `vfork`, the records belong to the parent.
        let me = self.core.participants.me_if_joined().filter(|_| ids::pid() == ids::asked_pid())?;
        let mut handoffs = Vec::new();
        if self.sets_with_undo().any(|set| set.records().any(|(.., owner, _)| owner == me)) {
            handoffs.push(InheritedUndo { owner: me, byte: 0 });
        }
        if let Ok(inherited) = self.inherited.try_lock() {
            // These records are held by a lock that ends with this memory image, so the other byte
            // is locked.
            handoffs.extend(inherited.iter().map(|inherited| InheritedUndo { byte: 1 - inherited.byte, ..*inherited }));
        }
        let (mut locks, mut value) = (Vec::new(), String::new());
        for InheritedUndo { owner, byte } in handoffs {
            if let Some(lock) = self.lock_exec_byte(owner, byte) {
                let comma = if value.is_empty() { "" } else { "," };
                value += &format!("{comma}{}:{}:{}:{byte}", lock.as_raw_fd(), owner.slot, owner.incarnation);
                locks.push(lock);
            }
        }
        let variable = CString::new(format!("{name}={value}")).ok().filter(|_| !locks.is_empty())?;
        Some(ExecHandoff { variable, _locks: locks })
    }

    /// Returns a descriptor that outlives `exec`, with the lock on a participant's byte.
    fn lock_exec_byte(&self, owner: ParticipantId, byte: usize) -> Option<Fd> {
        let fd = file::reopen(self.core.registry_path()).ok()?;
        let lock = rustix::io::fcntl_dupfd_cloexec(&fd, MIN_DESCRIPTOR).map_or(fd, Fd::from);
        let at = Registry::EXEC_LOCKS[byte] + u64::from(owner.slot);
        file::lock_byte(&lock, at).ok().filter(|locked| *locked)?;
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).ok()?;
        Some(lock)
    }

    /// Takes over the records that the program before `exec` has left. `value` is that of the
    /// environment variable.
    pub fn adopt(&self, value: &CStr) -> Result<(), Errno> {
        let text = value.to_str().map_err(|_| Errno::INVAL)?;
        text.split(',').map(|handoff| self.adopt_one(handoff)).fold(Ok(()), Result::and)
    }

    /// Takes over the records of one participant: `descriptor:slot:incarnation:byte`.
    fn adopt_one(&self, handoff: &str) -> Result<(), Errno> {
        let mut numbers = handoff.split(':').map(|number| number.parse::<u32>().map_err(|_| Errno::INVAL));
        let mut next = || numbers.next().unwrap_or(Err(Errno::INVAL));
        let (number, slot, incarnation, byte) = (next()?, next()?, next()?, next()? as usize);
        let predecessor = ParticipantId { slot, incarnation: incarnation as u16 };
        let lock = self.claim_descriptor(number)?;
        let me = {
            let _inside = Inside::enter();
            self.core.participants.me()?
        };
        let mut all = true;
        for index in self.core.used_indexes(Mechanism::Sem) {
            let Ok(Some(set)) = self.writable_at(index) else { continue };
            if !set.is_live() || !set.records().any(|(.., owner, pid)| owner == predecessor && pid == ids::pid()) {
                continue;
            }
            let Ok(guard) = self.lock(set, Patience::Endless) else {
                all = false;
                continue;
            };
            for (record, page, owner, pid) in guard.set.records() {
                if owner == predecessor && pid == ids::pid() {
                    // The handoff's lock is held until the end of this function. A crash before
                    // this store leaves the record to the predecessor, which is dead when the
                    // process has ended. A crash after it leaves the record to this process, which
                    // is dead, too. In both cases the record is applied.
                    page.set_owner(me.slot, me.incarnation, pid);
                    set.cache_record(pack(me), record);
                    self.note_undo(index);
                }
            }
        }
        if !all && byte < Registry::EXEC_LOCKS.len() {
            // The descriptor is closed on return. The mapping keeps its lock, and a forked child
            // does not inherit the mapping.
            memory::exclude_from_fork(memory::map_token(&lock)?)?;
            if let Ok(mut inherited) = self.inherited.lock() {
                inherited.push(InheritedUndo { owner: predecessor, byte });
            }
        }
        Ok(())
    }

    /// Returns the descriptor with this number, if it is open on this namespace's registry. The
    /// environment variable can have any content.
    fn claim_descriptor(&self, number: u32) -> Result<Fd, Errno> {
        let number = i32::try_from(number).ok().filter(|number| *number > 2).ok_or(Errno::BADF)?;
        let path = PathBuffer::new(b"/proc/self/fd/", format_args!("{number}"));
        let (inherited, registry) = (rustix::fs::stat(path.c_str())?, rustix::fs::stat(self.core.registry_path())?);
        if (inherited.st_dev, inherited.st_ino) != (registry.st_dev, registry.st_ino) {
            return Err(Errno::BADF);
        }
        #[allow(unsafe_code)]
        // SAFETY: the descriptor is open on a file that only this crate opens. It was left to this
        // process for this purpose, so no other code owns it.
        Ok(Fd::from(unsafe { OwnedFd::from_raw_fd(number) }))
    }
}
