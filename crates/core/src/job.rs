//! Floor 2: a job of a queue: who has it, what it is, and where its bytes are.
//!
//! One word decides: who has it, how far it has come, how often it was delivered, and a generation, which is another one
//! each time that the place is used anew. So each step is one compare-and-swap that names what it found, and never takes
//! a job for the one that was there before.
//!
//! | state | whose | what comes next |
//! | --- | --- | --- |
//! | free | nobody's | filling, by whoever puts a job |
//! | filling | a producer's | ready; or leased, as soon as a ring names it |
//! | ready | nobody's | leased |
//! | leased | a consumer's | held, when it is acknowledged; ready again, when it is given back, its time is over or the consumer has died; or a dead letter |
//! | held | a consumer's, which still has views of it | free, of the next generation |
//! | dead letter | nobody's | ready again, or held |
//!
//! `keeper` names a process that has views of a job which is not its own any more, because it was given back or taken away.
//! Who would free the job leaves it to the keeper then.

use crate::atomic::{Ordering, Word64};
use crate::layout::shared;
use crate::tag::Tag;

shared! {
    /// A job, as it lies in shared memory.
    pub struct Job(128) {
        /// Who has it, two marks for how far it has come; how often it was delivered (8 bits); its generation (24 bits).
        state: Word64,
        /// Its number in its lane.
        seq: Word64,
        /// Bytes of its message.
        length: Word64,
        /// The first block of its message, and in the upper 32 bits how many; 0: it is in its cell.
        run: Word64,
        /// When it was put: nanoseconds since 1970.
        put: Word64,
        /// When it was taken, for the last time: nanoseconds since 1970, the lowest bit 1 if the lease ends by `until`.
        taken: Word64,
        /// Its lane; in the bits from 16 what its sender wanted known; from 32 for which call it is.
        route: Word64,
        /// The tag of who put it; in the upper 32 bits the generation that the number is for.
        origin: Word64,
        /// A tag, and in the upper bits the generation for which that process has views; the bit 32 if that is a guess.
        keeper: Word64,
        /// When the lease ends, on the monotonic clock, in nanoseconds.
        until: Word64,
        /// The lane for replies, and in the upper 32 bits the number of the call.
        reply: Word64,
        /// Zeros.
        reserved: [Word64; 5],
    }
}

/// The lowest bit of the generation in a state, and in a keeper.
pub const GENERATION: u32 = 40;

/// The lowest bit of the deliveries in a state.
pub const ATTEMPT: u32 = 32;

const GENERATION_MASK: u64 = (1 << (64 - GENERATION)) - 1;

/// In a keeper: that there are views is a guess.
pub const GUESS: u64 = 1 << 32;

/// The most deliveries that are counted.
pub const MOST_ATTEMPTS: u32 = 254;

/// Instead of deliveries: it was left to whose it is by another one.
pub const LEFT: u32 = 255;

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Free,
    /// A producer writes it.
    Filling,
    /// It waits for a consumer.
    Ready,
    /// A consumer works on it.
    Leased,
    /// It is done; what is left of it is in use.
    Held,
    /// It was delivered too often.
    Dead,
}

/// The word that decides, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(u64);

impl State {
    /// How far it has come. What nobody writes counts as free, so that damage does not keep a place for ever.
    #[inline(always)]
    #[must_use]
    pub fn phase(self) -> Phase {
        let word = self.0 as u32;
        match (Tag::read(word).is_some(), word & Tag::MARK != 0, word & Tag::SECOND_MARK != 0) {
            (true, false, false) => Phase::Filling,
            (false, true, false) => Phase::Ready,
            (true, true, false) => Phase::Leased,
            (true, false, true) => Phase::Held,
            (false, true, true) => Phase::Dead,
            (false, false, _) | (true, true, true) => Phase::Free,
        }
    }

