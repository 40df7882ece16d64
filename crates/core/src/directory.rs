//! Floor 3: a directory of objects by name: the body of a namespace.
//!
//! A table of entries, and after it the objects, one behind the other. Entries are added in order, under a guard, and
//! never removed or changed. An entry counts once its kind is there: that store comes last, when name, place and the
//! object itself are written. Killed before it, an adder leaves bytes that the next one overwrites, and a guard that
//! the next one takes over; nothing needs repair.
//!
//! Who looks a name up needs no guard: it reads entries up to the first one that does not count. Who adds one looks
//! again when it has the guard, so of two who make the same name one does, and the other finds it.

use crate::atomic::{Ordering, Word32, Word64};
use crate::bell::Attempt;
use crate::layout::shared;
use crate::lock::{Dead, Lock};
use crate::tag::Caller;

/// The most objects of a namespace.
pub const ENTRIES: usize = 256;

/// The most bytes of a name.
pub const LONGEST_NAME: usize = 48;

shared! {
/// What comes before the table of a directory, as it lies in shared memory.
pub struct Directory(64) {
    /// Who is about to add an entry.
    guard: Lock,
}
}

shared! {
/// An entry of a directory, as it lies in shared memory.
pub struct Entry(64) {
    /// What the object is; 0 while there is none. Written last.
    kind: Word32,
    /// Where it starts: bytes from the start of the body.
    offset: Word32,
    /// Bytes that it takes.
    length: Word32,
    /// Zero.
    reserved: Word32,
    /// What it is called, as text that ends with a NUL or at 48 bytes.
    name: [Word64; LONGEST_NAME / 8],
}
}

/// An object of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is called.
    pub name: Vec<u8>,
    /// The number of its kind, never 0.
    pub kind: u32,
    /// Where it starts: bytes from the start of the body; inside the body, and a multiple of 64.
    pub offset: usize,
    /// Bytes that it takes, all inside the body.
    pub length: usize,
}

/// Why an object cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Entry number so-and-so does not lie inside the body: somebody has overwritten it.
    Damaged(usize),
    /// All entries are in use.
    NoEntry,
    /// So many bytes are left for objects.
    NoRoom(usize),
}

/// A directory and the body that it describes.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    directory: &'a Directory,
    entries: &'a [Entry],
    body_size: usize,
}

impl Directory {
    /// An empty directory.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self { guard: Lock::new() }
    }
}

impl Entry {
    /// An entry that does not count.
    #[expect(clippy::new_without_default, reason = "shared memory is made in place, never by default")]
    pub fn new() -> Self {
        Self {
            kind: Word32::new(0),
            offset: Word32::new(0),
            length: Word32::new(0),
            reserved: Word32::new(0),
            name: std::array::from_fn(|_| Word64::new(0)),
        }
    }
}

impl<'a> Table<'a> {
    /// The directory of a body of `body_size` bytes.
    #[must_use]
    pub fn new(directory: &'a Directory, entries: &'a [Entry], body_size: usize) -> Self {
        Self { directory, entries, body_size }
    }

    /// Where objects may start.
    fn start(&self) -> usize {
        size_of::<Directory>() + size_of_val(self.entries)
    }

    /// The object of entry `index`, if it counts.
    fn read(&self, index: usize) -> Result<Option<Found>, Refusal> {
        let Some(entry) = self.entries.get(index) else { return Ok(None) };
        // Acquire [directory.entry]: what counts is whole.
        let kind = entry.kind.load(Ordering::Acquire);
        if kind == 0 {
            return Ok(None);
        }
        let offset = entry.offset.load(Ordering::Relaxed) as usize;
        let length = entry.length.load(Ordering::Relaxed) as usize;
        let inside = offset >= self.start() && offset.is_multiple_of(64);
        if !inside || offset.checked_add(length).is_none_or(|end| end > self.body_size) {
            return Err(Refusal::Damaged(index));
        }
        let mut name: Vec<u8> = entry.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(Some(Found { name, kind, offset, length }))
    }

