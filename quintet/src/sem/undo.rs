//! `SEM_UNDO`: the adjustments that are applied when a process ends.
//!
//! A process that uses `SEM_UNDO` has an undo record in the set's file, with a cell for each
//! semaphore. Its adjustment of a semaphore is the sum of two parts:
//!
//! - the cell in its record
//! - the adjustment in the semaphore's word, if the word names the record
//!
//! A small adjustment of one process is in the word alone, so that the usual operation changes one
//! word and nothing else.
//!
//! A record belongs to a participant. A process that exits applies its own records. If it dies
//! without doing so, the next process that notices applies them. Each semaphore and its cell are
//! one journalled change, which also clears the adjustment. A process that dies in the middle of
//! this leaves the remaining semaphores to the next one, and no adjustment is applied twice.
//!
//! | record's page | meaning | next |
//! |---|---|---|
//! | `Free` | not in use | `Cells`, by the lock's holder |
//! | `Cells` | the record is being created | `Record`; `Free`, if its creator died |
//! | `Record` | in use | `Free`, by the lock's holder after applying it, |
//! | | | when the owner has ended |

use crate::layout::{CELLS_INLINE, CELLS_PER_PAGE, JournalKind, Page, PageKind, WaiterState};
use crate::object::indexes::set_bits;
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::process::acquire::Patience;
use crate::process::participants::pack;
use crate::sem::lock::SetGuard;
use crate::sem::mapping::{SetView, Sets};
use crate::sync::attach_count::ParticipantId;
use crate::sync::word::{MAX_RECORDS, Word};
use crate::sys::{clock, futex, ids};
use crate::types::error::Errno;
use crate::types::limits::Limits;
use std::sync::atomic::{AtomicI16, Ordering::*};

type Result<T> = std::result::Result<T, Errno>;

/// The number of undo records up to which their owners are probed each time that a call is refused
/// or a value is returned. More owners are probed every [`REAP_INTERVAL`].
const MAX_PROBED_RECORDS: u32 = 16;
/// How long the death of a process with undo may go unnoticed while other processes use the set, in
/// nanoseconds.
const REAP_INTERVAL: u64 = 4_000_000;

impl<'a> SetView<'a> {
    /// Returns the undo records: number, first page, owner, process id.
    pub fn records(&self) -> impl Iterator<Item = (u32, Page, ParticipantId, u32)> + '_ {
        let pages = self.all_pages().take(MAX_RECORDS as usize);
        pages.filter(|(_, page)| page.kind() == PageKind::Record).map(|(number, page)| {
            let (slot, incarnation, pid) = page.owner();
            (number + 1, page, ParticipantId { slot, incarnation }, pid)
        })
    }

    /// Returns `true` if another process has an undo record, and the owners have not been probed
    /// for [`REAP_INTERVAL`].
    #[inline(always)]
    pub fn is_reap_due(&self) -> bool {
        self.header().records.load(Relaxed) != 0 && self.is_reap_overdue(REAP_INTERVAL)
    }

    /// Returns `true` if another process has an undo record, and the owners have not been probed
    /// for `by` nanoseconds.
    #[inline(never)]
    pub fn is_reap_overdue(&self, by: u64) -> bool {
        self.peers_hold_undo() && clock::coarse_nanos().abs_diff(self.header().probed_at.load(Relaxed)) >= by
    }

    /// Returns `true` if another process, alive or dead, has an undo record.
    #[inline]
    pub fn peers_hold_undo(&self) -> bool {
        let records = self.header().records.load(Relaxed);
        records != 0
            && records > u32::from(self.sets.core.participants.me_word().is_some_and(|me| self.cached_record(me).is_some()))
    }

    /// Returns `true` if a process has died and its undo record has not been applied. A call that
    /// is refused, or returns a value, asks first: its caller may have seen that death.
    #[inline(never)]
    pub fn has_orphaned_undo(&self) -> bool {
        if !self.peers_hold_undo() || self.header().records.load(Relaxed) > MAX_PROBED_RECORDS && !self.is_reap_due() {
            return false;
        }
        let own = self.sets.core.participants.me_word();
        let probe = self.sets.core.participants.probe(None);
        let dead = self.records().any(|(.., owner, _)| Some(pack(owner)) != own && !probe.holds_undo(owner));
        // The time is stored only if no owner is dead. Otherwise other processes would not look for
        // the interval although there is undo to apply.
        if !dead && self.writable() {
            self.header().probed_at.store(clock::coarse_nanos(), Relaxed);
        }
        dead
    }

    /// Returns the cell of a semaphore in a record. A peer can write any page number; all are
    /// checked.
    pub fn record_cell(&self, record: u32, num: u32) -> Result<&'static AtomicI16> {
        let first = self.page(record.checked_sub(1).ok_or(Errno::INVAL)?)?;
        if first.kind() != PageKind::Record || num >= self.nsems() {
            return Err(Errno::INVAL);
        }
        let Some(beyond) = num.checked_sub(CELLS_INLINE) else { return Ok(first.first_cell(num)) };
        let more = first.more((beyond / CELLS_PER_PAGE) as usize).load(Relaxed);
        let page = self.page(more.checked_sub(1).ok_or(Errno::INVAL)?)?;
        if page.kind() == PageKind::Cells { Ok(page.cell(beyond % CELLS_PER_PAGE)) } else { Err(Errno::INVAL) }
    }

    /// Returns what is added to a semaphore when the record's owner ends. `word` is the semaphore's
    /// word.
    pub fn adjustment(&self, record: u32, num: u32, word: Word) -> i32 {
        let cell = self.record_cell(record, num).map_or(0, |cell| cell.load(Relaxed).into());
        let (of, here) = word.undo();
        cell + if of == record { here } else { 0 }
    }

    /// Returns the number of further pages that a record of this set has.
    fn cell_pages(&self) -> usize {
        self.nsems().saturating_sub(CELLS_INLINE).div_ceil(CELLS_PER_PAGE) as usize
    }
}

