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
        /// When it was put: nanoseconds since 1970, as of the last tick of the clock.
        put: Word64,
        /// When it was taken, for the last time: nanoseconds since 1970.
        taken: Word64,
        /// Its lane; in the bits from 16 what its sender wanted known; from 32 for which call it is.
        route: Word64,
        /// The tag of who put it; in the upper 32 bits the generation that the number is for.
        origin: Word64,
        /// A tag, and in the upper bits the generation for which that process has views. The marks of the tag count who
        /// guesses that; then the attempt is there, too.
        keeper: Word64,
        /// When the lease ends, on the monotonic clock, in nanoseconds; the lowest 8 bits are the attempt that this is of.
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

const ONE_GUESS: u64 = 1 << 30;
const MOST_GUESSES: u64 = 3;

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

    /// That moment as the end of this lease.
    fn lease_end(self, until: u64) -> u64 {
        until & !u64::from(LEFT) | u64::from(self.attempt())
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
        // Where it fails, too: who has lost it sees who may have guessed that it has views.
        self.state.compare_exchange(seen.0, new.0, Ordering::SeqCst, Ordering::Acquire).is_ok()
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
        // Else the end of a first lease of the job before would be that of this one, until whoever takes it has noted its own.
        // Looked at first, because it seldom has one, and its line is seldom written.
        if self.until.load(Ordering::Relaxed) != 0 {
            self.until.store(0, Ordering::Relaxed);
        }
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

    /// Notes when it was taken, and was `leased` with that; `until` is when the lease ends, on the monotonic clock in
    /// nanoseconds, 0 for never.
    #[inline(always)]
    pub(crate) fn note_taken(&self, leased: State, now: u64, until: u64) {
        self.taken.store(now, Ordering::Relaxed);
        let end = if until == 0 { 0 } else { leased.lease_end(until) };
        // Looked at first, because it seldom has one, and its line is seldom written.
        if end != self.until.load(Ordering::Relaxed) {
            // Release [job.until]
            self.until.store(end, Ordering::Release);
        }
    }

    /// When the lease ends, on the monotonic clock in nanoseconds; `None` for never.
    pub fn until(&self) -> Option<u64> {
        let state = self.state();
        if state.phase() == Phase::Leased { self.end_of(state) } else { None }
    }

    /// When the lease ends that was seen; `None` for never, and as long as its holder has not said so.
    pub(crate) fn end_of(&self, leased: State) -> Option<u64> {
        // Relaxed: it says itself of which lease it is. That of the one before must not end this one.
        let until = self.until.load(Ordering::Relaxed);
        (until == leased.lease_end(until)).then_some(until & !u64::from(LEFT))
    }

    /// Has the lease end later; says whether it is still that one.
    pub(crate) fn extend(&self, leased: State, until: u64) -> bool {
        loop {
            // Acquire [job.until]: who sees the end of the next lease sees below that there is one, and leaves it.
            let seen = self.until.load(Ordering::Acquire);
            if self.state() != leased {
                return false;
            }
            // It fails where another thread has extended it, or the next one has it by now.
            let new = leased.lease_end(until);
            if self.until.compare_exchange(seen, new, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return self.state() == leased;
            }
        }
    }

    /// Forgets when the lease ended of a job that was seen as a dead letter, as its deliveries are counted anew.
    pub(crate) fn forget_lease(&self, dead: State) {
        // Acquire [job.until]: as above.
        let seen = self.until.load(Ordering::Acquire);
        if self.state() == dead {
            let _ = self.until.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    /// Forgets its number: nothing in a ring names it from now on; and its lane: whoever fills it next may be about to put it
    /// into the first. Who frees it does, before it is free.
    pub(crate) fn forget(&self) {
        // Release [job.seq]: who sees that it has none sees that it was taken.
        self.seq.store(0, Ordering::Release);
        // Relaxed: the state, which follows, orders it.
        self.route.store(0, Ordering::Relaxed);
        // So that no generation from long ago is taken for a later one, once they begin anew.
        let keeper = self.keeper.load(Ordering::Relaxed);
        if keeper != 0 {
            let _ = self.keeper.compare_exchange(keeper, 0, Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    // Keepers

    fn keeper_word(generation: u32, who: Tag) -> u64 {
        u64::from(generation) << GENERATION | u64::from(who.word())
    }

    /// Whether nobody keeps it, and nobody did who has not been forgotten.
    #[inline(always)]
    pub(crate) fn is_unkept(&self) -> bool {
        self.keeper.load(Ordering::SeqCst) == 0
    }

    /// Whose views of this generation's job there may be.
    pub(crate) fn keeper(&self, generation: u32) -> Option<Tag> {
        let word = self.keeper.load(Ordering::SeqCst);
        if word >> GENERATION == u64::from(generation) { Tag::read(word as u32) } else { None }
    }

    /// Makes the keeper what `change` makes of that of this generation, 0 for none; says whether it is so. `change` may
    /// refuse. What is known of a later generation is not touched: whoever is that late will find the job gone.
    fn change_keeper(&self, generation: u32, change: impl Fn(u64) -> Option<u64>) -> bool {
        let mut seen = self.keeper.load(Ordering::Relaxed);
        loop {
            let later = ((seen >> GENERATION).wrapping_sub(u64::from(generation)) << GENERATION).cast_signed();
            let known = if later == 0 { seen } else { 0 };
            if later > 0 && seen != 0 {
                return false;
            }
            let Some(new) = change(known) else { return false };
            if new == known {
                return true;
            }
            match self.keeper.compare_exchange(seen, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Notes that `who` has views of this generation's job; not if another one has.
    pub(crate) fn keep(&self, generation: u32, who: Tag) -> bool {
        self.change_keeper(generation, |known| match Tag::read(known as u32) {
            Some(other) if other != who => None,
            _ => Some(Self::keeper_word(generation, who)),
        })
    }

    /// Notes that whoever has `leased` it has views for all that is known, before it is taken away; not if another one has.
    ///
    /// Many may find that out at once, and only one of them will take it away. So guesses are counted: that one's must
    /// stay when the others take theirs back.
    pub(crate) fn guess(&self, leased: State) -> bool {
        let (Some(who), generation) = (leased.tag(), leased.generation()) else { return false };
        let (word, none) = (Self::keeper_word(generation, who), Self::guessed_word(leased, who));
        self.change_keeper(generation, |known| match Tag::read(known as u32) {
            Some(other) if other != who => None,
            None => Some(none + ONE_GUESS),
            Some(_) if known == word => Some(known),
            Some(_) if known & !(MOST_GUESSES * ONE_GUESS) != none => Some(word), // It was taken away before.
            Some(_) if known - none == MOST_GUESSES * ONE_GUESS => None,
            Some(_) => Some(known + ONE_GUESS),
        })
    }

    /// Takes a guess back.
    pub(crate) fn unguess(&self, leased: State) {
        let (Some(who), generation) = (leased.tag(), leased.generation()) else { return };
        let none = Self::guessed_word(leased, who);
        self.change_keeper(generation, |known| {
            let is_guess = known & !(MOST_GUESSES * ONE_GUESS) == none && known != none;
            Some(if known == none + ONE_GUESS {
                0
            } else if is_guess {
                known - ONE_GUESS
            } else {
                known
            })
        });
    }

    fn guessed_word(leased: State, who: Tag) -> u64 {
        Self::keeper_word(leased.generation(), who) | u64::from(leased.attempt()) << ATTEMPT
    }

    /// Notes that `who` has no views of it.
    pub(crate) fn unkeep(&self, generation: u32, who: Tag) {
        self.change_keeper(generation, |known| Some(if Tag::read(known as u32) == Some(who) { 0 } else { known }));
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
        let leased = |generation, who| State::make(generation, 0, None, 0).leased(who);
        assert!(job.guess(leased(7, me)) && job.keep(7, me) && !job.keep(7, other));
        assert_eq!((job.keeper(7), job.keeper(8)), (Some(me), None));
        job.unguess(leased(7, me));
        assert_eq!(job.keeper(7), Some(me), "that one knows, and does not guess");
        assert!(job.guess(leased(8, other)) && job.guess(leased(8, other)));
        assert!(!job.keep(7, me) && !job.guess(leased(7, me)), "too late");
        job.unkeep(7, me);
        job.unguess(leased(8, other));
        assert_eq!(job.keeper(8), Some(other), "one of two");
        job.unguess(leased(8, other).leased(other));
        assert_eq!(job.keeper(8), Some(other), "of another lease");
        job.unguess(leased(8, other));
        assert_eq!(job.keeper(8), None);
    }

    #[test]
    fn guesses_are_not_too_many_and_stay_when_the_next_lease_is_over() {
        let (job, me) = (Job::new(), Tag::new(0, 1));
        let first = State::make(9, 0, None, 0).leased(me);
        assert!((0..3).all(|_| job.guess(first)) && !job.guess(first));
        assert!(job.guess(first.leased(me)));
        for _ in 0..4 {
            job.unguess(first);
            job.unguess(first.leased(me));
        }
        assert_eq!(job.keeper(9), Some(me));
        job.unkeep(9, me);
        assert_eq!(job.keeper(9), None);
    }

    #[test]
    fn a_lease_ends_when_its_own_holder_said() {
        let (job, me) = (Job::new(), Tag::new(0, 1));
        let ready = State(0).filling(me).ready();
        job.state.store(ready.leased(me).0, Ordering::Relaxed);
        assert_eq!(job.until(), None);
        job.note_taken(ready.leased(me), 1, 5000);
        assert_eq!(job.until(), Some(5000 & !255));
        assert!(job.extend(ready.leased(me), 9000));
        let next = ready.leased(me).ready().leased(me);
        job.state.store(next.0, Ordering::Relaxed);
        assert_eq!(job.until(), None, "not yet said");
        assert!(!job.extend(ready.leased(me), 1));
        job.note_taken(next, 1, 0);
        assert_eq!(job.until(), None);
    }
}
