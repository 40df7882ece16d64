//! Small messages, by the shortest way: no more than a place, a copy and an exchange or two.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use samemap_core::bell::wall_clock;
use samemap_core::job::Label;
use samemap_core::queue::{Memory, Next, Shut, Store};
use samemap_core::tag::Tag;

use crate::depot::{Depot, RAW, Way};
use crate::drive::raise;
use crate::view::{InJob, bytes_with};

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
        let Self { depot, store, tag, memory, moment } = self;
        let (storage, segment) = (&depot.storage, depot.segment());
        if bytes.len() > storage.shape().cell || store.shut() != Shut::Open || store.seems_full(memory) {
            return None;
        }
        let grip = store.take_place(memory, *tag)?;
        let label = Label { length: bytes.len() as u64, first: 0, blocks: 0, lane: 0, flags, number: 0 };
        let written = InJob(storage, segment, grip.at, label).fill(bytes);
        let seq = written.and_then(|()| segment.check()).ok().and_then(|()| {
            store.label(grip, label, *moment);
            store.commit(memory, 0, grip, *tag).ok()
        });
        if seq.is_some() {
            storage.will_write(segment, grip.at);
        } else {
            store.abandon(grip, *tag);
        }
        seq
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
        bytes.map(|bytes| (bytes.as_bytes(), if self.way == Way::Pickle { RAW } else { 0 }))
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
            let (found, seq, label) = match store.find_small(&mut memory, |at| self.storage.will_read(segment, at)) {
                Next::Small(found, seq, label) => (found, seq, label),
                Next::Nothing => break Got::Nothing,
                Next::Another => break Got::Another,
            };
            if label.length > self.storage.shape().cell as u64 || self.way == Way::Pickle && label.flags & RAW == 0 {
                break Got::Another;
            }
            let copied =
                bytes_with(py, label.length as usize, |place| self.storage.read(segment, found.at, label, place));
            // What cannot be read so is told of by whoever takes it.
            let Ok(bytes) = copied? else { break Got::Another };
            if store.win(found, tag) {
                store.tell_won(&mut memory, seq);
                break Got::Value(bytes.into_any().unbind());
            }
        };
        self.memory.note(&memory);
        segment.check().map_err(|error| raise(segment, &error))?;
        Ok(found)
    }

    /// Gets up to `most` jobs that can be had in one step each; says how many, and whether there are no more.
    pub(crate) fn get_copied(
        &self,
        py: Python<'_>,
        (store, tag): (&Store<'_>, Tag),
        most: usize,
        found: &Bound<'_, PyList>,
    ) -> PyResult<(usize, bool)> {
        for copied in 0..most {
            match self.get(py, store, tag) {
                Ok(Got::Value(value)) => found.append(value)?,
                Ok(Got::Nothing) => return Ok((copied, true)),
                // What there is matters more than the error, which comes again.
                Err(error) if found.is_empty() => return Err(error),
                Ok(Got::Another) | Err(_) => return Ok((copied, false)),
            }
        }
        Ok((most, false))
    }
}
