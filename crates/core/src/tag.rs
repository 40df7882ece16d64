//! Floor 0: who holds something: a participant's place in the roster, and which of its successive owners it is.

/// A participant: the index of its roster entry, and the epoch of that entry while it is theirs.
///
/// An entry gets a new epoch with each owner, so the tag of one who is gone never becomes that of another (before the
/// same entry has changed hands 1,048,576 times).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(u32);

const INDEX_BITS: u32 = 10;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const EPOCH_MASK: u32 = (1 << 20) - 1;

impl Tag {
    /// A bit that no tag uses: algorithms keep a mark of their own there.
    pub const MARK: u32 = 1 << 31;
    /// Another one.
    pub const SECOND_MARK: u32 = 1 << 30;
    /// The most participants that tags can tell apart.
    pub const MOST: usize = INDEX_MASK as usize;

    /// The tag of the owner number `epoch` of entry `index`; `index` is below [`Tag::MOST`].
    #[must_use]
    pub const fn new(index: usize, epoch: u32) -> Self {
        debug_assert!(index < Self::MOST);
        Self((epoch & EPOCH_MASK) << INDEX_BITS | (index as u32 + 1) & INDEX_MASK)
    }

    /// The tag in a word of shared memory, whatever its marks; `None` when it names nobody.
    #[must_use]
    #[inline]
    pub const fn read(word: u32) -> Option<Self> {
        if word & INDEX_MASK == 0 { None } else { Some(Self(word & !(Self::MARK | Self::SECOND_MARK))) }
    }

    /// What is stored in a word; never 0, and without marks.
    #[must_use]
    #[inline]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The roster entry. Read from memory that others write, it may be outside of the roster.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & INDEX_MASK) as usize - 1
    }

    /// Which owner of the entry.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        self.0 >> INDEX_BITS & EPOCH_MASK
    }

    /// The epoch after `epoch`.
    #[must_use]
    pub const fn next_epoch(epoch: u32) -> u32 {
        (epoch + 1) & EPOCH_MASK
    }
}

/// Those who know which participants live.
pub trait Living {
    /// Whether the tag's participant is the present owner of its roster entry. It reads memory only, so one who died
    /// may still look present.
    fn is_present(&self, tag: Tag) -> bool;

    /// Whether the tag's participant lives: asks the kernel. A stopped process lives.
    fn is_alive(&self, tag: Tag) -> bool;
}

/// Who calls an algorithm, and whom it may ask about the others.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The caller's own tag.
    pub tag: Tag,
    /// The roster.
    pub living: &'a dyn Living,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_word() {
        for index in [0, 1, 63, Tag::MOST - 1] {
            for epoch in [0, 1, EPOCH_MASK] {
                let tag = Tag::new(index, epoch);
                assert_eq!((tag.index(), tag.epoch()), (index, epoch));
                assert_eq!(Tag::read(tag.word() | Tag::MARK | Tag::SECOND_MARK), Some(tag));
                assert_ne!(tag.word(), 0);
            }
        }
        assert_eq!(Tag::read(Tag::MARK | Tag::SECOND_MARK), None);
        assert_eq!(Tag::next_epoch(EPOCH_MASK), 0);
    }
}