    /// All objects, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`Refusal::Damaged`].
    pub fn list(&self) -> Result<Vec<Found>, Refusal> {
        let mut found = Vec::new();
        while let Some(next) = self.read(found.len())? {
            found.push(next);
        }
        Ok(found)
    }

    /// The object of that name.
    ///
    /// # Errors
    ///
    /// [`Refusal::Damaged`].
    pub fn find(&self, name: &[u8]) -> Result<Option<Found>, Refusal> {
        Ok(self.list()?.into_iter().find(|found| found.name == name))
    }

    /// The object of that name, which is made if there is none; or what to sleep on.
    ///
    /// `name` has 1 to [`LONGEST_NAME`] bytes, none of them 0, and `kind` is not 0. `initialise` makes the object at an
    /// offset, whatever is there.
    pub fn find_or_add<E>(
        &self,
        caller: Caller<'_>,
        ask: bool,
        name: &[u8],
        (kind, length): (u32, usize),
        initialise: impl FnOnce(usize) -> Result<(), E>,
    ) -> Attempt<'a, Result<Result<Found, Refusal>, E>> {
        // Most who come find it, and then nobody need wait for anybody.
        match self.find(name) {
            Ok(None) => {}
            Ok(Some(found)) => return Attempt::Done(Ok(Ok(found))),
            Err(refusal) => return Attempt::Done(Ok(Err(refusal))),
        }
        match self.directory.guard.attempt(caller, if ask { Dead::TakeOver } else { Dead::DontAsk }) {
            Attempt::Wait(sleep) => return Attempt::Wait(sleep),
            Attempt::Done(_) => {}
        }
        let added = match self.place(name, length) {
            Ok(Ok((index, offset))) => initialise(offset).map(|()| Ok(self.commit(index, name, kind, offset, length))),
            Ok(Err(found)) => Ok(Ok(found)),
            Err(refusal) => Ok(Err(refusal)),
        };
        // It fails only when somebody has overwritten the word, and then the guard is not the caller's to give back.
        let _ = self.directory.guard.release(caller.tag);
        Attempt::Done(added)
    }

    /// Wakes another one that waits for the guard: for one that gives up, and may have been woken just then.
    pub fn pass_on(&self) {
        self.directory.guard.pass_on();
    }

    /// The entry and the offset of a new object; or the object that is there. The caller has the guard.
    fn place(&self, name: &[u8], length: usize) -> Result<Result<(usize, usize), Found>, Refusal> {
        let found = self.list()?;
        let (index, end) = (found.len(), found.iter().map(|found| found.offset + found.length).max());
        if let Some(same) = found.into_iter().find(|found| found.name == name) {
            return Ok(Err(same));
        }
        if index == self.entries.len() {
            return Err(Refusal::NoEntry);
        }
        let offset = end.unwrap_or_else(|| self.start()).next_multiple_of(64);
        let left = self.body_size.saturating_sub(offset);
        if length > left || u32::try_from(offset + length).is_err() {
            return Err(Refusal::NoRoom(left));
        }
        Ok(Ok((index, offset)))
    }

    fn commit(&self, index: usize, name: &[u8], kind: u32, offset: usize, length: usize) -> Found {
        let entry = &self.entries[index];
        for (at, word) in entry.name.iter().enumerate() {
            let mut eight = [0; 8];
            let part = name.get(at * 8..).unwrap_or_default();
            let part = &part[..part.len().min(8)];
            eight[..part.len()].copy_from_slice(part);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
        // Both fit: `place` has looked.
        entry.offset.store(offset as u32, Ordering::Relaxed);
        entry.length.store(length as u32, Ordering::Relaxed);
        // Release [directory.entry]
        entry.kind.store(kind, Ordering::Release);
        Found { name: name.to_vec(), kind, offset, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::{Living, Tag};

    /// Participant 0 lives.
    struct First;

    impl Living for First {
        fn is_present(&self, _tag: Tag) -> bool {
            true
        }

        fn is_alive(&self, tag: Tag) -> bool {
            tag.index() == 0
        }
    }

    fn caller() -> Caller<'static> {
        Caller { tag: Tag::new(0, 1), living: &First }
    }

    fn add(table: &Table<'_>, name: &str, length: usize) -> Result<Found, Refusal> {
        match table.find_or_add(caller(), true, name.as_bytes(), (1, length), |_| Ok::<(), ()>(())) {
            Attempt::Done(added) => added.expect("nothing fails"),
            Attempt::Wait(_) => unreachable!("nobody lives who could have the guard"),
        }
    }

    #[test]
    fn objects_lie_one_behind_the_other_until_there_is_no_room_or_no_entry() {
        let (directory, entries) = (Directory::new(), [(); 3].map(|()| Entry::new()));
        let start = 64 + 3 * 64;
        let table = Table::new(&directory, &entries, start + 300);
        assert_eq!(add(&table, "a", 301), Err(Refusal::NoRoom(300)));
        assert_eq!(add(&table, "a", usize::MAX), Err(Refusal::NoRoom(300)));
        let longest = "n".repeat(LONGEST_NAME);
        let (first, second) = (add(&table, &longest, 65).unwrap(), add(&table, "b", 1).unwrap());
        assert_eq!((first.offset, first.length, second.offset), (start, 65, start + 128));
        assert_eq!(add(&table, "c", 109), Err(Refusal::NoRoom(108)));
        assert_eq!(add(&table, "c", 108).unwrap().offset, start + 192);
        assert_eq!(add(&table, "d", 0), Err(Refusal::NoEntry));
        assert_eq!(add(&table, &longest, 9).unwrap(), first, "what is there stays as it is");
        assert_eq!(table.find(&longest.as_bytes()[1..]), Ok(None));
        assert_eq!(table.list().unwrap().len(), 3);
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing() {
        let (directory, entries) = (Directory::new(), [(); 2].map(|()| Entry::new()));
        let table = Table::new(&directory, &entries, 1 << 10);
        let failed = table.find_or_add(caller(), false, b"a", (1, 64), |_| Err("no"));
        assert!(matches!(failed, Attempt::Done(Err("no"))));
        assert_eq!(table.find(b"a"), Ok(None));
        // As far as one came that died before the last store: all but the kind, and it has the guard.
        assert!(directory.guard.try_acquire(Tag::new(9, 1)));
        entries[0].name[0].store(u64::from_le_bytes(*b"half\0\0\0\0"), Ordering::Relaxed);
        entries[0].offset.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(table.list(), Ok(vec![]));
        let found = add(&table, "whole", 64).unwrap();
        assert_eq!(table.list(), Ok(vec![found]));
    }

    #[test]
    fn an_entry_that_does_not_lie_inside_the_body_is_refused_and_not_built_upon() {
        let (directory, entries) = (Directory::new(), [(); 2].map(|()| Entry::new()));
        let body = 1 << 10;
        let table = Table::new(&directory, &entries, body);
        let found = add(&table, "a", 64).unwrap();
        for (offset, length) in [(0, 64), (found.offset - 64, 64), (found.offset + 1, 64), (body, 64), (64 << 20, 0)] {
            entries[0].offset.store(offset as u32, Ordering::Relaxed);
            entries[0].length.store(length, Ordering::Relaxed);
            assert_eq!(table.find(b"a"), Err(Refusal::Damaged(0)), "{offset}, {length}");
            assert_eq!(add(&table, "b", 64), Err(Refusal::Damaged(0)));
        }
        entries[0].offset.store(found.offset as u32, Ordering::Relaxed);
        for length in [u32::MAX, (body - found.offset) as u32 + 1] {
            entries[0].length.store(length, Ordering::Relaxed);
            assert_eq!(table.list(), Err(Refusal::Damaged(0)));
        }
        entries[0].length.store(64, Ordering::Relaxed);
        assert_eq!(table.find(b"a"), Ok(Some(found)));
    }
}
