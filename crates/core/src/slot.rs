//! Floor 2: a slot of a topic: one payload's place, who fills it, what is in it, and who has it pinned.
//!
//! Two words decide. `owner` is the [`Tag`] of the participant that has the slot in hands, to fill it, and 0 when nobody
//! has. `seq` is the number of the message that is in it, and 0 while there is none.
//!
//! A slot that is in nobody's hands is emptied by whoever takes it, before a byte of it is written. Readers who copy look
//! at `seq` before and after. Readers who keep a view pin it: each sets a bit of its own, and then looks at `seq`; who
//! takes the slot empties `seq`, and then looks at the pins. Both put a fence between the two steps, so that one of them
//! sees the other: the reader finds the message gone, or the taker finds it pinned and leaves it.
//!
//! | step | by whom | killed before it |
//! | --- | --- | --- |
//! | `owner` from 0 to the taker | any publisher | nothing has happened |
//! | `owner` back to 0, because its message is needed, or it has another one by now | the owner | a slot in the hands of a dead one, its message as it was |
//! | `seq` to 0 | the owner | the same |
//! | `owner` and `seq` back, because it is pinned | the owner | the same, and the message, the oldest of all, is lost |
//! | the payload, `length`, `seq` | the owner | a slot in the hands of a dead one, with nothing in it that counts |
//! | `owner` to 0 after the message was committed | the owner | a message that counts, in the hands of a dead one |
//! | a pin set | a subscriber | nothing has happened |
//! | a pin cleared | the subscriber, or whoever finds it dead | a pin of a dead one |

use crate::atomic::{Ordering, Word32, Word64, fence, fence_behind_exchange};
use crate::layout::shared;
use crate::tag::Tag;

/// Words of pins in each slot.
const PIN_WORDS: usize = 2;

/// The most subscriptions of a topic: one bit of a slot's pins each.
pub const MOST_PINS: usize = PIN_WORDS * 64;

shared! {
    /// The head of a slot, as it lies in shared memory.
    pub struct Slot(64) {
        /// The number of the message in it; 0 while there is none.
        seq: Word64,
        /// A bit for each subscription that has it pinned.
        pins: [Word64; 2],
        /// When its message was published: nanoseconds since 1970.
        published: Word64,
        /// When it was pinned while nobody else had it pinned, or loaned: nanoseconds since 1970.
        held: Word64,
        /// Bytes of the message.
        length: Word64,
        /// The tag of the participant that has it in hands; 0 when nobody has.
        owner: Word32,
        /// The tag of the participant that published the message.
        publisher: Word32,
    }
}

/// What a slot says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Bytes. Read from memory that others write, it may be more than a slot has.
    pub length: u64,
    /// When it was published: nanoseconds since 1970.
    pub published: u64,
    /// The tag of who published it.
    pub publisher: Option<Tag>,
}

