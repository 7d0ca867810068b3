//! `SEM_UNDO`: what is taken back when a process ends.
//!
//! A process that asks for it has an undo record in the set's file. What is to be added to a semaphore when the process ends is
//! the sum of the record's cell and of the adjustment in the semaphore's word, if that is this record's. A small adjustment of one process is
//! in the word alone, so that the usual operation changes one word and nothing else.
//!
//! A record belongs to a participant. When that has died, whoever looks next applies the record: each semaphore and its cell in one
//! journalled change, so that whoever dies doing it leaves the rest to the next one.

use crate::layout::{CELLS_INLINE, CELLS_PER_PAGE, JournalKind, Page, PageKind, WaiterState};
use crate::object::mapping::{MappedObject, ObjectFiles};
use crate::object::registry::marked;
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

/// Of so many others it is asked each time whether they live, when a call is refused or a value told; of more, every [`REAP_INTERVAL`].
const FEW: u32 = 16;
/// How long it may stay unnoticed that somebody with something to take back has died, while others use the set, in nanoseconds.
const REAP_INTERVAL: u64 = 4_000_000;

impl<'a> SetView<'a> {
    /// The undo records: number, first page, owner, process id.
    pub fn records(&self) -> impl Iterator<Item = (u32, Page, ParticipantId, u32)> + '_ {
        let pages = self.all_pages().take(MAX_RECORDS as usize);
        pages.filter(|(_, page)| page.kind() == PageKind::Record).map(|(number, page)| {
            let (slot, incarnation, pid) = page.owner();
            (number + 1, page, ParticipantId { slot, incarnation }, pid)
        })
    }

    /// Whether another process has something to take back, and it has not been asked for a while whether those live.
    #[inline(always)]
    pub fn is_reap_due(&self) -> bool {
        self.header().records.load(Relaxed) != 0 && self.is_reap_overdue(REAP_INTERVAL)
    }

    /// The same, after `by` nanoseconds.
    #[inline(never)]
    pub fn is_reap_overdue(&self, by: u64) -> bool {
        self.others_hold_undo() && clock::coarse_nanos().abs_diff(self.header().probed_at.load(Relaxed)) >= by
    }

    /// Whether another process, living or dead, has something to take back.
    #[inline]
    pub fn others_hold_undo(&self) -> bool {
        let records = self.header().records.load(Relaxed);
        records != 0 && records > u32::from(self.sets.core.participants.me_word().is_some_and(|me| self.own_record(me).is_some()))
    }

    /// Whether somebody has died and not taken back what he has to. Who refuses a call, or tells a value, asks: his caller may
    /// have seen that death.
    #[inline(never)]
    pub fn dead_hold_undo(&self) -> bool {
        if !self.others_hold_undo() || self.header().records.load(Relaxed) > FEW && !self.is_reap_due() {
            return false;
        }
        let own = self.sets.core.participants.me_word();
        let living = self.sets.core.participants.probe(None);
        let dead = self.records().any(|(.., who, _)| Some(pack(who)) != own && !living.holds_undo(who));
        if !dead && self.writable() {
            self.header().probed_at.store(clock::coarse_nanos(), Relaxed);
        }
        dead
    }

    /// A record's cell for a semaphore.
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

    /// What is to be added to a semaphore when the record's owner ends.
    pub fn adjustment(&self, record: u32, num: u32, word: Word) -> i32 {
        let cell = self.record_cell(record, num).map_or(0, |cell| cell.load(Relaxed).into());
        let (of, here) = word.undo();
        cell + if of == record { here } else { 0 }
    }

    fn more_pages(&self) -> usize {
        self.nsems().saturating_sub(CELLS_INLINE).div_ceil(CELLS_PER_PAGE) as usize
    }
}

