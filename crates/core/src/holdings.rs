//! Floor 2: who holds how many of something: permits of a semaphore, or places among readers.
//!
//! Each participant has an entry of its own, at its place in the roster: one word, of its [`Tag`] and a count. What was
//! taken and who took it change in one step, so nobody can die in between: there is nothing to repair, and what a dead
//! participant held is known to the last unit.
//!
//! An entry counts for as long as its tag is that of the present owner of the place in the roster. One whose owner left
//! or was replaced counts as nothing, and the next owner writes over it. So the dead are cleared for speed only: once
//! somebody has asked the kernel about one, and has set its entry to 0, nobody needs to ask again.
//!
//! How far the entries in use reach is written down beside the table, before the first use of each, so that a look at
//! all of them costs as much as there are participants, and not as much as there could be. It never shrinks.
//!
//! The count ends at 4,294,967,295 and then stays there until its owner is gone: too much is held for ever rather
//! than too little.

use crate::atomic::{Ordering, Word32, Word64};
use crate::layout::shared;
use crate::tag::{Living, Tag};

shared! {
/// What one participant holds, as it lies in shared memory.
pub struct Holding(64) {
    /// The participant's tag, and in the upper 32 bits how many it holds.
    held: Word64,
}
}

impl Holding {
    /// One that nobody has used.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { held: Word64::new(0) }
    }
}

/// The entries of all participants.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// How many entries, from the first, may be in use.
    extent: &'a Word32,
    entries: &'a [Holding],
}

const fn pack(tag: Tag, count: u32) -> u64 {
    (count as u64) << 32 | tag.word() as u64
}

const fn count_of(held: u64) -> u32 {
    (held >> 32) as u32
}

impl<'a> Table<'a> {
    /// The table of these entries, of which those before `extent` may be in use.
    #[inline(always)]
    pub fn new(extent: &'a Word32, entries: &'a [Holding]) -> Self {
        Self { extent, entries }
    }