impl Slot {
    /// An empty slot that nobody has.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            seq: Word64::new(0),
            pins: std::array::from_fn(|_| Word64::new(0)),
            published: Word64::new(0),
            held: Word64::new(0),
            length: Word64::new(0),
            owner: Word32::new(0),
            publisher: Word32::new(0),
        }
    }

    /// The number of the message in it; 0 while there is none. It orders nothing.
    #[inline(always)]
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Who has it in hands, as the word in memory; 0 for nobody.
    #[inline(always)]
    pub(crate) fn owner_word(&self) -> u32 {
        self.owner.load(Ordering::Relaxed)
    }

    /// Who has it in hands.
    pub fn owner(&self) -> Option<Tag> {
        Tag::read(self.owner_word())
    }

    /// Since when it is pinned or loaned, in nanoseconds since 1970; 0 where that is not known.
    pub fn held_since(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether anybody has it pinned.
    #[inline(always)]
    pub fn is_pinned(&self) -> bool {
        // Acquire [slot.pins]: sees the end of all that was read under the pins that are gone.
        self.pins.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// Which subscriptions have it pinned.
    pub fn pinned_by(&self) -> impl Iterator<Item = usize> + use<> {
        let words: [u64; PIN_WORDS] = std::array::from_fn(|at| self.pins[at].load(Ordering::Relaxed));
        (0..MOST_PINS).filter(move |bit| words[bit / 64] >> (bit % 64) & 1 != 0)
    }

    // In the hands of a publisher.

    /// Takes it into `me`'s hands out of those of `from`, a word of memory, if it is there.
    #[inline(always)]
    pub(crate) fn take(&self, from: u32, me: Tag) -> bool {
        // Acquire [slot.owner]: sees all that the one before did with it.
        let is_taken = self.owner.compare_exchange(from, me.word(), Ordering::SeqCst, Ordering::Relaxed).is_ok();
        // SeqCst: and then looks at who needs its message, as subscribers join and then look at who has it in hands.
        fence_behind_exchange();
        is_taken
    }

    /// Empties it, and says whether that is so for everybody: not when somebody has it pinned, or pins it now, so that its
    /// message must be [put back](Self::put_back). Its owner does.
    #[inline(always)]
    pub(crate) fn empty(&self) -> bool {
        self.seq.swap(0, Ordering::SeqCst);
        // Release [slot.seq]: who reads any of what is written from now on finds that the message is gone.
        // SeqCst: and then looks at the pins, as subscribers pin and then look at the number.
        fence_behind_exchange();
        !self.is_pinned()
    }

    /// Says again that message `seq` is in it, which it still is.
    pub(crate) fn put_back(&self, seq: u64) {
        // Release [slot.seq]
        self.seq.store(seq, Ordering::Release);
    }

    /// Labels what was written. Its owner does, before it is committed.
    #[inline(always)]
    pub(crate) fn label(&self, me: Tag, length: u64, published: u64) {
        // Relaxed, all three: read by those who have seen the number that follows.
        self.length.store(length, Ordering::Relaxed);
        self.published.store(published, Ordering::Relaxed);
        self.publisher.store(me.word(), Ordering::Relaxed);
    }

    /// Says which message it will be, if it is committed as that.
    #[inline(always)]
    pub(crate) fn number(&self, seq: u64) {
        // Release [slot.seq]: who sees the number sees the message and its label.
        self.seq.store(seq, Ordering::Release);
    }

    /// Notes since when it is loaned.
    pub fn note_held(&self, now: u64) {
        self.held.store(now, Ordering::Relaxed);
    }

    /// Lets go of it. Its owner does.
    #[inline(always)]
    pub(crate) fn give_back(&self) {
        // Release [slot.owner]
        self.owner.store(0, Ordering::Release);
    }

    // For readers.

    /// The label of message `seq`, if that is in it.
    #[inline(always)]
    pub fn read(&self, seq: u64) -> Option<Label> {
        // Acquire [slot.seq]: sees the message and its label.
        if self.seq.load(Ordering::Acquire) != seq {
            return None;
        }
        let label = Label {
            length: self.length.load(Ordering::Relaxed),
            published: self.published.load(Ordering::Relaxed),
            publisher: Tag::read(self.publisher.load(Ordering::Relaxed)),
        };
        Some(label)
    }

    /// Whether message `seq` is still in it, and so was all the time that the caller read it.
    #[inline(always)]
    pub fn is_still(&self, seq: u64) -> bool {
        // Acquire [slot.seq]: who has read any of what was written later finds the number gone; and who finds it gone sees
        // the messages that were published before it went.
        fence(Ordering::Acquire);
        self.seq.load(Ordering::Acquire) == seq
    }

    /// Whether message `seq` is in it, and nobody has it in hands, who may be about to empty it.
    pub(crate) fn is_at_rest(&self, seq: u64) -> bool {
        // Acquire [slot.owner], with the fence in `is_still`: sees whether the one before has emptied it.
        self.owner_word() == 0 && self.is_still(seq)
    }

    /// Pins message `seq` for the subscription `bit`, if it is in it.
    #[inline]
    pub(crate) fn pin(&self, bit: usize, seq: u64, now: u64) -> bool {
        let Some(word) = self.pins.get(bit / 64) else { return false };
        let others = word.fetch_or(1 << (bit % 64), Ordering::SeqCst);
        // SeqCst: and then looks at the number, as takers empty it and then look at the pins.
        fence_behind_exchange();
        // Acquire [slot.seq]
        if self.seq.load(Ordering::Acquire) != seq {
            self.unpin(bit);
            return false;
        }
        if others == 0 {
            self.held.store(now, Ordering::Relaxed);
        }
        true
    }

    /// Clears the pin of the subscription `bit`.
    #[inline]
    pub(crate) fn unpin(&self, bit: usize) {
        if let Some(word) = self.pins.get(bit / 64) {
            // Release [slot.pins]: who sees it cleared sees the end of all that was read under it.
            word.fetch_and(!(1 << (bit % 64)), Ordering::Release);
        }
    }

    /// Whether the subscription `bit` has it pinned.
    pub(crate) fn is_pinned_by(&self, bit: usize) -> bool {
        self.pins.get(bit / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (bit % 64) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_not_emptied_and_what_is_empty_is_not_pinned() {
        let (slot, me) = (Slot::new(), Tag::new(0, 1));
        assert!(slot.take(0, me) && !slot.take(0, Tag::new(1, 1)) && slot.empty());
        slot.label(me, 5, 7);
        slot.number(1);
        slot.give_back();
        assert_eq!(slot.read(1), Some(Label { length: 5, published: 7, publisher: Some(me) }));
        assert!(slot.pin(0, 1, 9) && slot.pin(127, 1, 10) && !slot.pin(64, 2, 11) && !slot.pin(128, 1, 12));
        assert_eq!((slot.pinned_by().collect::<Vec<_>>(), slot.held_since()), (vec![0, 127], 10));
        assert!(slot.take(0, me) && !slot.empty());
        assert!(!slot.is_still(1) && slot.read(1).is_none());
        slot.put_back(1);
        slot.give_back();
        slot.unpin(0);
        slot.unpin(127);
        assert!(slot.is_still(1) && slot.take(0, me) && slot.empty() && !slot.pin(3, 1, 13) && !slot.is_pinned());
    }
}
