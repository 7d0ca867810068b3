//! The index by type, of a queue with many messages: finding the first of a type without looking through all.
//!
//! It is made when a receiver first asks a long queue for a type, kept up while the queue has messages, and forgotten when it is empty: a queue
//! that is never long, or of which nobody takes by type, has none.
//!
//! The types present are the leaves of a crit-bit tree. Each has a slot, which is a leaf and a branch of the tree: of `n` leaves `n - 1` branches are in
//! use, and a leaf's own branch, if it is, is always one that leads to it. The messages of a type are a list of which only the
//! first is ever taken out: whatever a receiver selects is the first of its type.

use crate::layout::{Slot, SlotKind, SlotUse, TypeIndex, halves, high, low, words};
use crate::msg::lock::QueueGuard;
use crate::msg::mapping::QueueView;
use crate::msg::write_set::WriteSet;
use crate::object::mapping::MappedObject;
use crate::types::error::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Errno>;

/// A link: to a leaf, or to a branch, whose slot it names; 0: nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link(u32);

impl Link {
    fn leaf(slot: Slot) -> Link {
        Link(slot.unit() << 1)
    }

    fn branch(slot: Slot) -> Link {
        Link(slot.unit() << 1 | 1)
    }

    fn is_branch(self) -> bool {
        self.0 & 1 != 0
    }

    fn slot(self, queue: &QueueView<'_>) -> Result<Slot> {
        queue.slot(self.0 >> 1).and_then(|slot| if slot.kind().state == SlotUse::Type { Ok(slot) } else { Err(Errno::INVAL) })
    }
}

/// More branches than this no way leads over: a type has 64 bits.
const DEEPEST: usize = 64;

/// To which side of a branch a type belongs.
fn side(mtype: i64, bit: u64) -> bool {
    mtype as u64 >> (bit & 63) & 1 != 0
}

fn follow(branches: u64, right: bool) -> Link {
    Link(if right { high(branches) } else { low(branches) })
}

fn with(branches: u64, right: bool, link: Link) -> u64 {
    if right { halves(low(branches), link.0) } else { halves(link.0, high(branches)) }
}

/// The leaf that a type would be at.
fn descend(queue: &QueueView<'_>, root: u32, way: impl Fn(u64) -> bool) -> Result<Option<Slot>> {
    let mut link = Link(root);
    if link.0 == 0 {
        return Ok(None);
    }
    for _ in 0..=DEEPEST {
        let slot = link.slot(queue)?;
        if !link.is_branch() {
            return Ok(Some(slot));
        }
        link = follow(slot.get(words::BRANCHES), way(slot.get(words::BIT)));
    }
    Err(Errno::INVAL)
}

fn first_message(queue: &QueueView<'_>, leaf: Slot) -> Result<Option<Slot>> {
    let first = queue.slot(low(leaf.get(words::MEMBERS)))?;
    if first.kind().state == SlotUse::Queued { Ok(Some(first)) } else { Err(Errno::INVAL) }
}

/// The first message of a type.
pub fn first_of(queue: &QueueView<'_>, root: u32, mtype: i64) -> Result<Option<Slot>> {
    match descend(queue, root, |bit| side(mtype, bit))? {
        Some(leaf) if leaf.get(words::TYPE) == mtype as u64 => first_message(queue, leaf),
        _ => Ok(None),
    }
}

/// The first message of the lowest type, if that is at most `most`.
pub fn first_up_to(queue: &QueueView<'_>, root: u32, most: i64) -> Result<Option<Slot>> {
    match descend(queue, root, |_| false)? {
        Some(leaf) if leaf.get(words::TYPE) as i64 <= most => first_message(queue, leaf),
        _ => Ok(None),
    }
}

/// The first message that is not of a type.
pub fn first_but(queue: &QueueView<'_>, root: u32, mtype: i64) -> Result<Option<Slot>> {
    let mut oldest: Option<(u32, Slot)> = None;
    let newest = high(queue.header().count.load(Relaxed));
    each_leaf(queue, root, |leaf| {
        if leaf.get(words::TYPE) != mtype as u64
            && let Some(message) = first_message(queue, leaf)?
        {
            // Numbers start over: what counts is how long ago.
            let age = newest.wrapping_sub(message.get(words::NUMBER) as u32);
            if oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, message));
            }
        }
        Ok(())
    })?;
    Ok(oldest.map(|(_, message)| message))
}

/// Hands each leaf to `visit`, the lowest type first.
fn each_leaf(queue: &QueueView<'_>, root: u32, mut visit: impl FnMut(Slot) -> Result<()>) -> Result<()> {
    let mut later = [Link(0); DEEPEST + 1];
    let mut depth = 0;
    let mut link = Link(root);
    let mut left = queue.most_slots().saturating_mul(2);
    while link.0 != 0 {
        left = left.checked_sub(1).ok_or(Errno::INVAL)?;
        let slot = link.slot(queue)?;
        if link.is_branch() {
            *later.get_mut(depth).ok_or(Errno::INVAL)? = follow(slot.get(words::BRANCHES), true);
            depth += 1;
            link = follow(slot.get(words::BRANCHES), false);
            continue;
        }
        visit(slot)?;
        link = match depth.checked_sub(1) {
            Some(up) => {
                depth = up;
                later[up]
            }
            None => Link(0),
        };
    }
    Ok(())
}

