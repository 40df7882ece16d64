//! `samemap.Job` and `samemap.DeadLetter`: a job that is leased, and one that was delivered too often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use samemap_core::atomic::monotonic;
use samemap_core::bell::now;
use samemap_core::job::Label;
use samemap_core::queue::{Ended, Grip};

use crate::depot::{Depot, Taken};
use crate::errors::in_words;
use crate::exhaustion;
use crate::holding::Content;
use crate::participant::{Participant, seconds};
use crate::queue::end_of;

/// A job that is leased: done at the end of a ``with`` block, delivered again when the block raises.
///
/// What happens to it is also said by `done` and `give_back`; one that is dropped without either is given back.
///
/// Example:
///     >>> from samemap import Queue
///     >>> queue = Queue()
///     >>> queue.put("flaky")
///     >>> try:
///     ...     with queue.lease() as job:
///     ...         raise OSError("no luck")
///     ... except OSError:
///     ...     pass
///     >>> with queue.lease() as job:
///     ...     job.value, job.attempt
///     ('flaky', 2)
#[pyclass(frozen, weakref, subclass, module = "samemap")]
pub(crate) struct Job {
    pub(crate) depot: Arc<Depot>,
    /// The number of the job in its queue, from 1.
    #[pyo3(get)]
    seq: u64,
    /// How often it was delivered, this time included.
    #[pyo3(get)]
    attempt: u32,
    pub(crate) label: Label,
    tag: samemap_core::tag::Tag,
    pub(crate) grip: Grip,
    put: u64,
    origin: Option<samemap_core::tag::Tag>,
    state: Mutex<State>,
}

struct State {
    is: &'static str,
    /// `None` when it is another's.
    content: Option<Content>,
    /// Made when somebody asks for it, once.
    value: Option<Py<PyAny>>,
}

const LEASED: &str = "leased";
const DONE: &str = "done";
const GIVEN_BACK: &str = "given back";
const BURIED: &str = "dead letter";
const LOST: &str = "lost";

