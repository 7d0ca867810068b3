//! The index by type of a queue with many messages. It finds the first message of a type without a
//! walk through all messages.
//!
//! A receiver that asks a long queue for a type builds the index. The index follows each change,
//! and it is dropped when the queue becomes empty. A queue has none if it is never long, or if
//! its receivers never select by type.
//!
//! The types in the queue are the leaves of a crit-bit tree. Each type has one slot, which holds a
//! leaf and room for a branch. A tree of `n` leaves uses `n - 1` of these branches. If the branch
//! in a leaf's own slot is in use, it always lies on the path to that leaf.
//!
//! The messages of a type are a list. Only the first message of a list is ever removed, because
//! each selection takes the first message of some type.
//!
//! The state of the index is one word in the header, [`TypeIndex`]. Building and dropping the index
//! take many commits. If a process dies in between, the state tells the next owner of the lock that
//! the index is incomplete, and `repair` drops it.

use crate::layout::{Slot, SlotKind, SlotUse, TypeIndex, halves, high, low, words};
use crate::msg::lock::QueueGuard;
use crate::msg::mapping::QueueView;
use crate::msg::write_set::WriteSet;
use crate::object::mapping::MappedObject;
use crate::types::error::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, Errno>;

/// A link to a leaf or to a branch; 0 links to nothing. The lowest bit is 1 for a branch, and the
/// bits above it are the unit of the slot.
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

    /// Returns the slot of the link. `EINVAL` means that the slot holds no type.
    fn slot(self, queue: &QueueView<'_>) -> Result<Slot> {
        queue.slot(self.0 >> 1).and_then(|slot| if slot.kind().state == SlotUse::Type { Ok(slot) } else { Err(Errno::INVAL) })
    }
}

/// The greatest number of branches on a path: a type has 64 bits.
const MAX_DEPTH: usize = 64;

/// Returns `true` if a type belongs to the right side of a branch, which tests `bit`.
fn side(mtype: i64, bit: u64) -> bool {
    mtype as u64 >> (bit & 63) & 1 != 0
}

/// Returns the right or left link of a branch.
fn follow(branches: u64, right: bool) -> Link {
    Link(if right { high(branches) } else { low(branches) })
}

/// Returns the links of a branch with one of them replaced.
fn with_link(branches: u64, right: bool, link: Link) -> u64 {
    if right { halves(low(branches), link.0) } else { halves(link.0, high(branches)) }
}

/// Returns the leaf to which the path leads that `go_right` chooses.
fn descend(queue: &QueueView<'_>, root: u32, go_right: impl Fn(u64) -> bool) -> Result<Option<Slot>> {
    let mut link = Link(root);
    if link.0 == 0 {
        return Ok(None);
    }
    for _ in 0..=MAX_DEPTH {
        let slot = link.slot(queue)?;
        if !link.is_branch() {
            return Ok(Some(slot));
        }
        link = follow(slot.get(words::BRANCHES), go_right(slot.get(words::BIT)));
    }
    Err(Errno::INVAL)
}

/// Returns the first message of a leaf.
fn first_message(queue: &QueueView<'_>, leaf: Slot) -> Result<Option<Slot>> {
    let first = queue.slot(low(leaf.get(words::MEMBERS)))?;
    if first.kind().state == SlotUse::Queued { Ok(Some(first)) } else { Err(Errno::INVAL) }
}

/// Returns the first message of a type.
pub fn first_of(queue: &QueueView<'_>, root: u32, mtype: i64) -> Result<Option<Slot>> {
    match descend(queue, root, |bit| side(mtype, bit))? {
        Some(leaf) if leaf.get(words::TYPE) == mtype as u64 => first_message(queue, leaf),
        _ => Ok(None),
    }
}

/// Returns the first message of the lowest type, if this type is at most `most`.
pub fn first_up_to(queue: &QueueView<'_>, root: u32, most: i64) -> Result<Option<Slot>> {
    match descend(queue, root, |_| false)? {
        Some(leaf) if leaf.get(words::TYPE) as i64 <= most => first_message(queue, leaf),
        _ => Ok(None),
    }
}

/// Returns the first message of any other type.
pub fn first_except(queue: &QueueView<'_>, root: u32, mtype: i64) -> Result<Option<Slot>> {
    let mut oldest: Option<(u32, Slot)> = None;
    let newest = high(queue.header().count.load(Relaxed));
    for_each_leaf(queue, root, |leaf| {
        if leaf.get(words::TYPE) != mtype as u64
            && let Some(message) = first_message(queue, leaf)?
        {
            // Numbers wrap around, so their distances from the newest one are compared.
            let age = newest.wrapping_sub(message.get(words::NUMBER) as u32);
            if oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, message));
            }
        }
        Ok(())
    })?;
    Ok(oldest.map(|(_, message)| message))
}