impl SetGuard<'_> {
    /// Returns the cell of a semaphore in a record.
    pub fn cell(&self, record: u32, num: u32) -> Result<&'static AtomicI16> {
        self.set.record_cell(record, num)
    }

    /// Returns this process's record, which is created if there is none. `ENOMEM` means that there
    /// is no room.
    pub fn find_or_create_record(&self) -> Result<u32> {
        let me = pack(self.me);
        if let Some(record) = self.set.cached_record(me) {
            return Ok(record);
        }
        let found = self.set.records().find(|(.., owner, _)| *owner == self.me).map(|(number, ..)| number);
        let record = match found {
            Some(record) => record,
            None => self.create_record()?,
        };
        self.set.cache_record(me, record);
        self.set.sets.note_undo(self.set.index);
        Ok(record)
    }

    /// Creates a record for this process.
    fn create_record(&self) -> Result<u32> {
        let (number, first) = self.allocate_page(PageKind::Cells)?;
        let allocate = || -> Result<()> {
            if number >= MAX_RECORDS {
                return Err(Errno::NOMEM);
            }
            for nth in 0..self.set.cell_pages() {
                let (more, _) = self.allocate_page(PageKind::Cells)?;
                first.more(nth).store(more + 1, Relaxed);
            }
            Ok(())
        };
        if let Err(e) = allocate() {
            self.free_cells(first);
            return Err(e);
        }
        // All pages of the record have the kind `Cells` so far. A crash before `set_kind` leaves
        // cells that belong to no record, and `count_records` frees them. The owner is stored
        // first: `set_kind` publishes the record with its owner.
        first.set_owner(self.me.slot, self.me.incarnation, ids::pid());
        first.set_kind(PageKind::Record);
        // A process without the lock reads this counter to learn whether a process has undo. A
        // crash before the store leaves a record that is not counted; `count_records` counts again.
        self.set.header().records.fetch_add(1, SeqCst);
        // Blocked calls wake up to choose a new interval: from here on they must notice the death
        // of this process.
        for (_, waiter) in self.set.waiters().filter(|(_, waiter)| waiter.state() == WaiterState::Waiting) {
            futex::wake_one(&waiter.state);
        }
        Ok(number + 1)
    }

    /// Frees a record's pages. The first page comes last, because it names the others.
    fn free_cells(&self, first: Page) {
        for nth in 0..self.set.cell_pages() {
            if let Some(page) = first.more(nth).swap(0, Relaxed).checked_sub(1).and_then(|number| self.set.page(number).ok())
                && page.kind() == PageKind::Cells
            {
                page.set_kind(PageKind::Free);
            }
        }
        first.set_kind(PageKind::Free);
    }

    /// Counts the records again, and frees the pages of a record that was being created or freed.
    /// Part of the repair.
    pub fn count_records(&self) {
        let mut used = Vec::new();
        let mut count = 0;
        for (_, page, ..) in self.set.records() {
            count += 1;
            used.extend((0..self.set.cell_pages()).map(|nth| page.more(nth).load(Relaxed)));
        }
        self.set.header().records.store(count, SeqCst);
        for (_, page) in
            self.set.all_pages().filter(|(number, page)| page.kind() == PageKind::Cells && !used.contains(&(number + 1)))
        {
            page.set_kind(PageKind::Free);
        }
    }

    /// Clears the cells of a semaphore, or of all semaphores for `None`, in all records. The
    /// adjustments in the words are left to the caller.
    pub fn forget_undo(&self, num: Option<u32>) {
        let forget = |record, num| {
            if let Ok(cell) = self.cell(record, num) {
                cell.store(0, Relaxed);
            }
        };
        for (record, ..) in self.set.records() {
            match num {
                Some(num) => forget(record, num),
                None => (0..self.set.nsems()).for_each(|num| forget(record, num)),
            }
        }
    }

    /// Applies and frees the records of processes that have died.
    pub fn reap_undo(&self) {
        let probe = self.set.sets.core.participants.probe(None);
        let dead: Vec<_> = self
            .set
            .records()
            .filter(|(.., owner, _)| *owner != self.me && !probe.holds_undo(*owner))
            .map(|(number, ..)| number)
            .collect();
        for record in dead {
            self.apply(record);
            self.free_record(record);
        }
        self.set.header().probed_at.store(clock::coarse_nanos(), Relaxed);
    }

    /// Applies the adjustments of a record, in the name of its process.
    pub fn apply(&self, record: u32) {
        let Ok(first) = self.set.page(record.wrapping_sub(1)) else { return };
        let (.., pid) = first.owner();
        let cell = |num| self.cell(record, num).map_or(0, |cell| cell.load(Relaxed));
        // A word that names this record changes even if the sum is 0, because another process will
        // get the record's number.
        let adjusted = |num: u32| cell(num) != 0 || self.set.settle(num).is_ok_and(|word| word.undo().0 == record);
        // All words that change are slow until all have changed. No operation without the lock runs
        // between two of the changes.
        (0..self.set.nsems()).filter(|num| adjusted(*num)).for_each(|num| _ = self.hold(num));
        let mut touched = Vec::new();
        for num in 0..self.set.nsems() {
            if !adjusted(num) {
                continue;
            }
            let Ok(word) = self.hold(num) else { continue };
            let adjustment = self.set.adjustment(record, num, word);
            let value = (i32::from(word.value()) + adjustment).clamp(0, Limits::SEMVMX.into()) as u16;
            let new = if adjustment == 0 { word } else { word.with_value(value).with_pid(pid) };
            let new = if word.undo().0 == record { new.without_undo() } else { new };
            // One journalled change stores the new value and clears both parts of the adjustment. A
            // crash before its decision leaves this semaphore as it was; a crash after it leaves
            // the change to the lock's next holder. In both cases the next probe finds the record
            // and goes on with the remaining semaphores.
            if self.stage_change(0, num, word, new, record, (cell(num), 0)).is_ok() {
                self.commit(JournalKind::Changes, 1, 0);
                touched.push(num);
            }
        }
        // The end of a process counts as one operation. A process that has applied its own record
        // at exit is not counted again.
        self.update(None, !first.is_applied() || !touched.is_empty());
        first.set_applied();
        touched.into_iter().for_each(|num| self.release_word(num));
    }

    /// Frees the record of a dead process. Its adjustments are all 0, so a crash in between is
    /// harmless.
    fn free_record(&self, record: u32) {
        if let Ok(first) = self.set.page(record.wrapping_sub(1)) {
            self.free_cells(first);
            let records = &self.set.header().records;
            records.store(records.load(Relaxed).saturating_sub(1), SeqCst);
        }
    }
}

