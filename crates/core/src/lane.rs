//! Floor 2: a lane of a queue: jobs in order, for any consumer; or the replies to one call at a time.
//!
//! A lane for replies belongs to who waits for them: `owner` has its tag, and a number that is another one for each call.
//! What was sent to an earlier call is thrown away by whoever comes upon it.

use crate::atomic::{Ordering, Word64};
use crate::bell::Bell;
use crate::layout::shared;
use crate::tag::Tag;

shared! {
    /// A lane, as it lies in shared memory.
    pub struct Lane(192) {
        /// A number below which all jobs were taken.
        head: Word64,
        /// The tag of whose it is; in the upper 32 bits the number of its last call.
        owner: Word64,
        /// Zeros.
        reserved: [Word64; 6],
        /// A number below which all jobs count; or the next number.
        next: Word64,
        /// Zeros.
        reserved_next: [Word64; 7],
        /// For those who wait for a job.
        news: Bell,
        /// Zeros.
        reserved_news: [Word64; 7],
    }
}

impl Lane {
    /// An empty lane.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        let lane = Self {
            head: Word64::new(0),
            owner: Word64::new(0),
            reserved: std::array::from_fn(|_| Word64::new(0)),
            next: Word64::new(0),
            reserved_next: std::array::from_fn(|_| Word64::new(0)),
            news: Bell::new(),
            reserved_news: std::array::from_fn(|_| Word64::new(0)),
        };
        lane.set_up();
        lane
    }

    /// Makes it an empty lane, where there are zeros and nobody sees it yet.
    pub fn set_up(&self) {
        self.head.store(1, Ordering::Relaxed);
        self.next.store(1, Ordering::Relaxed);
    }

    /// A number below which all jobs were taken.
    #[inline(always)]
    pub(crate) fn head(&self) -> &Word64 {
        &self.head
    }

    /// A number below which all jobs count; or the next number.
    #[inline(always)]
    pub(crate) fn next(&self) -> &Word64 {
        &self.next
    }

    /// For those who wait for a job.
    #[inline(always)]
    pub(crate) fn news(&self) -> &Bell {
        &self.news
    }

    /// Whose it is, and the number of its last call.
    pub fn owner(&self) -> (Option<Tag>, u32) {
        // Acquire [lane.owner]: sees that what came for earlier calls is gone.
        let word = self.owner.load(Ordering::Acquire);
        (Tag::read(word as u32), (word >> 32) as u32)
    }

    /// Makes it `me`'s, for another call, if it is nobody's; returns the number of the call.
    pub(crate) fn claim(&self, me: Tag) -> Option<u32> {
        let word = self.owner.load(Ordering::Relaxed);
        if Tag::read(word as u32).is_some() {
            return None;
        }
        let number = ((word >> 32) as u32).wrapping_add(1);
        let new = u64::from(number) << 32 | u64::from(me.word());
        self.owner.compare_exchange(word, new, Ordering::SeqCst, Ordering::Relaxed).is_ok().then_some(number)
    }

    /// Makes it nobody's, if it is `who`'s.
    pub(crate) fn release(&self, who: Tag, number: u32) -> bool {
        let word = u64::from(number) << 32 | u64::from(who.word());
        let free = u64::from(number) << 32;
        // Release [lane.owner]
        self.owner.compare_exchange(word, free, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}
