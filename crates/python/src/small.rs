//! Small messages, by the shortest way: no more than a place, a copy and an exchange or two.

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use samemap_core::bell::wall_clock;
use samemap_core::job::Label;
use samemap_core::queue::{Grip, Memory, Next, Shut, Store};
use samemap_core::tag::Tag;

use crate::depot::{Depot, Way, raw_flag};
use crate::drive::raise;
use crate::view::{InJob, bytes_with};

/// So many at once: of those that are put before those who wait are told, of those that are got before they are copied.
pub(crate) const STRETCH: usize = 64;

/// Small messages that are put in a row.
pub(crate) struct Run<'a> {
    depot: &'a Depot,
    store: Store<'a>,
    tag: Tag,
    memory: Memory,
    moment: u64,
}

impl Run<'_> {
    /// Puts a small message, and tells nobody; returns its number. `None`: it is not small, or there is no room, or something
    /// is wrong; then it is still to be put, by what can wait or say what it is.
    #[inline(always)]
    pub(crate) fn put(&mut self, bytes: &[u8], flags: u16) -> Option<u64> {
        let grip = self.fill(bytes, flags, 0)?;
        self.commit(grip)
    }

    /// Fills a place with a small message; `None` as for [`put`](Self::put). So many are `filled` and do not count yet.
    #[inline(always)]
    pub(crate) fn fill(&mut self, bytes: &[u8], flags: u16, filled: u64) -> Option<Grip> {
        let Self { depot, store, tag, memory, moment } = self;
        let (storage, segment) = (&depot.storage, depot.segment());
        if bytes.len() > storage.shape().cell || store.shut() != Shut::Open || store.seems_full(memory, filled) {
            return None;
        }
        let grip = store.take_place(memory, *tag)?;
        let label = Label { length: bytes.len() as u64, first: 0, blocks: 0, lane: 0, flags, number: 0 };
        let written = InJob(storage, segment, grip.at, label).fill(bytes);
        if written.and_then(|()| segment.check()).is_err() {
            self.abandon(grip);
            return None;
        }
        store.label(grip, label, *moment);
        storage.will_write(segment, grip.at);
        Some(grip)
    }

    /// Has a message that was filled count, and returns its number; `None` when it may not, and its place is given up.
    #[inline(always)]
    pub(crate) fn commit(&mut self, grip: Grip) -> Option<u64> {
        let seq = self.store.commit(&mut self.memory, 0, grip, self.tag).ok();
        if seq.is_none() {
            self.abandon(grip);
        }
        seq
    }

    /// Gives up a place that was filled.
    #[cold]
    pub(crate) fn abandon(&self, grip: Grip) {
        self.store.abandon(grip, self.tag);
    }

    /// Tells of those that were put.
    #[inline(always)]
    pub(crate) fn tell(&self, jobs: u64, bytes: u64, last: u64) {
        self.store.announce(0, last, jobs > 1);
        self.store.count_puts(self.tag, jobs, bytes);
    }
}

impl Drop for Run<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.depot.memory.note(&self.memory);
    }
}

/// What came of getting a job in one step.
pub(crate) enum Got {
    /// What was put.
    Value(Py<PyAny>),
    /// There is no job.
    Nothing,
    /// It must be taken first.
    Another,
}

