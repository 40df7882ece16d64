//! Floor 1: a ring of words that names things in order: each the number of a thing and the place that it is in.
//!
//! Numbers begin with 1; the thing with number `n` has the word `n` modulo the ring's length, and the next number is the first
//! whose word is older. A thing counts from one compare-and-swap on: the one that writes its word. `next` follows behind:
//! whoever finds it late goes on from there. So nobody needs a lock, and one that stops or dies at any point leaves a thing
//! that counts, or one that does not.
//!
//! Source: the ring that anybody may help along is that of M. Michael and M. Scott, "Simple, Fast, and Practical
//! Non-Blocking and Blocking Concurrent Queue Algorithms", 1996.

use crate::atomic::{Ordering, Word64, fence, will_write};

/// Bits of a word that name a place; the others are the low bits of the number.
const PLACE_BITS: u32 = 20;

/// The most places.
pub const MOST_PLACES: usize = 1 << PLACE_BITS;

/// Words of a line of the processor's cache.
const LINE: u64 = 8;

/// Where a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this place, unless that has another one by now.
    At(usize),
    /// There is none yet.
    Ahead,
    /// The ring has forgotten it.
    Behind,
}

/// Why a thing does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There may be no such number yet.
    Full,
    /// Somebody has overwritten what the ring needs.
    Damaged,
}

/// A ring, and the word that follows behind.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'a> {
    words: &'a [Word64],
    /// A number below which all things count; or the next number.
    next: &'a Word64,
    /// How many places there are.
    places: usize,
}

fn pack(seq: u64, place: usize) -> u64 {
    seq << PLACE_BITS | place as u64
}

/// How far the number in a ring's word is ahead of `seq`.
#[inline(always)]
fn ahead(word: u64, seq: u64) -> i64 {
    // By the low bits only, which they have in common; of numbers that far apart both are not in one ring.
    ((word >> PLACE_BITS).wrapping_sub(seq) << PLACE_BITS).cast_signed() >> PLACE_BITS
}

impl<'a> Ring<'a> {
    /// A ring of that many words, a power of two, for so many places.
    #[inline(always)]
    pub fn new(words: &'a [Word64], next: &'a Word64, places: usize) -> Self {
        debug_assert!(words.len().is_power_of_two());
        Self { words, next, places }
    }

    /// How many words it has.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    #[inline(always)]
    fn word(&self, seq: u64) -> &'a Word64 {
        // The length is a power of two, so this is inside.
        &self.words[seq as usize & (self.words.len() - 1)]
    }

    /// Where the thing with that number is.
    #[inline(always)]
    pub fn place(&self, seq: u64) -> Place {
        // Acquire [ring.word]: sees the thing, and its number in its place.
        let word = self.word(seq).load(Ordering::Acquire);
        match ahead(word, seq) {
            0 => match word as usize & (MOST_PLACES - 1) {
                place if place < self.places => Place::At(place),
                // Somebody has overwritten it.
                _ => Place::Behind,
            },
            ..0 => Place::Ahead,
            1.. => Place::Behind,
        }
    }

    /// A number below which all things count, or the next number.
    #[inline(always)]
    pub fn next_known(&self) -> u64 {
        // Acquire [ring.next]: sees the words of all that came before.
        self.next.load(Ordering::Acquire)
    }

    /// The number of the newest thing; 0 before the first.
    pub fn newest(&self) -> u64 {
        let mut next = self.next_known();
        // A turn more for each word that is a whole ring or more ahead: those who are stopped, or died, before they raised
        // `next`, can be many.
        for _ in 0..2 * self.words.len() {
            match ahead(self.word(next).load(Ordering::Acquire), next) {
                ..0 => break,
                further => next = next.wrapping_add(further.cast_unsigned()).wrapping_add(1),
            }
        }
        next.saturating_sub(1)
    }

    /// Has the thing in `place` count; returns its number. `hope` is a guess of that, from the last time. `number` is told
    /// each number that it may get, and says whether it may.
    ///
    /// # Errors
    ///
    /// [`Refused`]; it does not count.
    #[inline(always)]
    pub fn commit(&self, place: usize, hope: u64, mut number: impl FnMut(u64) -> bool) -> Result<u64, Refused> {
        let mut seq = hope.max(1);
        let mut leaps = 0;
        loop {
            let word = self.word(seq);
            // Acquire [ring.word]: what follows it in the order of numbers is done after it.
            let seen = word.load(Ordering::Acquire);
            match ahead(seen, seq) {
                ..0 => {
                    if !number(seq) {
                        return Err(Refused::Full);
                    }
                    // Release [ring.word]. It fails where somebody was faster, and has this number.
                    if word.compare_exchange(seen, pack(seq, place), Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                        if seq.is_multiple_of(LINE) {
                            // Those who read have the line of words that comes next: to have it alone takes as long as all the
                            // rest.
                            will_write(self.word(seq.wrapping_add(LINE)));
                        }
                        return Ok(seq);
                    }
                }
                0 => seq = seq.wrapping_add(1),
                further => {
                    // All up to the number there count.
                    seq = self.next_known().max(seq.wrapping_add(further.cast_unsigned()).wrapping_add(1));
                    leaps += 1;
                    if leaps > self.words.len() || further.cast_unsigned() % self.words.len() as u64 != 0 {
                        return Err(Refused::Damaged);
                    }
                }
            }
        }
    }

    /// Lets everybody know that all things up to `seq` count. What the caller has done before comes before the bells that it
    /// rings after this, as behind an exchange.
    #[inline(always)]
    pub fn announce(&self, seq: u64) {
        let mut now = self.next.load(Ordering::Relaxed);
        loop {
            if now > seq {
                // Somebody has told of a later one. What this one has done since it committed comes before the bells, too.
                fence(Ordering::SeqCst);
                break;
            }
            // Release [ring.next]. SeqCst, as the commit, for the bells.
            match self.next.compare_exchange(now, seq.saturating_add(1), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(later) => now = later,
            }
        }
    }
}
