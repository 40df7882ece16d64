//! Pickles of objects without buffers, which need no more than the pickle; others go through the codec.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::callback;

static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static JOINED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn function<'py>(
    py: Python<'py>,
    place: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyAny>> {
    let found = place.get_or_try_init(py, || py.import(module)?.getattr(name).map(Bound::unbind))?;
    Ok(found.bind(py))
}

/// How an object was pickled.
pub(crate) enum Pickled<'py> {
    /// The pickle, which is all.
    Plain(Bound<'py, PyBytes>),
    /// With buffers beside it: the parts of the message, as `pickles.py` lays them out.
    Parts(Bound<'py, PyAny>),
}

/// A list for buffers, and the arguments that have it filled: made once, because that takes as long as a small pickle.
struct Collector {
    buffers: Py<PyList>,
    protocol: Py<PyAny>,
    append: Py<PyAny>,
    /// The names of these two.
    named: Py<PyTuple>,
}

/// The one that is not in use. Pickling can run any code, which may pickle in turn: that makes one of its own.
static SPARE: Mutex<Option<Collector>> = Mutex::new(None);

impl Collector {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let buffers = PyList::empty(py);
        let append = buffers.getattr(pyo3::intern!(py, "append"))?.unbind();
        let named = PyTuple::new(py, [pyo3::intern!(py, "protocol"), pyo3::intern!(py, "buffer_callback")])?;
        let protocol = 5_u8.into_pyobject(py)?.into_any().unbind();
        Ok(Self { buffers: buffers.unbind(), protocol, append, named: named.unbind() })
    }

    fn take(py: Python<'_>) -> PyResult<Self> {
        // Not under the lock: to make one may run any code, and let other threads run, which come here, too.
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.map_or_else(|| Self::new(py), Ok)
    }

    /// Only when nothing is in it.
    fn give_back(self) {
        let old = SPARE.lock().unwrap_or_else(PoisonError::into_inner).replace(self);
        // Not under the lock, either.
        drop(old);
    }
}

/// Pickles an object.
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Pickled<'py>> {
    let py = value.py();
    let collector = Collector::take(py)?;
    let dumps = function(py, &DUMPS, "pickle", "dumps")?;
    let Collector { protocol, append, named, .. } = &collector;
    let pickled = callback::call_with(dumps, [value, protocol.bind(py), append.bind(py)], Some(named.bind(py)))?;
    let pickled = pickled.cast_into_exact::<PyBytes>()?;
    if collector.buffers.bind(py).is_empty() {
        collector.give_back();
        return Ok(Pickled::Plain(pickled));
    }
    let joined = function(py, &JOINED, "samemap.pickles", "joined")?;
    callback::call_with(joined, [pickled.as_any(), collector.buffers.bind(py).as_any()], None).map(Pickled::Parts)
}

/// Brings an object back from a pickle without buffers beside it.
pub(crate) fn loads<'py>(pickle: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = pickle.py();
    callback::call_with(function(py, &LOADS, "pickle", "loads")?, [pickle], None)
}