impl Depot {
    /// Begins to put small messages, as long as nothing stands in the way and no other code runs in between.
    #[inline(always)]
    pub(crate) fn begin(&self) -> PyResult<Run<'_>> {
        let (tag, store) = (self.object.tag()?, self.store()?);
        Ok(Run { depot: self, store, tag, memory: self.memory.recall(), moment: wall_clock() })
    }

    /// Puts a small message if nothing stands in the way.
    #[inline(always)]
    pub(crate) fn put_small(&self, bytes: &[u8], flags: u16) -> PyResult<bool> {
        let mut run = self.begin()?;
        let seq = run.put(bytes, flags);
        if let Some(seq) = seq {
            run.tell(1, bytes.len() as u64, seq);
        }
        Ok(seq.is_some())
    }

    /// The bytes of an object that is sent as it is, and what says so.
    #[inline(always)]
    pub(crate) fn as_it_is<'v>(&self, value: &'v Bound<'_, PyAny>) -> Option<(&'v [u8], u16)> {
        let bytes = if self.way == Way::Codec { None } else { value.cast_exact::<PyBytes>().ok() };
        bytes.map(|bytes| (bytes.as_bytes(), raw_flag(self.way == Way::Pickle)))
    }

    /// Whether a small job is bytes as they are, in its cell.
    #[inline(always)]
    fn is_as_it_was(&self, label: Label) -> bool {
        label.length <= self.storage.shape().cell as u64 && self.is_raw(label.flags)
    }

    #[inline(always)]
    fn copy_small<'py>(&self, py: Python<'py>, grip: Grip, label: Label) -> PyResult<Bound<'py, PyBytes>> {
        let segment = self.segment();
        bytes_with(py, label.length as usize, |place| {
            self.storage.read(segment, grip.at, label, place).map_err(|error| raise(segment, &error))
        })
    }

    /// Gets the next job in one step, if it is bytes as they are, and few; says what it is.
    #[inline]
    pub(crate) fn get(&self, py: Python<'_>, store: &Store<'_>, tag: Tag) -> PyResult<Got> {
        if self.way == Way::Codec {
            return Ok(Got::Another);
        }
        let segment = self.segment();
        let mut memory = self.memory.recall();
        let found = loop {
            // Not the very next one: where there is another consumer, that one is about to have it.
            let (found, seq, label) = match store.find_small(&mut memory, 2, |at| self.storage.will_read(segment, at)) {
                Next::Small(found, seq, label) => (found, seq, label),
                Next::Nothing => break Got::Nothing,
                Next::Another => break Got::Another,
            };
            if !self.is_as_it_was(label) {
                break Got::Another;
            }
            let bytes = match self.copy_small(py, found, label) {
                Ok(bytes) => bytes,
                Err(error) if error.is_instance_of::<PyMemoryError>(py) => return Err(error),
                // What cannot be read is told of by whoever takes it.
                Err(_) => break Got::Another,
            };
            if store.win(found, tag) {
                store.tell_won(&mut memory, seq);
                break Got::Value(bytes.into_any().unbind());
            }
        };
        self.memory.note(&memory);
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(found)
    }

    /// Gets up to `most` jobs that are bytes as they are, and few; says how many, and whether there are no more.
    pub(crate) fn get_copied(
        &self,
        py: Python<'_>,
        (store, tag): (&Store<'_>, Tag),
        most: usize,
        found: &Bound<'_, PyList>,
    ) -> PyResult<(usize, bool)> {
        if self.way == Way::Codec {
            return Ok((0, false));
        }
        let (mut copied, mut leased) = (0, Vec::with_capacity(most.min(STRETCH)));
        while copied < most {
            // All are leased before the first is copied: so consumers get in each other's way once, and not at every job.
            let ended = self.lease_small(store, tag, (most - copied).min(STRETCH), &mut leased);
            let (count, done) = self.copy_leased(py, store, tag, &leased, found);
            copied += count;
            leased.clear();
            match (done, ended) {
                // What there is matters more than the error, which comes again.
                (Err(error), _) if found.is_empty() => return Err(error),
                (Err(_), _) => return Ok((copied, false)),
                (Ok(()), Some(next)) => {
                    store.tell_freed();
                    return Ok((copied, next == Next::Nothing));
                }
                // Who waits for room was woken for every quarter of the queue.
                (Ok(()), None) => store.tell_finished(),
            }
        }
        Ok((most, false))
    }

    /// Leases small jobs until there are `most`; or says what comes next instead.
    #[inline]
    fn lease_small(&self, store: &Store<'_>, tag: Tag, most: usize, leased: &mut Vec<(Grip, Label)>) -> Option<Next> {
        let (segment, mut memory, now) = (self.segment(), self.memory.recall(), wall_clock());
        let mut ended = None;
        while leased.len() < most && ended.is_none() {
            // Further than where one is got at a time: here it takes less until it is wanted.
            match store.find_small(&mut memory, 6, |at| self.storage.will_read(segment, at)) {
                Next::Small(found, seq, label) if self.is_as_it_was(label) => {
                    leased.extend(store.lease_small(&mut memory, (found, seq), tag, now).map(|grip| (grip, label)));
                }
                Next::Nothing => ended = Some(Next::Nothing),
                _ => ended = Some(Next::Another),
            }
        }
        self.memory.note(&memory);
        ended
    }

    /// Copies what was leased, and ends the leases; or gives back what could not be copied. Says how many were.
    fn copy_leased(
        &self,
        py: Python<'_>,
        store: &Store<'_>,
        tag: Tag,
        leased: &[(Grip, Label)],
        found: &Bound<'_, PyList>,
    ) -> (usize, PyResult<()>) {
        let (segment, mut copied) = (self.segment(), 0);
        let done = leased.iter().try_for_each(|&(grip, label)| {
            found.append(self.copy_small(py, grip, label)?)?;
            copied += 1;
            Ok(())
        });
        // Before they are gone: whoever waits until all is done must not miss it.
        store.count_gets(tag, copied as u64);
        for &(grip, label) in &leased[..copied] {
            if let Some(Some(held)) = store.finish(grip, label, tag) {
                store.clear(held, tag);
            }
        }
        for &(grip, _) in &leased[copied..] {
            store.give_back(grip, tag, false);
        }
        (copied, done.and_then(|()| segment.check().map_err(|error| raise(segment, &error))))
    }
}
