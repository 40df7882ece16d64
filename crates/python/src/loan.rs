//! `samemap.Loan`: a place for a message that is filled where it is.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyByteArray, PyType};

use crate::arguments::Timeout;
use crate::callback;
use crate::depot::{Depot, Route};
use crate::frames::{Blank, Place};
use crate::lent::{Drafts, Lent};
use crate::outlet::Held;
use crate::topic::Topic;

/// A place for a message that is filled where it is, for a ``with`` block.
///
/// What a topic or a queue lends is sent at the end of the block, and abandoned when the block raises. What is lent for a call
/// is sent by calling with it, and for a reply by returning or yielding it.
///
/// Attributes:
///     seq: The number of the message, once it is sent; 0 before that, when it was dropped, and for calls and replies.
#[pyclass(frozen, module = "samemap")]
pub(crate) struct Loan {
    lender: Lender,
    /// What makes the frame of the bytes.
    codec: Py<PyAny>,
    /// Bytes before those of the frame.
    skipped: usize,
    length: usize,
    state: Mutex<State>,
}

/// What becomes of it.
pub(crate) enum Lender {
    /// It is published.
    Topic(Py<Topic>),
    /// It is put, within that time.
    Queue(Timeout),
    /// It is sent when its frame is; if not, it is given up at the end of the block, or where that is `kept`, when the request
    /// is over.
    Call { drafts: Arc<Drafts>, kept: bool },
}

/// What is lent.
pub(crate) enum Borrowed {
    Slot(Held),
    Job(Lent),
    /// Nothing: the message will be dropped.
    Nothing,
}

enum State {
    /// To be begun.
    New(Borrowed),
    /// Being filled.
    Open { slot: Option<Arc<Held>>, job: Option<Lent>, frame: Py<PyAny> },
    /// Sent as this number, 0 when it was dropped; or abandoned.
    Over(u64),
}

impl Loan {
    pub(crate) fn new(lender: Lender, borrowed: Borrowed, codec: Py<PyAny>, skipped: usize, length: usize) -> Self {
        Self { lender, codec, skipped, length, state: Mutex::new(State::New(borrowed)) }
    }

    /// A loan of a job's place, of which the caller fills `length` bytes behind `head`; waits while there is none.
    pub(crate) fn of_job(
        py: Python<'_>,
        lender: Lender,
        depot: &Arc<Depot>,
        route: Route,
        (length, head): (usize, &[u8]),
        codec: Py<PyAny>,
        timeout: Timeout,
    ) -> PyResult<Self> {
        let lent = Lent::new(py, depot, (length.saturating_add(head.len()), head), route, timeout)?;
        Ok(Self::new(lender, lent.map_or(Borrowed::Nothing, Borrowed::Job), codec, head.len(), length))
    }

    fn swap(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), state)
    }

    fn seal(&self, py: Python<'_>, frame: &Py<PyAny>) -> PyResult<()> {
        callback::method(self.codec.bind(py), intern!(py, "seal"), frame.bind(py)).map(drop)
    }
}

#[pymethods]
impl Loan {
    #[getter]
    fn seq(&self) -> u64 {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Over(seq) => seq,
            _ => 0,
        }
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (slot, job) = match self.swap(State::Over(0)) {
            State::New(Borrowed::Slot(held)) => (Some(Arc::new(held)), None),
            State::New(Borrowed::Job(lent)) => (None, Some(lent)),
            State::New(Borrowed::Nothing) => (None, None),
            other => {
                self.swap(other);
                return Err(PyRuntimeError::new_err("a loan is for one with block: ask for another one"));
            }
        };
        let place = match (&slot, &job) {
            (Some(held), _) => Some(Place::Slot(Arc::clone(held))),
            (None, Some(lent)) => Some(Place::Job(Arc::clone(&lent.holding))),
            (None, None) => None,
        };
        let buffer = match place {
            Some(place) => Py::new(py, Blank { place, skipped: self.skipped, length: self.length })?.into_any(),
            // What is dropped is written somewhere, too.
            None => PyByteArray::new_with(py, self.length, |_| Ok(()))?.into_any().unbind(),
        };
        let frame = callback::method(self.codec.bind(py), intern!(py, "frame"), buffer.bind(py))?.unbind();
        let job = match (&self.lender, job) {
            (Lender::Call { drafts, .. }, Some(lent)) => {
                drafts.add(lent, frame.clone_ref(py), self.codec.clone_ref(py));
                None
            }
            (_, job) => job,
        };
        self.swap(State::Open { slot, job, frame: frame.clone_ref(py) });
        Ok(frame)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        raised: Option<Bound<'_, PyType>>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let State::Open { slot, job, frame } = self.swap(State::Over(0)) else { return Ok(()) };
        if let Lender::Call { drafts, kept } = &self.lender {
            if (raised.is_some() || !kept)
                && let Some(unsent) = drafts.take(frame.bind(py))
            {
                unsent.seal(py)?;
            }
            return Ok(());
        }
        // Read-only from now on, as far as that can be said: others read it.
        self.seal(py, &frame)?;
        drop(frame);
        if raised.is_some() {
            return Ok(());
        }
        let seq = match (&self.lender, slot, job) {
            (Lender::Topic(topic), Some(held), _) => topic.get().outlet.publish_held(&held, self.length)?,
            (Lender::Queue(timeout), _, Some(lent)) => lent.send(py, 0, None, *timeout)?.map_or(0, |(_, seq)| seq),
            _ => 0,
        };
        self.swap(State::Over(seq));
        Ok(())
    }

    fn __repr__(&self) -> String {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::New(_) => format!("<samemap.Loan of {} bytes, for a with block>", self.length),
            State::Open { .. } => format!("<samemap.Loan of {} bytes, being filled>", self.length),
            State::Over(0) => "<samemap.Loan, over>".to_owned(),
            State::Over(seq) => match self.lender {
                Lender::Topic(_) => format!("<samemap.Loan, published as {seq}>"),
                _ => format!("<samemap.Loan, put as {seq}>"),
            },
        }
    }
}
