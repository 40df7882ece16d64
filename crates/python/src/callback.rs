//! Calling Python code from here, in threads that may be ended meanwhile.

use std::{mem, thread};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

unsafe extern "C-unwind" {
    /// As pyo3 has it, but for being one that may not return: there it is declared so that this aborts the process.
    #[link_name = "PyObject_CallObject"]
    fn call_object(callable: *mut ffi::PyObject, arguments: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

unsafe extern "C-unwind" {
    /// As above, with the arguments in a row, and the names of the last of them in a tuple: nothing is made for the call.
    ///
    /// Source: the C API of Python, "Vectorcall API": in the stable ABI from 3.12 on, and the same function in 3.11.
    #[link_name = "PyObject_Vectorcall"]
    fn call_in_row(
        callable: *mut ffi::PyObject,
        arguments: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;

    /// The method of that name of the first of the arguments, called with the others.
    #[link_name = "PyObject_VectorcallMethod"]
    fn call_method_in_row(
        name: *mut ffi::PyObject,
        arguments: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
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

/// As [`call`], with arguments of which the last ones are `named`.
pub(crate) fn call_with<'py, const N: usize>(
    callable: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
    named: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let names = named.map_or(std::ptr::null_mut(), |named| named.as_ptr());
    let count = N.saturating_sub(named.map_or(0, PyTupleMethods::len));
    let arguments = arguments.map(|argument| argument.as_ptr());
    let stay = Stay;
    // SAFETY: an object, as many objects as there are, and null or a tuple of names for the last of them, all of which live
    // through the call; the interpreter is attached.
    let found = unsafe { call_in_row(callable.as_ptr(), arguments.as_ptr(), count, names) };
    mem::forget(stay);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), found) }
}

/// Calls a method, with one argument.
pub(crate) fn method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = [object.as_ptr(), argument.as_ptr()];
    let stay = Stay;
    // SAFETY: a string and two objects, which live through the call; the interpreter is attached.
    let found = unsafe { call_method_in_row(name.as_ptr(), arguments.as_ptr(), arguments.len(), std::ptr::null_mut()) };
    mem::forget(stay);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(object.py(), found) }
}
