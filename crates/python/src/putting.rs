//! Putting many jobs into a queue, a stretch at a time.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::{PyBytesMethods, PyList};

use crate::arguments::Timeout;
use crate::depot::{Depot, Put, Route};
use crate::exhaustion;
use crate::small::STRETCH;
use crate::view::{Message, Source};

/// Jobs that were put, and of which nobody was told yet.
#[derive(Default)]
struct Untold {
    jobs: Cell<u64>,
    bytes: Cell<u64>,
    last: Cell<u64>,
}

impl Untold {
    fn add(&self, jobs: u64, bytes: u64, last: u64) {
        self.jobs.set(self.jobs.get() + jobs);
        self.bytes.set(self.bytes.get() + bytes);
        self.last.set(last);
    }

    fn tell(&self, depot: &Depot) -> PyResult<()> {
        let jobs = self.jobs.take();
        if jobs > 0 {
            let store = depot.store()?;
            store.announce(0, self.last.get(), jobs > 1);
            store.count_puts(depot.object.tag()?, jobs, self.bytes.take());
        }
        Ok(())
    }
}

/// Putting many.
pub(crate) struct Putting<'a> {
    depot: &'a Depot,
    timeout: Timeout,
    done: Cell<usize>,
    untold: Untold,
}

impl<'a> Putting<'a> {
    pub(crate) fn new(depot: &'a Depot, timeout: Timeout) -> Self {
        Self { depot, timeout, done: Cell::new(0), untold: Untold::default() }
    }

    /// Puts all of them, as far as that can be done; returns how many were put, and what came in between.
    pub(crate) fn all(&self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<(usize, PyResult<()>)> {
        let ended = match values.cast_exact::<PyList>() {
            Ok(list) => self.list(py, list),
            Err(_) => self.each(py, values),
        };
        self.untold.tell(self.depot)?;
        Ok((self.done.get(), ended))
    }

    fn one(&self, py: Python<'_>, message: &Message<'_>, flags: u16) -> PyResult<()> {
        let route = Route { flags, ..Route::default() };
        let put = self.depot.put_quietly(py, message, route, self.timeout, || self.untold.tell(self.depot))?;
        if let Some(Put { seq, .. }) = put {
            self.count(1, message.len() as u64, seq);
        }
        Ok(())
    }

    fn count(&self, jobs: usize, bytes: u64, last: u64) {
        self.done.set(self.done.get() + jobs);
        self.untold.add(jobs as u64, bytes, last);
    }

    /// Those of a list, a stretch at a time.
    fn list(&self, py: Python<'_>, list: &Bound<'_, PyList>) -> PyResult<()> {
        let mut next = 0;
        // Making messages can run any code, also such as shortens the list.
        while next < list.len() {
            let end = next + STRETCH;
            while next < list.len().min(end) {
                next += self.as_they_are(list, next, end)?;
                if next < list.len().min(end) {
                    let (message, flags) = self.depot.message(&list.get_item(next)?)?;
                    self.any(py, &message, flags)?;
                    next += 1;
                }
            }
            self.untold.tell(self.depot)?;
            py.check_signals()?;
        }
        Ok(())
    }

    /// Puts those of a list from `next` on that are small, and are sent as they are; returns how many.
    fn as_they_are(&self, list: &Bound<'_, PyList>, next: usize, end: usize) -> PyResult<usize> {
        let mut run = self.depot.begin()?;
        // All are filled before the first counts: the ring is what all producers write, and so they get in each other's way
        // there once, and not at every message.
        let mut filled = Vec::with_capacity(end - next);
        for at in next..list.len().min(end) {
            let Ok(value) = list.get_item(at) else { break };
            let Some((bytes, flags)) = self.depot.as_it_is(&value) else { break };
            let Some(grip) = run.fill(bytes, flags, filled.len() as u64) else { break };
            filled.push((grip, bytes.len() as u64));
        }
        let (mut jobs, mut size, mut last, mut filled) = (0, 0, 0, filled.into_iter());
        for (grip, bytes) in filled.by_ref() {
            let Some(seq) = run.commit(grip) else { break };
            (jobs, size, last) = (jobs + 1, size + bytes, seq);
        }
        // When one may not count, those behind it may not, either: they would get in front of it.
        filled.for_each(|(grip, _)| run.abandon(grip));
        if jobs > 0 {
            self.count(jobs, size, last);
        }
        Ok(jobs)
    }

    fn any(&self, py: Python<'_>, message: &Message<'_>, flags: u16) -> PyResult<()> {
        if let Message::One(Source::Bytes(bytes)) = message
            && let Some(seq) = self.depot.begin()?.put(bytes.as_bytes(), flags)
        {
            self.count(1, message.len() as u64, seq);
            return Ok(());
        }
        self.one(py, message, flags)
    }

    /// Those of anything, one by one: what was taken from it and cannot be put is told with the error.
    fn each(&self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<()> {
        for value in values.try_iter()? {
            let value = value?;
            let (message, flags) = self.depot.message(&value)?;
            self.one(py, &message, flags).inspect_err(|error| {
                if exhaustion::is_full(py, error) {
                    let told = error.value(py);
                    // The error itself matters more.
                    let _ = told.setattr("published", self.done.get());
                    let _ = told.setattr("unpublished", (&value,));
                }
            })?;
            if self.untold.jobs.get() >= STRETCH as u64 {
                self.untold.tell(self.depot)?;
                py.check_signals()?;
            }
        }
        Ok(())
    }
}
