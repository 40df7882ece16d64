//! Calling Python code from here, in threads that may be ended meanwhile.

use std::{mem, thread};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

unsafe extern "C-unwind" {
    /// As pyo3 has it, but for being one that may not return: there it is declared so that this aborts the process.
    #[link_name = "PyObject_CallObject"]
    fn call_object(callable: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

unsafe extern "C-unwind" {
    /// As above, with named arguments.
    #[link_name = "PyObject_Call"]
    fn call_named(
        callable: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
        named: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Keeps a thread from being taken down through this frame.
struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        // A panic may pass.
        while !thread::panicking() {
            thread::park();
        }
    }
}

/// Calls what may be written in Python.
///
/// When the interpreter goes, threads that nobody waits for are ended at the next line of Python that they come to; up to
/// Python 3.13 by taking down their stacks, which cannot go through ours: the process would be aborted, with a core dump.
/// So such a thread stays where it is, for as long as the process lives. It must not hold a lock of ours meanwhile.
pub(crate) fn call<'py>(callable: &Bound<'py, PyAny>, arguments: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let stay = Stay;
    // SAFETY: an object and a tuple, which live through the call; the interpreter is attached.
    let found = unsafe { call_object(callable.as_ptr(), arguments.as_ptr()) };
    mem::forget(stay);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), found) }
}

/// As [`call`], with named arguments.
pub(crate) fn call_with<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
    named: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let stay = Stay;
    // SAFETY: an object, a tuple and a dict, which live through the call; the interpreter is attached.
    let found = unsafe { call_named(callable.as_ptr(), arguments.as_ptr(), named.as_ptr()) };
    mem::forget(stay);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), found) }
}

/// Calls a method, with one argument.
pub(crate) fn method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    call(&object.getattr(name)?, &PyTuple::new(object.py(), [argument])?)
}
