//! Floor 2: what each participant has published in a topic, for monitors, which only read.
//!
//! A participant counts in the entry that has the number of its place in the roster. Who gets that place next counts on
//! from there, so that the sums over all entries only ever grow.

use crate::atomic::{Ordering, Word32, Word64};
use crate::layout::shared;
use crate::tag::Tag;

shared! {
    /// What a participant has published, as it lies in shared memory.
    pub struct Publisher(64) {
        /// Messages.
        messages: Word64,
        /// Bytes of them.
        bytes: Word64,
        /// Messages that were not published because no slot was free.
        dropped: Word64,
        /// When it last published: nanoseconds since 1970.
        last: Word64,
        /// The messages, bytes and drops of those who had this place before.
        before: [Word64; 3],
        /// The tag of the participant.
        tag: Word32,
    }
}

/// What a publisher says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Its participant; `None` when there never was one.
    pub tag: Option<Tag>,
    /// Messages, bytes, and messages that were dropped, of this participant.
    pub own: [u64; 3],
    /// The same of all who had its place.
    pub all: [u64; 3],
    /// When it last published: nanoseconds since 1970.
    pub last: u64,
}

impl Publisher {
    /// An entry that counts nothing yet.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            messages: Word64::new(0),
            bytes: Word64::new(0),
            dropped: Word64::new(0),
            last: Word64::new(0),
            before: std::array::from_fn(|_| Word64::new(0)),
            tag: Word32::new(0),
        }
    }

    #[inline(always)]
    fn enter(&self, me: Tag) {
        if self.tag.load(Ordering::Relaxed) != me.word() {
            self.enter_anew(me);
        }
    }

    #[cold]
    fn enter_anew(&self, me: Tag) {
        for (word, now) in self.before.iter().zip([&self.messages, &self.bytes, &self.dropped]) {
            word.store(now.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.tag.store(me.word(), Ordering::Relaxed);
    }

    /// Counts so many messages of so many bytes in all; `alone`, if no other thread of this process counts meanwhile.
    #[inline(always)]
    pub(crate) fn count(&self, me: Tag, messages: u64, bytes: u64, now: u64, alone: bool) {
        self.enter(me);
        self.messages.add_own(messages, alone);
        self.bytes.add_own(bytes, alone);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Counts a message that was not published.
    pub(crate) fn count_dropped(&self, me: Tag) {
        self.enter(me);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// What it says.
    pub fn output(&self) -> Output {
        let all = [&self.messages, &self.bytes, &self.dropped].map(|word| word.load(Ordering::Relaxed));
        let own = std::array::from_fn(|at| all[at].wrapping_sub(self.before[at].load(Ordering::Relaxed)));
        let last = self.last.load(Ordering::Relaxed);
        Output { tag: Tag::read(self.tag.load(Ordering::Relaxed)), own, all, last }
    }
}
