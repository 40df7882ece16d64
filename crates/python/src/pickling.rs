//! Pickles of objects without buffers, which need no more than the pickle; others go through the codec.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

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

/// Pickles an object.
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Pickled<'py>> {
    let py = value.py();
    let buffers = PyList::empty(py);
    let named = PyDict::new(py);
    named.set_item(pyo3::intern!(py, "protocol"), 5)?;
    named.set_item(pyo3::intern!(py, "buffer_callback"), buffers.getattr(pyo3::intern!(py, "append"))?)?;
    let dumps = function(py, &DUMPS, "pickle", "dumps")?;
    let pickled = callback::call_with(dumps, &PyTuple::new(py, [value])?, &named)?.cast_into_exact::<PyBytes>()?;
    if buffers.is_empty() {
        return Ok(Pickled::Plain(pickled));
    }
    let joined = function(py, &JOINED, "samemap.pickles", "joined")?;
    callback::call(joined, &PyTuple::new(py, [pickled.as_any(), buffers.as_any()])?).map(Pickled::Parts)
}

/// Brings an object back from a pickle without buffers beside it.
pub(crate) fn loads<'py>(pickle: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = pickle.py();
    callback::call(function(py, &LOADS, "pickle", "loads")?, &PyTuple::new(py, [pickle])?)
}