impl Job {
    pub(crate) fn new(depot: &Arc<Depot>, taken: Taken) -> PyResult<Self> {
        let Taken { grip, seq, label, content } = taken;
        let (tag, store) = (depot.object.tag()?, depot.store()?);
        store.count_lease(tag);
        let job = &store.jobs()[grip.at];
        let state = Mutex::new(State { is: LEASED, content: Some(content), value: None });
        let (put, origin) = (job.put(), job.origin());
        let attempt = grip.state.attempt();
        Ok(Self { depot: Arc::clone(depot), seq, attempt, label, tag, grip, put, origin, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_mine(&self) -> bool {
        self.depot.segment().seated() == Some(self.tag)
    }

    #[cold]
    fn lost(&self, py: Python<'_>) -> PyErr {
        let store = self.depot.store();
        let now = store.map(|store| in_words(self.depot.segment(), store.jobs()[self.grip.at].state().tag()));
        let who = now.unwrap_or_default();
        let text = format!(
            "the lease of job {} (attempt {}) was over, and it was given to others: now it has {who}; extend() in time, or \
             lease with a longer lease_time",
            self.seq, self.attempt
        );
        exhaustion::lease_lost(py, &text)
    }

    #[cold]
    fn over(&self, py: Python<'_>, is: &'static str) -> PyErr {
        match is {
            LOST => self.lost(py),
            DONE => PyValueError::new_err(format!("job {} is done: it is leased no more", self.seq)),
            _ => exhaustion::lease_lost(py, &format!("job {} is {is}: it is leased no more", self.seq)),
        }
    }

    /// Ends it as `end` says; what is not leased any more stays as it is.
    fn end(&self, end: impl FnOnce(&mut State) -> &'static str) -> &'static str {
        let mut state = self.state();
        if state.is != LEASED {
            return state.is;
        }
        if !self.is_mine() {
            // A fork's child: it is its parent's.
            state.is = LOST;
            state.content = None;
            return LOST;
        }
        let is = end(&mut state);
        state.is = is;
        is
    }

    fn acknowledge(&self, state: &mut State) -> &'static str {
        let (Ok(store), Some(content)) = (self.depot.store(), state.content.take()) else { return LOST };
        match store.acknowledge(self.grip, self.tag) {
            Some(held) => {
                store.count_acknowledged(self.tag);
                content.clear(&store, held, self.tag);
                DONE
            }
            None => {
                content.let_go(&store, self.grip, self.tag);
                // This process may still look at what it was given.
                state.content = Some(content);
                LOST
            }
        }
    }

    fn return_it(&self, state: &mut State, bury: bool) -> &'static str {
        let (Ok(store), Some(content)) = (self.depot.store(), state.content.take()) else { return LOST };
        // The object goes with it, unless somebody else has it, or a part of it.
        state.value = None;
        let has_views = content.has_views();
        let ended = if bury {
            store.put_away(self.grip, self.tag, has_views)
        } else {
            store.give_back(self.grip, self.tag, has_views)
        };
        match ended {
            Ended::Done if has_views => {
                content.let_go(&store, self.grip, self.tag);
                if bury { BURIED } else { GIVEN_BACK }
            }
            Ended::Done => {
                if bury {
                    BURIED
                } else {
                    GIVEN_BACK
                }
            }
            Ended::NotYet => {
                content.return_later(self.grip, bury);
                if bury { BURIED } else { GIVEN_BACK }
            }
            Ended::Lost => {
                content.let_go(&store, self.grip, self.tag);
                state.content = Some(content);
                LOST
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end(|state| self.return_it(state, false));
    }
}

#[pymethods]
impl Job {
    /// What was put.
    ///
    /// Arrays in large messages are read-only views of the queue's memory, which stays theirs for as long as they live.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let content = {
            let state = self.state();
            if let Some(value) = &state.value {
                return Ok(value.clone_ref(py));
            }
            match &state.content {
                Some(Content::Copied(bytes)) => Content::Copied(bytes.clone_ref(py)),
                Some(Content::There(holding)) => Content::There(Arc::clone(holding)),
                None => return Err(self.over(py, state.is)),
            }
        };
        // Not under the lock: it calls Python.
        let value = self.depot.value(py, &content, self.label.flags)?;
        let mut state = self.state();
        if state.content.is_some() {
            state.value = Some(value.clone_ref(py));
        }
        Ok(value)
    }

    /// ``"leased"``, ``"done"``, ``"given back"``, ``"dead letter"``; or ``"lost"``, because its lease was over.
    #[getter(state)]
    fn called(&self) -> PyResult<&'static str> {
        let is = self.state().is;
        if is == LEASED && !self.depot.store()?.is_leased(self.grip) {
            return Ok(LOST);
        }
        Ok(is)
    }

    /// How many seconds ago it was put, to some milliseconds.
    #[getter]
    #[expect(clippy::cast_precision_loss, reason = "seconds are a float, as everywhere in Python")]
    fn age(&self) -> f64 {
        now().saturating_sub(self.put) as f64 / 1e9
    }

    /// When it was put, in seconds since 1970.
    #[getter]
    fn time(&self) -> f64 {
        seconds(self.put)
    }

    /// The process that put it; ``None`` where that is not known any more.
    #[getter]
    fn producer(&self) -> PyResult<Option<Participant>> {
        let Some(tag) = self.origin else { return Ok(None) };
        let segment = self.depot.segment();
        let roster = segment.roster().map_err(|error| crate::drive::raise(segment, &error))?;
        Ok(roster.describe(tag).map(|participant| Participant { participant }))
    }

    /// Seconds until others may get it; ``None`` for never.
    #[getter]
    #[expect(clippy::cast_precision_loss, reason = "seconds are a float, as everywhere in Python")]
    fn expires(&self) -> PyResult<Option<f64>> {
        let until = self.depot.store()?.jobs()[self.grip.at].until();
        Ok(until.map(|until| until.cast_signed().wrapping_sub(monotonic().cast_signed()) as f64 / 1e9))
    }

    /// Say that it is done. Saying so twice is fine.
    ///
    /// Raises:
    ///     LeaseLost: Its time was over, and it was given to others; or it was given back.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        match self.end(|state| self.acknowledge(state)) {
            DONE => self.depot.object.check(),
            other => Err(self.over(py, other)),
        }
    }

    /// Have it delivered again, to whoever comes first. Saying so twice is fine.
    ///
    /// Raises:
    ///     LeaseLost: Its time was over, and it was given to others.
    ///     ValueError: It is done.
    fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        match self.end(|state| self.return_it(state, false)) {
            GIVEN_BACK => Ok(()),
            other => Err(self.over(py, other)),
        }
    }

    /// Put it among the dead letters, whatever its attempts.
    ///
    /// Raises:
    ///     LeaseLost: Its time was over, and it was given to others.
    ///     ValueError: It is done.
    fn bury(&self, py: Python<'_>) -> PyResult<()> {
        match self.end(|state| self.return_it(state, true)) {
            BURIED => Ok(()),
            other => Err(self.over(py, other)),
        }
    }

    /// Have the lease end later.
    ///
    /// Args:
    ///     seconds: From now.
    ///
    /// Raises:
    ///     LeaseLost: Its time was over, and it was given to others.
    ///     ValueError: It is done, or the number makes no sense.
    fn extend(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let until = end_of(Some(seconds))?;
        let is = self.state().is;
        if is != LEASED {
            return Err(self.over(py, is));
        }
        if self.depot.store()?.extend(self.grip, until) { Ok(()) } else { Err(self.lost(py)) }
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        raised: Option<Bound<'_, PyType>>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.state().is != LEASED {
            // The block has said what becomes of it.
            return Ok(());
        }
        if raised.is_some() {
            self.end(|state| self.return_it(state, false));
            return Ok(());
        }
        self.done(py)
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<samemap.Job {} attempt={} {}>", self.seq, self.attempt, self.called()?))
    }
}