/// Where a link is kept: the root, or a side of a branch.
#[derive(Clone, Copy)]
enum ThreadOwner {
    Root,
    Side(Slot, bool),
}

impl WriteSet<'_> {
    fn types(&self) -> TypeIndex {
        TypeIndex::unpack(self.get(&self.queue().header().types))
    }

    fn has_types(&self) -> bool {
        matches!(self.types(), TypeIndex::Building(_) | TypeIndex::On(_))
    }

    fn set_link(&mut self, holder: ThreadOwner, link: Link) {
        match holder {
            ThreadOwner::Side(slot, right) => {
                let branches = self.get_in(slot, words::BRANCHES);
                self.set_in(slot, words::BRANCHES, with(branches, right, link));
            }
            ThreadOwner::Root => {
                let types = match self.types() {
                    TypeIndex::Building(_) => TypeIndex::Building(link.0),
                    _ => TypeIndex::On(link.0),
                };
                let word: &'static AtomicU64 = &self.queue().header().types;
                self.set(word, types.pack());
            }
        }
    }
}

/// What is linked somewhere, as long as the draft has not changed it.
fn link_at(queue: &QueueView<'_>, holder: ThreadOwner) -> Link {
    match holder {
        ThreadOwner::Side(slot, right) => follow(slot.get(words::BRANCHES), right),
        ThreadOwner::Root => match TypeIndex::unpack(queue.header().types.load(Relaxed)) {
            TypeIndex::On(root) | TypeIndex::Building(root) => Link(root),
            TypeIndex::Off | TypeIndex::Freeing(_) => Link(0),
        },
    }
}

/// A message that is put at the end of the line is the last of its type.
#[inline(never)]
pub fn add(writes: &mut WriteSet<'_>, message: Slot, mtype: i64, len: usize, blocks: u32) -> Result<()> {
    let queue = writes.queue();
    if !writes.has_types() {
        return Ok(());
    }
    let near = descend(&queue, link_at(&queue, ThreadOwner::Root).0, |bit| side(mtype, bit))?;
    let unit = message.unit();
    match near {
        Some(leaf) if leaf.get(words::TYPE) == mtype as u64 => {
            let members = leaf.get(words::MEMBERS);
            let last = queue.slot(high(members))?;
            let after = writes.get_in(last, words::CHAIN);
            writes.set_in(last, words::CHAIN, halves(unit, high(after)));
            writes.put_in(leaf, words::MEMBERS, halves(low(members), unit));
            let kind = leaf.kind();
            writes.put_in(leaf, words::KIND, SlotKind { number: kind.number.wrapping_add(1), ..kind }.pack());
            writes.put_in(leaf, words::BYTES, leaf.get(words::BYTES).wrapping_add(len as u64));
        }
        near => {
            let Some(leaf) = writes.take_slot(0)? else { return Err(Errno::NOMEM) };
            writes.put_in(leaf, words::KIND, SlotKind { state: SlotUse::Type, class: 0, number: 1 }.pack());
            writes.put_in(leaf, words::TYPE, mtype as u64);
            writes.put_in(leaf, words::MEMBERS, halves(unit, unit));
            writes.put_in(leaf, words::BYTES, len as u64);
            match near {
                None => writes.set_link(ThreadOwner::Root, Link::leaf(leaf)),
                Some(near) => graft(writes, leaf, mtype, near.get(words::TYPE) as i64)?,
            }
        }
    }
    writes.set_in(message, words::CHAIN, halves(0, blocks));
    Ok(())
}

/// Puts a new leaf where the way to it leaves that to the leaf of type `near`.
fn graft(writes: &mut WriteSet<'_>, leaf: Slot, mtype: i64, near: i64) -> Result<()> {
    let queue = writes.queue();
    let bit = 63 - u64::from((mtype ^ near).leading_zeros());
    let mut holder = ThreadOwner::Root;
    let mut link = link_at(&queue, holder);
    for _ in 0..=DEEPEST {
        if !link.is_branch() {
            break;
        }
        let slot = link.slot(&queue)?;
        let branch = slot.get(words::BIT);
        if branch < bit {
            break;
        }
        holder = ThreadOwner::Side(slot, side(mtype, branch));
        link = link_at(&queue, holder);
    }
    let right = side(mtype, bit);
    let branches = with(with(0, right, Link::leaf(leaf)), !right, link);
    writes.put_in(leaf, words::BRANCHES, branches);
    writes.put_in(leaf, words::BIT, bit);
    writes.set_link(holder, Link::branch(leaf));
    Ok(())
}

