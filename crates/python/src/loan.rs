//! `samemap.Loan`: a slot that is filled in place.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyByteArray, PyType};

use crate::callback;
use crate::frames::Blank;
use crate::outlet::Held;
use crate::topic::Topic;

/// A slot to fill in place, for a ``with`` block: published at its end, abandoned when the block raises.
///
/// Attributes:
///     seq: The number of the message, once it is published; 0 before that, and when it was dropped.
#[pyclass(frozen, module = "samemap")]
pub(crate) struct Loan {
    topic: Py<Topic>,
    length: usize,
    state: Mutex<State>,
}

enum State {
    /// To be begun: with a slot, or without one, because the message will be dropped.
    New(Option<Held>),
    /// Being filled.
    Open { held: Option<Arc<Held>>, frame: Py<PyAny> },
    /// Published as this number, 0 when it was dropped; or abandoned.
    Over(u64),
}

impl Loan {
    pub(crate) fn new(topic: Py<Topic>, held: Option<Held>, length: usize) -> Self {
        Self { topic, length, state: Mutex::new(State::New(held)) }
    }

    fn swap(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), state)
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
        let held = match self.swap(State::Over(0)) {
            State::New(held) => held.map(Arc::new),
            other => {
                self.swap(other);
                return Err(PyRuntimeError::new_err("a loan is for one with block: ask the topic for another one"));
            }
        };
        let place = match &held {
            Some(held) => Py::new(py, Blank { held: Arc::clone(held), length: self.length })?.into_any(),
            // What is dropped is written somewhere, too.
            None => PyByteArray::new_with(py, self.length, |_| Ok(()))?.into_any().unbind(),
        };
        let frame = callback::method(self.topic.get().outlet.codec.bind(py), intern!(py, "frame"), place)?.unbind();
        self.swap(State::Open { held, frame: frame.clone_ref(py) });
        Ok(frame)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        raised: Option<Bound<'_, PyType>>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let State::Open { held, frame } = self.swap(State::Over(0)) else { return Ok(()) };
        let outlet = &self.topic.get().outlet;
        // Read-only from now on, as far as that can be said: others read it.
        callback::method(outlet.codec.bind(py), intern!(py, "seal"), &frame)?;
        drop(frame);
        if let Some(held) = held
            && raised.is_none()
        {
            let seq = outlet.publish_held(&held, self.length)?;
            self.swap(State::Over(seq));
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::New(_) => format!("<samemap.Loan of {} bytes, for a with block>", self.length),
            State::Open { .. } => format!("<samemap.Loan of {} bytes, being filled>", self.length),
            State::Over(0) => "<samemap.Loan, over>".to_owned(),
            State::Over(seq) => format!("<samemap.Loan, published as {seq}>"),
        }
    }
}