    /// Who has it.
    #[inline(always)]
    #[must_use]
    pub fn tag(self) -> Option<Tag> {
        Tag::read(self.0 as u32)
    }

    /// How often it was delivered.
    #[inline(always)]
    #[must_use]
    pub fn attempt(self) -> u32 {
        (self.0 >> ATTEMPT) as u32 & LEFT
    }

    /// Which use of the place.
    #[inline(always)]
    #[must_use]
    pub fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }

    fn make(generation: u32, attempt: u32, tag: Option<Tag>, marks: u32) -> Self {
        let who = tag.map_or(0, Tag::word) | marks;
        let generation = u64::from(generation) & GENERATION_MASK;
        Self(generation << GENERATION | u64::from(attempt.min(LEFT)) << ATTEMPT | u64::from(who))
    }

    pub(crate) fn filling(self, me: Tag) -> Self {
        Self::make(self.generation(), 0, Some(me), 0)
    }

    pub(crate) fn ready(self) -> Self {
        Self::make(self.generation(), self.attempt(), None, Tag::MARK)
    }

    pub(crate) fn ready_anew(self) -> Self {
        Self::make(self.generation(), 0, None, Tag::MARK)
    }

    pub(crate) fn leased(self, me: Tag) -> Self {
        Self::make(self.generation(), (self.attempt() + 1).min(MOST_ATTEMPTS), Some(me), Tag::MARK)
    }

    pub(crate) fn held(self, who: Tag) -> Self {
        Self::make(self.generation(), self.attempt(), Some(who), Tag::SECOND_MARK)
    }

    /// Left to a keeper, whose views are all that there is of it.
    pub(crate) fn left(self, keeper: Tag) -> Self {
        Self::make(self.generation(), LEFT, Some(keeper), Tag::SECOND_MARK)
    }

    /// Whether it was left to `keeper`.
    pub(crate) fn is_left_to(self, keeper: Tag) -> bool {
        self == self.left(keeper)
    }

    /// Held by the same, of whom one frees it now: another word than that which others may have found.
    pub(crate) fn going(self) -> Self {
        Self::make(self.generation(), 0, self.tag(), Tag::SECOND_MARK)
    }

    pub(crate) fn dead(self) -> Self {
        Self::make(self.generation(), self.attempt(), None, Tag::MARK | Tag::SECOND_MARK)
    }

    pub(crate) fn free_again(self) -> Self {
        Self::make(self.generation().wrapping_add(1), 0, None, 0)
    }
}

/// What a job says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Bytes. Read from memory that others write, it may be more than there is room for; so may the next two.
    pub length: u64,
    /// The first block; with no blocks it is in the cell.
    pub first: u32,
    /// How many blocks.
    pub blocks: u32,
    /// Its lane.
    pub lane: u16,
    /// What its sender wanted known.
    pub flags: u16,
    /// For which call it is.
    pub number: u32,
}

impl Label {
    fn route(self) -> u64 {
        u64::from(self.lane) | u64::from(self.flags) << 16 | u64::from(self.number) << 32
    }
}

