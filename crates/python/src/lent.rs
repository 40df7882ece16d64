//! Places of queues and services that are filled where they are, and then sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use samemap_core::bell::wall_clock;
use samemap_core::job::Label;
use samemap_core::queue::{Grip, Unput};
use samemap_core::tag::Tag;

use crate::arguments::Timeout;
use crate::callback;
use crate::depot::{Depot, Route};
use crate::drive::raise;
use crate::exhaustion;
use crate::holding::Holding;
use crate::outlet::damaged;
use crate::view::InJob;

/// A place that this process fills, and sends or gives up.
pub(crate) struct Lent {
    depot: Arc<Depot>,
    pub(crate) holding: Arc<Holding>,
    grip: Grip,
    label: Label,
    tag: Tag,
}

impl Lent {
    /// A place for a message of that many bytes, which begins with `head`; waits while there is none. `None`: nobody waits for
    /// it any more.
    pub(crate) fn new(
        py: Python<'_>,
        depot: &Arc<Depot>,
        (length, head): (usize, &[u8]),
        route: Route,
        timeout: Timeout,
    ) -> PyResult<Option<Self>> {
        let Some((grip, label, tag)) = depot.lend(py, length, route, timeout)? else { return Ok(None) };
        let (segment, handle) = (depot.segment(), depot.object.handle.again());
        let handle = handle.map_err(|error| raise(depot.segment(), &error))?;
        let holding = Holding::new(handle, depot.storage, tag, grip, label);
        // From here on it is given up when nothing sees it any more.
        holding.clear_later(grip);
        let written = InJob(&depot.storage, segment, grip.at, label).fill(head);
        written.and_then(|()| segment.check()).map_err(|error| raise(segment, &error))?;
        Ok(Some(Self { depot: Arc::clone(depot), holding, grip, label, tag }))
    }

    /// Sends it with those flags, and waits while it may not be sent; returns its place and number. `None`: nobody waits for it
    /// any more.
    ///
    /// It is still to be sent when this fails.
    pub(crate) fn send(
        &self,
        py: Python<'_>,
        flags: u16,
        reply: Option<(u16, u32)>,
        timeout: Timeout,
    ) -> PyResult<Option<(Grip, u64)>> {
        let (depot, segment) = (&*self.depot, self.depot.segment());
        let label = Label { flags: self.label.flags | flags, ..self.label };
        let (lane, number) = (usize::from(label.lane), label.number);
        let mut over = false;
        loop {
            let (tag, store) = (depot.object.tag()?, depot.store()?);
            if tag != self.tag {
                return Err(PyValueError::new_err("what was lent before a fork is its parent's: ask for another loan"));
            }
            if !depot.admits(py, &store, lane, number)? {
                return Ok(None);
            }
            let Some(filling) = store.resume(self.grip, tag) else { return Err(damaged(segment)) };
            store.label(filling, label, wall_clock());
            if let Some((lane, number)) = reply {
                store.expect_replies(filling, lane, number);
            }
            let is_seen = Arc::strong_count(&self.holding) > 1;
            if is_seen {
                // Before others have it, this process among them.
                store.keep_views(filling, tag);
                self.holding.make_known();
            }
            match depot.remembering(|memory| store.commit(memory, lane, filling, tag)) {
                Ok(seq) => {
                    self.holding.sent(is_seen);
                    store.announce(lane, seq, false);
                    store.count_puts(tag, 1, self.label.length);
                    return Ok(Some((filling, seq)));
                }
                Err(refused) => {
                    store.lend(filling, self.label, wall_clock(), tag);
                    match refused {
                        Unput::Full if over => return Err(exhaustion::full_queue(py, segment, &store)),
                        Unput::Full => {}
                        Unput::Shut => return Err(exhaustion::shut_down(py, segment)),
                        Unput::Damaged => return Err(damaged(segment)),
                    }
                }
            }
            over = depot.wait_for_space(py, (lane, number), 0, timeout)?;
        }
    }
}

impl Depot {
    /// Holds a place for a message of that many bytes, and waits while there is none. `None`: nobody waits for it any more.
    fn lend(
        &self,
        py: Python<'_>,
        length: usize,
        route: Route,
        timeout: Timeout,
    ) -> PyResult<Option<(Grip, Label, Tag)>> {
        if length > self.storage.longest() {
            return Err(self.too_large(length));
        }
        let mut over = false;
        loop {
            let (tag, store) = (self.object.tag()?, self.store()?);
            if !self.admits(py, &store, route.lane, route.number)? {
                return Ok(None);
            }
            if !store.is_full(route.lane)
                && let Some((grip, label)) = self.remembering(|memory| Self::hold(&store, memory, tag, length, route))
            {
                let lent = store.lend(grip, label, wall_clock(), tag);
                return lent.map(|lent| Some((lent, label, tag))).ok_or_else(|| damaged(self.segment()));
            }
            if over {
                return Err(exhaustion::full_queue(py, self.segment(), &store));
            }
            over = self.wait_for_space(py, (route.lane, route.number), self.storage.blocks_for(length), timeout)?;
        }
    }
}

/// What is lent for calls or replies, and goes out when its frame is sent.
#[derive(Default)]
pub(crate) struct Drafts {
    /// How many there are: most calls have none.
    count: AtomicUsize,
    /// Held only while the interpreter is attached, and never while anything waits.
    drafts: Mutex<Vec<Draft>>,
}

/// A place, and what the caller has of it.
pub(crate) struct Draft {
    lent: Lent,
    frame: Py<PyAny>,
    codec: Py<PyAny>,
}

impl Draft {
    /// Keeps the frame from being written to, as far as that can be done: others read it.
    pub(crate) fn seal(&self, py: Python<'_>) -> PyResult<()> {
        callback::method(self.codec.bind(py), intern!(py, "seal"), self.frame.bind(py)).map(drop)
    }

    /// Seals it, and sends it as [`Lent::send`] does.
    pub(crate) fn send(
        &self,
        py: Python<'_>,
        flags: u16,
        reply: Option<(u16, u32)>,
        timeout: Timeout,
    ) -> PyResult<Option<(Grip, u64)>> {
        self.seal(py)?;
        self.lent.send(py, flags, reply, timeout)
    }
}

impl Drafts {
    pub(crate) fn add(&self, lent: Lent, frame: Py<PyAny>, codec: Py<PyAny>) {
        self.put_back(Draft { lent, frame, codec });
    }

    /// Does something with one that was taken; it is still to be sent when that fails.
    pub(crate) fn using<T>(&self, draft: Draft, work: impl FnOnce(&Draft) -> PyResult<T>) -> PyResult<T> {
        let done = work(&draft);
        if done.is_err() {
            self.put_back(draft);
        }
        done
    }

    fn put_back(&self, draft: Draft) {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner).push(draft);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the one whose frame this is.
    #[inline]
    pub(crate) fn take(&self, frame: &Bound<'_, PyAny>) -> Option<Draft> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut drafts = self.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = drafts.iter().position(|draft| draft.frame.is(frame))?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(drafts.swap_remove(at))
    }
}