impl Sets {
    /// Notes that this process may have an undo record in a set.
    pub fn note_undo(&self, index: u16) {
        // The flag comes first, so that no bit is set without it.
        self.undo_noted.store(1, Relaxed);
        self.with_undo[usize::from(index) / 64].fetch_or(1 << (index % 64), Relaxed);
    }

    /// Returns the live sets in which this process may have an undo record.
    pub fn sets_with_undo(&self) -> impl Iterator<Item = SetView<'_>> {
        let noted = (self.undo_noted.load(Relaxed) != 0).then_some(self.with_undo);
        noted.into_iter().flat_map(set_bits).filter_map(|index| self.at(index).ok().flatten()).filter(|set| set.is_live())
    }

    /// Applies the undo records of this process, which is about to exit. The records are freed
    /// after its death, because another thread may be in the middle of an operation.
    pub fn apply_own_undo(&self) {
        let Some(me) = self.core.participants.me_if_joined() else { return };
        for set in self.sets_with_undo() {
            let Ok(guard) = self.lock(set, Patience::Endless) else { continue };
            let own = guard.set.records().find(|(.., owner, _)| *owner == me).map(|(number, ..)| number);
            if let Some(record) = own.filter(|_| guard.set.is_live()) {
                guard.apply(record);
            }
        }
    }

    /// Forgets the undo of the parent, in a forked child.
    pub fn forget_own_undo(&self) {
        if self.undo_noted.load(Relaxed) != 0 {
            self.with_undo.iter().for_each(|word| word.store(0, Relaxed));
            self.undo_noted.store(0, Relaxed);
        }
        if let Ok(mut inherited) = self.inherited.try_lock() {
            inherited.clear();
        }
    }
}