/// Passes each leaf to `visit`, in ascending order of the types. Counts its steps, because a peer
/// can link branches in a cycle.
fn for_each_leaf(queue: &QueueView<'_>, root: u32, mut visit: impl FnMut(Slot) -> Result<()>) -> Result<()> {
    let mut later = [Link(0); MAX_DEPTH + 1];
    let mut depth = 0;
    let mut link = Link(root);
    let mut left = queue.max_slots().saturating_mul(2);
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

/// The place of a link: the root, or one side of a branch.
#[derive(Clone, Copy)]
enum LinkPlace {
    Root,
    Side(Slot, bool),
}

impl WriteSet<'_> {
    /// Returns the state of the index, as staged.
    fn types(&self) -> TypeIndex {
        TypeIndex::unpack(self.get(&self.queue().header().types))
    }

    /// Returns `true` if there is an index that follows changes.
    fn has_types(&self) -> bool {
        matches!(self.types(), TypeIndex::Building(_) | TypeIndex::On(_))
    }

    /// Stages the link at a place.
    fn set_link(&mut self, place: LinkPlace, link: Link) {
        match place {
            LinkPlace::Side(slot, right) => {
                let branches = self.get_in(slot, words::BRANCHES);
                self.set_in(slot, words::BRANCHES, with_link(branches, right, link));
            }
            LinkPlace::Root => {
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

/// Returns the link at a place, before any change that is staged.
fn link_at(queue: &QueueView<'_>, place: LinkPlace) -> Link {
    match place {
        LinkPlace::Side(slot, right) => follow(slot.get(words::BRANCHES), right),
        LinkPlace::Root => match TypeIndex::unpack(queue.header().types.load(Relaxed)) {
            TypeIndex::On(root) | TypeIndex::Building(root) => Link(root),
            TypeIndex::Off | TypeIndex::Freeing(_) => Link(0),
        },
    }
}

/// Stages the entry of a message that is appended to the queue. It becomes the last one of its
/// type.
#[inline(never)]
pub fn add(writes: &mut WriteSet<'_>, message: Slot, mtype: i64, len: usize, blocks: u32) -> Result<()> {
    let queue = writes.queue();
    if !writes.has_types() {
        return Ok(());
    }
    let near = descend(&queue, link_at(&queue, LinkPlace::Root).0, |bit| side(mtype, bit))?;
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
            let Some(leaf) = writes.allocate_slot(0)? else { return Err(Errno::NOMEM) };
            writes.put_in(leaf, words::KIND, SlotKind { state: SlotUse::Type, class: 0, number: 1 }.pack());
            writes.put_in(leaf, words::TYPE, mtype as u64);
            writes.put_in(leaf, words::MEMBERS, halves(unit, unit));
            writes.put_in(leaf, words::BYTES, len as u64);
            match near {
                None => writes.set_link(LinkPlace::Root, Link::leaf(leaf)),
                Some(near) => insert_leaf(writes, leaf, mtype, near.get(words::TYPE) as i64)?,
            }
        }
    }
    writes.set_in(message, words::CHAIN, halves(0, blocks));
    Ok(())
}

/// Stages a new leaf at the branch where its path leaves that of the leaf of type `near`.
fn insert_leaf(writes: &mut WriteSet<'_>, leaf: Slot, mtype: i64, near: i64) -> Result<()> {
    let queue = writes.queue();
    let bit = 63 - u64::from((mtype ^ near).leading_zeros());
    let mut place = LinkPlace::Root;
    let mut link = link_at(&queue, place);
    for _ in 0..=MAX_DEPTH {
        if !link.is_branch() {
            break;
        }
        let slot = link.slot(&queue)?;
        let branch = slot.get(words::BIT);
        if branch < bit {
            break;
        }
        place = LinkPlace::Side(slot, side(mtype, branch));
        link = link_at(&queue, place);
    }
    let right = side(mtype, bit);
    let branches = with_link(with_link(0, right, Link::leaf(leaf)), !right, link);
    writes.put_in(leaf, words::BRANCHES, branches);
    writes.put_in(leaf, words::BIT, bit);
    writes.set_link(place, Link::branch(leaf));
    Ok(())
}

/// Stages the removal of a message, which is the first one of its type. `last` is `true` if the
/// queue has no other message.
#[inline(never)]
pub fn remove(writes: &mut WriteSet<'_>, message: Slot, mtype: i64, len: usize, last: bool) -> Result<()> {
    let queue = writes.queue();
    if !writes.has_types() {
        return Ok(());
    }
    // The last two branches on the path, each with the place of its link.
    let mut path = [(LinkPlace::Root, None::<Slot>); 2];
    let mut branches = [None; MAX_DEPTH];
    let mut link = link_at(&queue, LinkPlace::Root);
    let mut place = LinkPlace::Root;
    for depth in 0.. {
        let slot = link.slot(&queue)?;
        if !link.is_branch() {
            break;
        }
        *branches.get_mut(depth).ok_or(Errno::INVAL)? = Some((slot, place));
        path = [path[1], (place, Some(slot))];
        place = LinkPlace::Side(slot, side(mtype, slot.get(words::BIT)));
        link = link_at(&queue, place);
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
    match path[1] {
        (_, None) => writes.set_link(LinkPlace::Root, Link(0)),
        (above, Some(branch)) => {
            // The link on the other side takes the place of the branch.
            let right = side(mtype, branch.get(words::BIT));
            let other = follow(branch.get(words::BRANCHES), !right);
            writes.set_link(above, other);
            // The slot of the leaf goes, too. If its own branch is in use, this branch moves to the
            // slot of the branch that has just gone.
            let own = branches.iter().flatten().find(|(slot, _)| *slot == leaf).filter(|_| branch != leaf);
            if let Some((_, place)) = own {
                let moved = writes.get_in(leaf, words::BRANCHES);
                writes.set_in(branch, words::BRANCHES, moved);
                writes.set_in(branch, words::BIT, leaf.get(words::BIT));
                writes.set_link(*place, Link::branch(branch));
            }
        }
    }
    writes.free_slot(leaf, 0);
    if last {
        let types: &'static AtomicU64 = &queue.header().types;
        writes.set(types, TypeIndex::Off.pack());
    }
    Ok(())
}

impl QueueGuard<'_> {
    /// Builds the index. `ENOMEM` means that there is no room for it.
    pub fn build_type_index(&self) -> Result<()> {
        self.drop_type_index()?;
        let types: &'static AtomicU64 = &self.queue.header().types;
        let mut writes = WriteSet::new(self.queue);
        // In the state `Building`, no receiver uses the index. Each message enters it in a commit
        // of its own. A crash leaves an incomplete index, and `repair` drops it.
        writes.put(types, TypeIndex::Building(0).pack());
        self.commit(&writes)?;
        for message in self.queue.messages() {
            self.ensure_slot(0)?;
            let mut writes = WriteSet::new(self.queue);
            let blocks = high(message.get(words::CHAIN));
            add(&mut writes, message, message.get(words::TYPE) as i64, message.kind().number as usize, blocks)?;
            self.commit(&writes)?;
        }
        let TypeIndex::Building(root) = TypeIndex::unpack(types.load(Relaxed)) else { return Err(Errno::INVAL) };
        let mut writes = WriteSet::new(self.queue);
        // All messages are in the index. From this commit on, receivers use it.
        writes.put(types, TypeIndex::On(root).pack());
        self.commit(&writes)
    }

    /// Drops the index and frees its slots. Continues where a process died that did the same.
    pub fn drop_type_index(&self) -> Result<()> {
        let types: &'static AtomicU64 = &self.queue.header().types;
        let index = || TypeIndex::unpack(types.load(Relaxed));
        if let TypeIndex::Building(root) | TypeIndex::On(root) = index() {
            // The leaves become a list, linked through the word with the bytes of their messages.
            // No journal is needed, because the list means nothing before the commit below.
            let mut last = 0;
            let walked = for_each_leaf(&self.queue, root, |leaf| {
                leaf.word(words::BYTES).store(last, Relaxed);
                last = leaf.unit().into();
                Ok(())
            });
            let mut writes = WriteSet::new(self.queue);
            // From this commit on, the index is not used. A leaf that a crash leaves in the list is
            // freed by `repair`.
            writes.put(types, walked.map_or(TypeIndex::Off, |()| TypeIndex::Freeing(low(last))).pack());
            self.commit(&writes)?;
            walked?;
        }
        while let TypeIndex::Freeing(first) = index() {
            let mut writes = WriteSet::new(self.queue);
            match self.queue.slot(first).ok().filter(|leaf| leaf.kind().state == SlotUse::Type) {
                Some(leaf) => {
                    // One commit moves one leaf from the list to the free slots.
                    writes.put(types, TypeIndex::Freeing(low(leaf.get(words::BYTES))).pack());
                    writes.free_slot(leaf, 0);
                }
                None => writes.put(types, TypeIndex::Off.pack()),
            }
            self.commit(&writes)?;
        }
        Ok(())
    }
}
