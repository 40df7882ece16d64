//! Buffers over the payloads of slots: of samples, which are pinned and read-only, and of loans, which are written.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use samemap_core::error::Error;

use crate::holding::Holding;
use crate::outlet::Held;
use crate::reception::Pinned;
use crate::sample::Sample;

/// Fills `buffer` with `length` bytes at `address`, which stay there while `owner` lives.
///
/// # Safety
///
/// `buffer` must be valid for writing; the bytes must stay mapped, readable and, if not `read_only`, writable while `owner`
/// lives.
unsafe fn fill(
    owner: &Bound<'_, PyAny>,
    buffer: *mut ffi::Py_buffer,
    (address, length): (*mut u8, usize),
    read_only: bool,
    flags: c_int,
) -> PyResult<()> {
    if buffer.is_null() {
        return Err(PyBufferError::new_err("no place for the buffer was given"));
    }
    let address = address.cast::<c_void>();
    // SAFETY: the caller vouches for `buffer` and for the bytes; the buffer takes a reference to `owner`. It refuses a
    // writable buffer of read-only memory.
    let done = unsafe {
        ffi::PyBuffer_FillInfo(buffer, owner.as_ptr(), address, length.cast_signed(), c_int::from(read_only), flags)
    };
    if done == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}

fn no_payload(error: &Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A message that stays where it is for as long as this lives.
///
/// It stands behind every buffer of a large sample: as ``memoryview.obj``, and as ``ndarray.base`` in the end.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Pin {
    pub(crate) pinned: Pinned,
}

#[pymethods]
impl Pin {
    fn __len__(&self) -> usize {
        self.pinned.length
    }

    // SAFETY: called by the interpreter only, with a Py_buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let pinned = &slf.get().pinned;
        let address = pinned.payload().map_err(|error| no_payload(&error))?;
        // SAFETY: as the interpreter gave it; the pin keeps the mapping and the slot, while `slf` lives. Read-only.
        unsafe { fill(slf.as_any(), buffer, (address, pinned.length), true, flags) }
    }

    // SAFETY: called by the interpreter only.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {
        // Nothing to do: see `View`.
    }
}

#[pymethods]
impl Sample {
    // SAFETY: called by the interpreter only, with a Py_buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // memoryview, and numpy by way of it, keep the exporting object. Others (np.ndarray(buffer=sample)) release the
        // buffer at once and rely on the sample itself to keep the memory.
        let content = slf.get().content(flags & ffi::PyBUF_FULL_RO != ffi::PyBUF_FULL_RO)?;
        let owner = content.bind(slf.py());
        if let Ok(pin) = owner.cast_exact::<Pin>() {
            let pinned = &pin.get().pinned;
            let address = pinned.payload().map_err(|error| no_payload(&error))?;
            // SAFETY: as for `Pin`, to which the buffer takes a reference.
            return unsafe { fill(owner, buffer, (address, pinned.length), true, flags) };
        }
        let bytes = owner.cast_exact::<PyBytes>()?.as_bytes();
        // SAFETY: the bytes of an object that never changes, to which the buffer takes a reference. Read-only.
        unsafe { fill(owner, buffer, (bytes.as_ptr().cast_mut(), bytes.len()), true, flags) }
    }

    // SAFETY: called by the interpreter only.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {
        // Nothing to do: see `View`.
    }
}

/// The message of a job that stays where it is for as long as this lives.
///
/// It stands behind every buffer of a large message of a queue: as ``memoryview.obj``, and as ``ndarray.base`` in the end.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Hold {
    pub(crate) holding: Arc<Holding>,
}

#[pymethods]
impl Hold {
    fn __len__(&self) -> PyResult<usize> {
        self.holding.message().map(|(_, length)| length).map_err(|error| no_payload(&error))
    }

    // SAFETY: called by the interpreter only, with a Py_buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let place = slf.get().holding.message().map_err(|error| no_payload(&error))?;
        // SAFETY: as the interpreter gave it; the holding keeps the mapping and the job's memory, while `slf` lives.
        // Read-only.
        unsafe { fill(slf.as_any(), buffer, place, true, flags) }
    }

    // SAFETY: called by the interpreter only.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {
        // Nothing to do: see `View`.
    }
}

/// The bytes of a message that is being filled.
///
/// It stands behind the frame of a loan. While it lives, the slot is given to nobody else.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct Blank {
    pub(crate) place: Place,
    /// Bytes of the message before it.
    pub(crate) skipped: usize,
    pub(crate) length: usize,
}

/// What is filled.
pub(crate) enum Place {
    /// A slot of a topic.
    Slot(Arc<Held>),
    /// A job of a queue.
    Job(Arc<Holding>),
}

impl Blank {
    fn address(&self) -> Result<*mut u8, Error> {
        let end = self.skipped.saturating_add(self.length);
        let (start, room) = match &self.place {
            Place::Slot(held) => (held.payload(end)?, end),
            Place::Job(holding) => holding.message()?,
        };
        if end > room {
            return Err(Error::OutOfRange { offset: self.skipped, length: self.length, size: room });
        }
        Ok(start.wrapping_add(self.skipped))
    }
}

#[pymethods]
impl Blank {
    fn __len__(&self) -> usize {
        self.length
    }

    // SAFETY: called by the interpreter only, with a Py_buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let blank = slf.get();
        let address = blank.address().map_err(|error| no_payload(&error))?;
        // SAFETY: as the interpreter gave it; `slf` keeps the segment mapped, writable, and its place in this process's
        // hands.
        unsafe { fill(slf.as_any(), buffer, (address, blank.length), false, flags) }
    }

    // SAFETY: called by the interpreter only.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {
        // Nothing to do: see `View`.
    }
}