impl Job {
    /// A place without a job.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        let zero = || Word64::new(0);
        Self {
            state: zero(),
            seq: zero(),
            length: zero(),
            run: zero(),
            put: zero(),
            taken: zero(),
            route: zero(),
            origin: zero(),
            keeper: zero(),
            until: zero(),
            reply: zero(),
            reserved: std::array::from_fn(|_| zero()),
        }
    }

    /// The word that decides.
    #[inline(always)]
    pub fn state(&self) -> State {
        // Acquire [job.state]: sees all that was done before it came to that.
        State(self.state.load(Ordering::Acquire))
    }

    /// Makes it `new` if it is still as it was `seen`.
    #[inline(always)]
    pub(crate) fn change(&self, seen: State, new: State) -> bool {
        // Release [job.state]
        // Acquire [job.state]: what follows comes after all that led to `seen`.
        self.state.compare_exchange(seen.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Its number in its lane, as far as it has one.
    #[inline(always)]
    pub fn seq(&self) -> u64 {
        // Relaxed: read after the state, which orders it.
        self.seq.load(Ordering::Relaxed)
    }

    /// Says which number it has in this generation, if it is committed as that. Who fills it does.
    #[inline(always)]
    pub(crate) fn number(&self, me: Tag, generation: u32, seq: u64) {
        self.seq.store(seq, Ordering::Relaxed);
        // Release [job.origin]: who sees the generation sees a number that is not that of the one before.
        self.origin.store(u64::from(me.word()) | u64::from(generation) << 32, Ordering::Release);
    }

    /// Its number, if that is of this generation: while a place is filled, it still has that of the one before for a moment.
    #[inline(always)]
    pub(crate) fn seq_of(&self, generation: u32) -> Option<u64> {
        // Acquire [job.origin]
        let origin = self.origin.load(Ordering::Acquire);
        (origin >> 32 == u64::from(generation)).then(|| self.seq())
    }

    /// Labels what was written. Who fills it does, before it is committed.
    #[inline(always)]
    pub(crate) fn label(&self, label: Label, now: u64) {
        // Relaxed, all of them: read by those who have seen it committed.
        self.length.store(label.length, Ordering::Relaxed);
        self.run.store(u64::from(label.first) | u64::from(label.blocks) << 32, Ordering::Relaxed);
        self.put.store(now, Ordering::Relaxed);
        self.route.store(label.route(), Ordering::Relaxed);
        // Else the lease of the job before would be this one's until whoever takes it has noted when, and would be over.
        self.taken.store(0, Ordering::Relaxed);
    }

    /// Says where replies go.
    pub(crate) fn expect_replies(&self, lane: u16, number: u32) {
        self.reply.store(u64::from(lane) | u64::from(number) << 32, Ordering::Relaxed);
    }

    /// Where replies go: the lane, and the number of the call.
    pub fn reply_to(&self) -> (u16, u32) {
        let reply = self.reply.load(Ordering::Relaxed);
        (reply as u16, (reply >> 32) as u32)
    }

    /// What it says of its message.
    #[inline(always)]
    pub fn read(&self) -> Label {
        let (run, route) = (self.run.load(Ordering::Relaxed), self.route.load(Ordering::Relaxed));
        Label {
            length: self.length.load(Ordering::Relaxed),
            first: run as u32,
            blocks: (run >> 32) as u32,
            lane: route as u16,
            flags: (route >> 16) as u16,
            number: (route >> 32) as u32,
        }
    }

    /// When it was put, in nanoseconds since 1970.
    pub fn put(&self) -> u64 {
        self.put.load(Ordering::Relaxed)
    }

    /// Who put it.
    pub fn origin(&self) -> Option<Tag> {
        Tag::read(self.origin.load(Ordering::Relaxed) as u32)
    }

    /// When it was taken for the last time, in nanoseconds since 1970.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Notes when it was taken; `until` is when the lease ends, on the monotonic clock in nanoseconds, 0 for never.
    #[inline(always)]
    pub(crate) fn note_taken(&self, now: u64, until: u64) {
        if until != 0 {
            self.until.store(until, Ordering::Relaxed);
        }
        // Release [job.taken]
        self.taken.store(now & !1 | u64::from(until != 0), Ordering::Release);
    }

    /// When the lease ends, on the monotonic clock in nanoseconds; `None` for never.
    pub fn until(&self) -> Option<u64> {
        // Acquire [job.taken]: sees until when.
        let ends = self.taken.load(Ordering::Acquire) & 1 != 0;
        ends.then(|| self.until.load(Ordering::Relaxed))
    }

    /// Has the lease end later.
    pub(crate) fn extend(&self, until: u64) {
        self.until.store(until, Ordering::Relaxed);
        let taken = self.taken.load(Ordering::Relaxed);
        // Release [job.taken]
        self.taken.store(taken | 1, Ordering::SeqCst);
    }

    // Keepers

    fn keeper_word(generation: u32, who: Tag) -> u64 {
        u64::from(generation) << GENERATION | u64::from(who.word())
    }

    /// Whose views of this generation's job there may be.
    pub(crate) fn keeper(&self, generation: u32) -> Option<Tag> {
        let word = self.keeper.load(Ordering::SeqCst);
        if word >> GENERATION == u64::from(generation) { Tag::read(word as u32) } else { None }
    }

    /// Notes that `who` has views of this generation's job, or that this is so for all that is known; not if another one
    /// has.
    pub(crate) fn keep(&self, generation: u32, who: Tag, is_guess: bool) -> bool {
        let wanted = Self::keeper_word(generation, who);
        let mut seen = self.keeper.load(Ordering::Relaxed);
        loop {
            let is_this = seen >> GENERATION == u64::from(generation);
            match if is_this { Tag::read(seen as u32) } else { None } {
                Some(other) if other != who => return false,
                Some(_) if is_guess => return true,
                _ => {}
            }
            let new = if is_guess { wanted | GUESS } else { wanted };
            match self.keeper.compare_exchange(seen, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Notes that `who` has no views of it; with `if_guessed`, only if they were a guess.
    pub(crate) fn unkeep(&self, generation: u32, who: Tag, if_guessed: bool) {
        let word = Self::keeper_word(generation, who);
        let _ = self.keeper.compare_exchange(word | GUESS, 0, Ordering::SeqCst, Ordering::Relaxed);
        if !if_guessed {
            let _ = self.keeper.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_tells_all_that_it_was_made_of() {
        let me = Tag::new(Tag::MOST - 1, u32::MAX);
        let free = State::make(u32::MAX, 0, None, 0);
        assert_eq!(free.generation(), (1 << 24) - 1);
        let filling = free.filling(me);
        assert_eq!((filling.phase(), filling.tag(), filling.attempt()), (Phase::Filling, Some(me), 0));
        let mut state = filling.ready();
        for attempt in 1..300 {
            state = state.leased(me);
            assert_eq!(
                (state.phase(), state.tag(), state.attempt()),
                (Phase::Leased, Some(me), attempt.min(MOST_ATTEMPTS))
            );
            state = state.ready();
            assert_eq!((state.phase(), state.tag()), (Phase::Ready, None));
        }
        assert_eq!(state.dead().phase(), Phase::Dead);
        assert_eq!(state.dead().ready_anew().attempt(), 0);
        assert_eq!((state.held(me).phase(), state.held(me).going().phase()), (Phase::Held, Phase::Held));
        assert_ne!(state.held(me), state.held(me).going());
        assert_eq!((state.free_again().phase(), state.free_again().generation()), (Phase::Free, 0));
    }

    #[test]
    fn any_bits_are_some_state() {
        for word in [u64::MAX, 1 << 31 | 1 << 30 | 1, 1 << 30, 1 << 10] {
            let _ = (State(word).phase(), State(word).tag(), State(word).attempt());
        }
        assert_eq!(State(u64::MAX).phase(), Phase::Free);
    }

    #[test]
    fn one_keeper_and_only_of_this_generation() {
        let (job, me, other) = (Job::new(), Tag::new(0, 1), Tag::new(1, 1));
        assert!(job.keep(7, me, true) && job.keep(7, me, false) && !job.keep(7, other, false));
        assert_eq!((job.keeper(7), job.keeper(8)), (Some(me), None));
        job.unkeep(7, me, true);
        assert_eq!(job.keeper(7), Some(me), "that one knows, and does not guess");
        assert!(job.keep(8, other, true) && job.keep(8, other, true));
        job.unkeep(7, me, false);
        assert_eq!(job.keeper(8), Some(other));
        job.unkeep(8, other, true);
        assert_eq!(job.keeper(8), None);
    }
}