    /// Whether there is an entry for `me`: always, unless the table was made for fewer participants.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, me: Tag) -> bool {
        me.index() < self.entries.len()
    }

    /// Adds one to what `me` holds; says whether there is an entry for it.
    ///
    /// Others who have not synchronised with the caller see it for certain only after a fence.
    #[inline]
    pub fn add(&self, me: Tag) -> bool {
        self.add_many(me, 1)
    }

    /// Adds `count` to what `me` holds; says whether there is an entry for it.
    #[inline]
    pub fn add_many(&self, me: Tag, count: u32) -> bool {
        let Some(entry) = self.entries.get(me.index()) else { return false };
        self.reach(me.index());
        let mut seen = entry.held.load(Ordering::Relaxed);
        loop {
            let held = if seen as u32 == me.word() { count_of(seen) } else { 0 };
            let more = pack(me, held.saturating_add(count));
            // Relaxed: what this must come before is the caller's to say, with a lock or with a fence.
            match entry.held.compare_exchange(seen, more, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Has the extent include `index`.
    #[inline(always)]
    fn reach(&self, index: usize) {
        let needed = index as u32 + 1;
        let mut seen = self.extent.load(Ordering::Relaxed);
        while seen < needed {
            match self.extent.compare_exchange(seen, needed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes `count` of what `tag` holds away from it, if it holds as many; says whether it did.
    #[inline]
    pub fn take_back(&self, tag: Tag, count: u32) -> bool {
        self.take(tag, |held| (held >= count).then_some(count)).is_some()
    }

    /// Takes at most `count` of what `tag` holds away from it; returns how many.
    pub fn take_up_to(&self, tag: Tag, count: u32) -> u32 {
        self.take(tag, |held| Some(held.min(count))).unwrap_or(0)
    }

    #[inline]
    fn take(&self, tag: Tag, how_many: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let entry = self.entries.get(tag.index())?;
        let mut seen = entry.held.load(Ordering::Relaxed);
        loop {
            let held = count_of(seen);
            let count = if seen as u32 == tag.word() { how_many(held)? } else { return None };
            if held == u32::MAX {
                return Some(count);
            }
            // Release [holdings.held]: who sees that it is held no more sees all that was done while it was.
            match entry.held.compare_exchange(seen, pack(tag, held - count), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Some(count),
                Err(now) => seen = now,
            }
        }
    }

    /// How many `me` holds.
    #[must_use]
    pub fn mine(&self, me: Tag) -> u32 {
        let seen = self.entries.get(me.index()).map_or(0, |entry| entry.held.load(Ordering::Relaxed));
        if seen as u32 == me.word() { count_of(seen) } else { 0 }
    }

    /// How many are held in all, at most 4,294,967,295, by those who are present; with `ask`, by those who live.
    #[inline]
    pub fn sum(&self, living: &dyn Living, ask: bool) -> u32 {
        self.present(living, ask).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Whether anybody who is present holds any; with `ask`, anybody who lives.
    #[inline]
    pub fn is_any_held(&self, living: &dyn Living, ask: bool) -> bool {
        self.present(living, ask).next().is_some()
    }

    /// Who holds how many, of those who are present; with `ask`, of those who live, and the others' entries are
    /// cleared.
    #[inline]
    pub fn present<'l>(&self, living: &'l dyn Living, ask: bool) -> impl Iterator<Item = (Tag, u32)> + use<'a, 'l> {
        // Relaxed: whoever holds something that the caller must know of has made that known with a lock or a fence.
        let extent = self.extent.load(Ordering::Relaxed) as usize;
        self.entries.iter().take(extent).enumerate().filter_map(move |(index, entry)| {
            // Acquire [holdings.held]
            let seen = entry.held.load(Ordering::Acquire);
            let count = count_of(seen);
            let tag =
                Tag::read(seen as u32).filter(|tag| count > 0 && tag.index() == index && tag.word() == seen as u32)?;
            if !living.is_present(tag) {
                return None;
            }
            if ask && !living.is_alive(tag) {
                // Whoever fails has been beaten to it, perhaps by the next owner of the entry.
                let _ = entry.held.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
                return None;
            }
            Some((tag, count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two participants of epoch 2; the second can die.
    struct Two {
        second_lives: bool,
    }

    impl Living for Two {
        fn is_present(&self, tag: Tag) -> bool {
            tag.epoch() == 2 && tag.index() < 2
        }

        fn is_alive(&self, tag: Tag) -> bool {
            self.is_present(tag) && (self.second_lives || tag.index() != 1)
        }
    }

    const ALL: Two = Two { second_lives: true };
    const SECOND_DEAD: Two = Two { second_lives: false };

    fn entries() -> [Holding; 2] {
        std::array::from_fn(|_| Holding::new())
    }

    #[test]
    fn what_is_added_can_be_taken_back_and_no_more() {
        let (extent, entries) = (Word32::new(0), entries());
        let (table, me, other) = (Table::new(&extent, &entries), Tag::new(0, 2), Tag::new(1, 2));
        assert!(table.add(me) && table.add(me) && table.add_many(other, 3));
        assert_eq!((table.mine(me), table.sum(&ALL, true)), (2, 5));
        assert_eq!(table.present(&ALL, false).collect::<Vec<_>>(), [(me, 2), (other, 3)]);
        assert!(!table.take_back(me, 3) && table.take_back(me, 2) && !table.take_back(me, 1));
        assert_eq!(table.sum(&ALL, true), 3);
        assert_eq!([2, 2, 2].map(|most| table.take_up_to(other, most)), [2, 1, 0]);
    }

    #[test]
    fn the_dead_count_until_somebody_asks_and_are_asked_about_once() {
        let (extent, entries) = (Word32::new(0), entries());
        let (table, dead) = (Table::new(&extent, &entries), Tag::new(1, 2));
        assert!(table.add(dead));
        assert_eq!(table.sum(&SECOND_DEAD, false), 1);
        assert!(!table.is_any_held(&SECOND_DEAD, true));
        assert_eq!((table.sum(&ALL, false), table.mine(dead)), (0, 0), "its entry is cleared");
    }

    #[test]
    fn the_next_owner_of_a_place_writes_over_what_the_last_one_left() {
        let (extent, entries) = (Word32::new(0), entries());
        let (table, last, next) = (Table::new(&extent, &entries), Tag::new(0, 1), Tag::new(0, 2));
        assert!(table.add_many(last, 9));
        assert_eq!((table.sum(&ALL, false), table.mine(next)), (0, 0));
        assert!(!table.take_back(next, 1));
        assert!(table.add(next));
        assert_eq!((table.sum(&ALL, false), table.mine(last)), (1, 0));
        assert!(!table.take_back(last, 1));
    }

    #[test]
    fn a_count_that_has_reached_its_end_stays_there() {
        let (extent, entries) = (Word32::new(0), entries());
        let (table, me) = (Table::new(&extent, &entries), Tag::new(0, 2));
        assert!(table.add_many(me, u32::MAX - 1) && table.add_many(me, 2));
        assert!(table.take_back(me, 1) && table.take_back(me, u32::MAX));
        assert!(table.add(Tag::new(1, 2)));
        assert_eq!((table.mine(me), table.sum(&ALL, true)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn any_bits_are_a_table() {
        let outside = Tag::new(2, 2);
        for bits in [u64::MAX, 1 << 63, pack(outside, 7), pack(Tag::new(1, 2), 7), u64::from(u32::MAX), 7 << 32] {
            let (extent, entries) = (Word32::new(u32::MAX), entries());
            entries[0].held.store(bits, Ordering::Relaxed);
            let (table, me) = (Table::new(&extent, &entries), Tag::new(0, 2));
            assert_eq!(table.sum(&ALL, true), 0, "{bits:#x}: the tag of somebody else, or of nobody");
            assert!(!table.add(outside) && !table.has(outside) && !table.take_back(outside, 0));
            assert!(table.add(me) && table.take_back(me, 1), "{bits:#x}");
        }
    }
}