/// A message that is taken out of the line is the first of its type. `last`: there is no other.
#[inline(never)]
pub fn remove(writes: &mut WriteSet<'_>, message: Slot, mtype: i64, len: usize, last: bool) -> Result<()> {
    let queue = writes.queue();
    if !writes.has_types() {
        return Ok(());
    }
    // On the way: the branch above, where it is linked, and where the leaf's own branch is linked.
    let mut ways = [(ThreadOwner::Root, None::<Slot>); 2];
    let mut branches = [None; DEEPEST];
    let mut link = link_at(&queue, ThreadOwner::Root);
    let mut holder = ThreadOwner::Root;
    for depth in 0.. {
        let slot = link.slot(&queue)?;
        if !link.is_branch() {
            break;
        }
        *branches.get_mut(depth).ok_or(Errno::INVAL)? = Some((slot, holder));
        ways = [ways[1], (holder, Some(slot))];
        holder = ThreadOwner::Side(slot, side(mtype, slot.get(words::BIT)));
        link = link_at(&queue, holder);
    }
    let leaf = link.slot(&queue)?;
    let members = leaf.get(words::MEMBERS);
    if leaf.get(words::TYPE) != mtype as u64 || low(members) != message.unit() {
        return Err(Errno::INVAL);
    }
    let next = low(message.get(words::CHAIN));
    if next != 0 && high(members) != message.unit() {
        writes.put_in(leaf, words::MEMBERS, halves(next, high(members)));
        let kind = leaf.kind();
        writes.put_in(leaf, words::KIND, SlotKind { number: kind.number.wrapping_sub(1), ..kind }.pack());
        writes.put_in(leaf, words::BYTES, leaf.get(words::BYTES).wrapping_sub(len as u64));
        return Ok(());
    }
    match ways[1] {
        (_, None) => writes.set_link(ThreadOwner::Root, Link(0)),
        (above, Some(branch)) => {
            // The branch goes, and what was on its other side takes its place.
            let right = side(mtype, branch.get(words::BIT));
            let other = follow(branch.get(words::BRANCHES), !right);
            writes.set_link(above, other);
            // Its slot is now free to be the branch that the leaf's own slot was.
            let own = branches.iter().flatten().find(|(slot, _)| *slot == leaf).filter(|_| branch != leaf);
            if let Some((_, holder)) = own {
                let moved = writes.get_in(leaf, words::BRANCHES);
                writes.set_in(branch, words::BRANCHES, moved);
                writes.set_in(branch, words::BIT, leaf.get(words::BIT));
                writes.set_link(*holder, Link::branch(branch));
            }
        }
    }
    writes.give_slot(leaf, 0);
    if last {
        let types: &'static AtomicU64 = &queue.header().types;
        writes.set(types, TypeIndex::Off.pack());
    }
    Ok(())
}

impl QueueGuard<'_> {
    /// Makes the index.
    pub fn index_types(&self) -> Result<()> {
        self.forget_types()?;
        let types: &'static AtomicU64 = &self.queue.header().types;
        let mut writes = WriteSet::new(self.queue);
        writes.put(types, TypeIndex::Building(0).pack());
        self.commit(&writes)?;
        for message in self.queue.messages() {
            self.provide(0)?;
            let mut writes = WriteSet::new(self.queue);
            let blocks = high(message.get(words::CHAIN));
            add(&mut writes, message, message.get(words::TYPE) as i64, message.kind().number as usize, blocks)?;
            self.commit(&writes)?;
        }
        let TypeIndex::Building(root) = TypeIndex::unpack(types.load(Relaxed)) else { return Err(Errno::INVAL) };
        let mut writes = WriteSet::new(self.queue);
        writes.put(types, TypeIndex::On(root).pack());
        self.commit(&writes)
    }

    /// Does without an index, and gives its slots back; or goes on with it where a dead one has left off.
    pub fn forget_types(&self) -> Result<()> {
        let types: &'static AtomicU64 = &self.queue.header().types;
        let index = || TypeIndex::unpack(types.load(Relaxed));
        if let TypeIndex::Building(root) | TypeIndex::On(root) = index() {
            // The leaves become a list, by a word that nobody needs any more.
            let mut last = 0;
            let walked = each_leaf(&self.queue, root, |leaf| {
                leaf.word(words::BYTES).store(last, Relaxed);
                last = leaf.unit().into();
                Ok(())
            });
            let mut writes = WriteSet::new(self.queue);
            writes.put(types, walked.map_or(TypeIndex::Off, |()| TypeIndex::Freeing(low(last))).pack());
            self.commit(&writes)?;
            walked?;
        }
        while let TypeIndex::Freeing(first) = index() {
            let mut writes = WriteSet::new(self.queue);
            match self.queue.slot(first).ok().filter(|leaf| leaf.kind().state == SlotUse::Type) {
                Some(leaf) => {
                    writes.put(types, TypeIndex::Freeing(low(leaf.get(words::BYTES))).pack());
                    writes.give_slot(leaf, 0);
                }
                None => writes.put(types, TypeIndex::Off.pack()),
            }
            self.commit(&writes)?;
        }
        Ok(())
    }
}