impl SetGuard<'_> {
    pub fn cell(&self, record: u32, num: u32) -> Result<&'static AtomicI16> {
        self.set.record_cell(record, num)
    }

    /// This process's record, made if there is none. `ENOMEM`: there is no room for it.
    pub fn own_record(&self) -> Result<u32> {
        let me = pack(self.me);
        if let Some(record) = self.set.own_record(me) {
            return Ok(record);
        }
        let found = self.set.records().find(|(.., who, _)| *who == self.me).map(|(number, ..)| number);
        let record = match found {
            Some(record) => record,
            None => self.make_record()?,
        };
        self.set.set_own_record(me, record);
        self.set.sets.note_undo(self.set.index);
        Ok(record)
    }

    fn make_record(&self) -> Result<u32> {
        let (number, first) = self.free_page(PageKind::Cells)?;
        let made = || -> Result<()> {
            if number >= MAX_RECORDS {
                return Err(Errno::NOMEM);
            }
            for nth in 0..self.set.more_pages() {
                let (more, _) = self.free_page(PageKind::Cells)?;
                first.more(nth).store(more + 1, Relaxed);
            }
            Ok(())
        };
        if let Err(e) = made() {
            self.free_cells(first);
            return Err(e);
        }
        first.set_owner(self.me.slot, self.me.incarnation, ids::pid());
        first.set_kind(PageKind::Record);
        self.set.header().records.fetch_add(1, SeqCst);
        // Who waits must from now on see to it that this process's end is noticed.
        for (_, waiter) in self.set.waiters().filter(|(_, waiter)| waiter.state() == WaiterState::Waiting) {
            futex::wake_one(&waiter.state);
        }
        Ok(number + 1)
    }

    /// Gives a record's pages back.
    fn free_cells(&self, first: Page) {
        for nth in 0..self.set.more_pages() {
            if let Some(page) = first.more(nth).swap(0, Relaxed).checked_sub(1).and_then(|number| self.set.page(number).ok())
                && page.kind() == PageKind::Cells
            {
                page.set_kind(PageKind::Free);
            }
        }
        first.set_kind(PageKind::Free);
    }

    /// Counts the records anew, and gives back pages of one that was being made.
    pub fn count_records(&self) {
        let mut used = Vec::new();
        let mut count = 0;
        for (_, page, ..) in self.set.records() {
            count += 1;
            used.extend((0..self.set.more_pages()).map(|nth| page.more(nth).load(Relaxed)));
        }
        self.set.header().records.store(count, SeqCst);
        for (_, page) in
            self.set.all_pages().filter(|(number, page)| page.kind() == PageKind::Cells && !used.contains(&(number + 1)))
        {
            page.set_kind(PageKind::Free);
        }
    }

    /// Nobody has anything to take back from a semaphore (`None`: from any) any more. What the words say is not touched.
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

    /// Applies the records of those who have died.
    pub fn reap_undo(&self) {
        let living = self.set.sets.core.participants.probe(None);
        let dead: Vec<_> = self
            .set
            .records()
            .filter(|(.., who, _)| *who != self.me && !living.holds_undo(*who))
            .map(|(number, ..)| number)
            .collect();
        for record in dead {
            self.apply(record);
            self.free_record(record);
        }
        self.set.header().probed_at.store(clock::coarse_nanos(), Relaxed);
    }

    /// Takes back what a record says, on behalf of its process.
    pub fn apply(&self, record: u32) {
        let Ok(first) = self.set.page(record.wrapping_sub(1)) else { return };
        let (.., pid) = first.owner();
        let cell = |num| self.cell(record, num).map_or(0, |cell| cell.load(Relaxed));
        // An adjustment in the word is taken out also where the sum is 0: the record will be another process's.
        let adjusted = |num: u32| cell(num) != 0 || self.set.settle(num).is_ok_and(|word| word.undo().0 == record);
        // All that will change is kept from everybody until all has.
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
            if self.plan(0, num, word, new, record, (cell(num), 0)).is_ok() {
                self.commit(JournalKind::Changes, 1, 0);
                touched.push(num);
            }
        }
        // The end of a process counts as an operation, once.
        self.update(None, !first.is_applied() || !touched.is_empty());
        first.set_applied();
        touched.into_iter().for_each(|num| self.let_go(num));
    }

    /// Gives a dead one's record back.
    fn free_record(&self, record: u32) {
        if let Ok(first) = self.set.page(record.wrapping_sub(1)) {
            self.free_cells(first);
            let records = &self.set.header().records;
            records.store(records.load(Relaxed).saturating_sub(1), SeqCst);
        }
    }
}

impl Sets {
    pub fn note_undo(&self, index: u16) {
        self.undo_noted.store(1, Relaxed);
        self.with_undo[usize::from(index) / 64].fetch_or(1 << (index % 64), Relaxed);
    }

    /// The sets in which this process has, or had, an undo record.
    pub fn sets_with_undo(&self) -> impl Iterator<Item = SetView<'_>> {
        let noted = (self.undo_noted.load(Relaxed) != 0).then_some(self.with_undo);
        noted.into_iter().flat_map(marked).filter_map(|index| self.at(index).ok().flatten()).filter(|set| set.is_live())
    }

    /// This process ends: what it has to take back is taken back. The records stay its own until it has ended: another thread
    /// may be in the middle of an operation.
    pub fn apply_own_undo(&self) {
        let Some(me) = self.core.participants.me_if_joined() else { return };
        for set in self.sets_with_undo() {
            let Ok(guard) = self.lock(set, Patience::Endless) else { continue };
            let own = guard.set.records().find(|(.., who, _)| *who == me).map(|(number, ..)| number);
            if let Some(record) = own.filter(|_| guard.set.is_live()) {
                guard.apply(record);
            }
        }
    }

    /// A child has nothing to take back.
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
