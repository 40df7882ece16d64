//! Floor 1: NUL-ended text in memory that other processes write at any time.
//!
//! Nothing in raw memory says when a text is whole. What can be done is done: text moves in aligned words of eight
//! bytes, so that one which fits into a word is never torn, and a reader looks until it sees the same twice.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// How much a reader looks at before it takes what it saw, although the writer never rests: so many looks, or bytes.
const LOOKS: usize = 1_000;
const LOOKED_AT: usize = 64 << 20;

/// Bytes that other processes may change at any time.
#[derive(Clone, Copy)]
pub(crate) struct SharedText<'a> {
    bytes: &'a [AtomicU8],
    limit: usize,
}

impl<'a> SharedText<'a> {
    /// Text of at most `limit` bytes, at the start of `bytes`, which should end where a word does: what is beyond the
    /// limit keeps its value, but lets the last of the text be moved as a whole word.
    pub(crate) fn new(bytes: &'a [AtomicU8], limit: usize) -> Self {
        Self { bytes, limit }
    }

    /// The end of the word in which `end` lies.
    pub(crate) fn end_of_word(end: usize) -> usize {
        end.next_multiple_of(WORD)
    }

    /// The bytes before the first NUL, or all, as seen twice in a row.
    pub(crate) fn read(self) -> Vec<u8> {
        let mut seen = self.look();
        for _ in 0..LOOKS.min(LOOKED_AT / (seen.len() + 1)).max(1) {
            let again = self.look();
            if again == seen {
                break;
            }
            seen = again;
        }
        seen
    }

    fn look(self) -> Vec<u8> {
        let (head, words, tail) = self.split();
        let mut text = Vec::new();
        let _ = take_bytes(head, &mut text) && take_words(words, &mut text) && take_bytes(tail, &mut text);
        text.truncate(self.limit);
        text
    }

    /// Stores `text` and a NUL; both must fit.
    pub(crate) fn write(self, text: &[u8]) {
        let (head, words, tail) = self.split();
        let mut left = text.iter().copied().chain([0]).peekable();
        for (byte, new) in head.iter().zip(&mut left) {
            byte.store(new, Ordering::Relaxed);
        }
        for word in words {
            if left.peek().is_none() {
                return;
            }
            let new: [Option<u8>; WORD] = std::array::from_fn(|_| left.next());
            // Relaxed: no order between words can make a text whole, and the system call of the bell orders the rest.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                let mut bytes = old.to_ne_bytes();
                for (byte, new) in bytes.iter_mut().zip(new) {
                    *byte = new.unwrap_or(*byte);
                }
                Some(u64::from_ne_bytes(bytes))
            });
        }
        for (byte, new) in tail.iter().zip(left) {
            byte.store(new, Ordering::Relaxed);
        }
    }

    /// The bytes before the first word boundary, the whole words, the rest.
    fn split(self) -> (&'a [AtomicU8], &'a [AtomicU64], &'a [AtomicU8]) {
        // SAFETY: AtomicU64 has no invalid bytes and AtomicU8 none either; align_to keeps to the slice and aligns.
        // Both are accessed atomically only, by this module, and raw by other processes.
        unsafe { self.bytes.align_to::<AtomicU64>() }
    }
}

/// Appends bytes up to a NUL; false when there was one.
fn take_bytes(bytes: &[AtomicU8], text: &mut Vec<u8>) -> bool {
    for byte in bytes {
        match byte.load(Ordering::Relaxed) {
            0 => return false,
            value => text.push(value),
        }
    }
    true
}

/// Appends words up to a NUL byte; false when there was one.
fn take_words(words: &[AtomicU64], text: &mut Vec<u8>) -> bool {
    for word in words {
        // Relaxed: see `write`.
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        match bytes.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&bytes[..end]);
                return false;
            }
            None => text.extend_from_slice(&bytes),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shared(bytes: &[u8]) -> Vec<AtomicU8> {
        bytes.iter().copied().map(AtomicU8::new).collect()
    }

    fn plain(bytes: &[AtomicU8]) -> Vec<u8> {
        bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_text_that_fits_into_a_word_is_never_torn() {
        let words: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        // SAFETY: a vector of words is bytes too, accessed atomically in either size; it outlives the slice.
        let bytes: &[AtomicU8] = unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 32) };
        let text = SharedText::new(&bytes[8..16], 6);
        text.write(b"Hello");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..200_000).for_each(|n| text.write([b"Hello", b"World"][n % 2])));
            while !writer.is_finished() {
                // One look, not the two that agree.
                let seen = text.look();
                assert!(seen == b"Hello" || seen == b"World", "{seen:?}");
            }
        });
    }

    proptest! {
        #[test]
        fn writes_what_it_should_and_nothing_else(
            text in proptest::collection::vec(1_u8.., 0..80),
            before in proptest::collection::vec(any::<u8>(), 0..20),
            after in proptest::collection::vec(any::<u8>(), 1..20),
        ) {
            let at = before.len();
            let memory = [before, vec![b'x'; text.len()], after].concat();
            let shared = shared(&memory);
            SharedText::new(&shared[at..], shared.len() - at).write(&text);
            let mut expected = memory;
            expected[at..at + text.len()].copy_from_slice(&text);
            expected[at + text.len()] = 0;
            prop_assert_eq!(plain(&shared), expected);
            prop_assert_eq!(SharedText::new(&shared[at..], shared.len() - at).read(), text);
        }

        #[test]
        fn reads_to_the_first_nul_or_the_limit(
            memory in proptest::collection::vec(0_u8..4, 0..80),
            at in 0_usize..80,
            limit in 0_usize..80,
        ) {
            let shared = shared(&memory);
            let at = at.min(memory.len());
            let expected: Vec<u8> = memory[at..].iter().copied().take(limit).take_while(|byte| *byte != 0).collect();
            prop_assert_eq!(SharedText::new(&shared[at..], limit).read(), expected);
        }
    }
}