/// A job that was delivered as often as it may be, or could not be read.
#[pyclass(frozen, module = "samemap")]
pub(crate) struct DeadLetter {
    depot: Arc<Depot>,
    grip: Grip,
    label: Label,
    /// The number of the job in its queue, from 1.
    #[pyo3(get)]
    seq: u64,
    /// How often it was delivered.
    #[pyo3(get)]
    attempt: u32,
    put: u64,
}

impl DeadLetter {
    pub(crate) fn new(depot: &Arc<Depot>, grip: Grip) -> PyResult<Self> {
        let store = depot.store()?;
        let job = &store.jobs()[grip.at];
        let (label, seq, put) = (job.read(), job.seq(), job.put());
        Ok(Self { depot: Arc::clone(depot), grip, label, seq, attempt: grip.state.attempt(), put })
    }
}

#[pymethods]
impl DeadLetter {
    /// What was put: a copy.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let copied = self.depot.copy(py, self.grip, self.label);
        if !self.depot.store()?.is_leased(self.grip) {
            return Err(PyValueError::new_err(format!(
                "dead letter {} is gone: it was replayed or discarded",
                self.seq
            )));
        }
        self.depot.value(py, &Content::Copied(copied?), self.label.flags)
    }

    /// When it was put, in seconds since 1970.
    #[getter]
    fn time(&self) -> f64 {
        seconds(self.put)
    }

    /// Have it delivered again, as if for the first time.
    ///
    /// Returns:
    ///     Whether it was still there.
    fn replay(&self) -> PyResult<bool> {
        let tag = self.depot.object.tag()?;
        Ok(self.depot.store()?.replay(self.grip, tag))
    }

    /// Throw it away.
    ///
    /// Returns:
    ///     Whether it was still there.
    fn discard(&self) -> PyResult<bool> {
        let tag = self.depot.object.tag()?;
        let store = self.depot.store()?;
        let held = store.take_dead(self.grip, tag);
        if let Some(held) = held {
            store.release(held);
        }
        Ok(held.is_some())
    }

    fn __repr__(&self) -> String {
        format!("<samemap.DeadLetter {} after {} deliveries>", self.seq, self.attempt)
    }
}
