//! Buffers: ours for others (PEP 3118), and others' for us. The only file of the binding with `unsafe` in it.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::slice;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use samemap_core::arrangement::Arrangement;
use samemap_core::error::Error;
use samemap_core::job::Label;
use samemap_core::region;
use samemap_core::segment::Segment;
use samemap_core::storage::Storage;

use crate::region::Region;

/// Memory of a region that stays mapped, and where it is, for as long as this object lives.
///
/// It stands behind every buffer of a `Region`: as ``memoryview.obj``, and as ``ndarray.base`` in the end.
#[pyclass(frozen, module = "samemap._core")]
pub(crate) struct View {
    view: region::View,
}

#[pymethods]
impl View {
    fn __len__(&self) -> usize {
        self.view.len()
    }

    // SAFETY: called by the interpreter only, with a Py_buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: passed on as it came.
        unsafe { export(&slf, buffer, flags) }
    }

    // SAFETY: called by the interpreter only.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {
        // Nothing to do: the buffer's reference to this object is what keeps the memory. But a type without this slot
        // would be taken for one whose buffers need no release ("y#"), and be released too early.
    }
}

impl Region {
    /// What stands behind the buffers of the region that are asked for with `flags`.
    pub(crate) fn exporter(&self, flags: c_int) -> PyResult<View> {
        // memoryview, and numpy by way of it, keep the exporting object. Others (np.ndarray(buffer=region)) release the
        // buffer at once and rely on the region itself to keep the memory.
        let retain = flags & ffi::PyBUF_FULL_RO != ffi::PyBUF_FULL_RO;
        Ok(View { view: self.region.view(retain).map_err(|error| self.raise(error))? })
    }
}

/// Fills `buffer` with all of the view's memory.
///
/// # Safety
///
/// `buffer` must be valid for writing, as the interpreter's always is.
pub(crate) unsafe fn export(view: &Bound<'_, View>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
    if buffer.is_null() {
        return Err(PyBufferError::new_err("no place for the buffer was given"));
    }
    let memory = &view.get().view;
    let address = memory.as_ptr().cast::<c_void>();
    let read_only = c_int::from(!memory.is_writable());
    // The length of a mapping is below isize::MAX.
    let length = memory.len().cast_signed();
    // SAFETY: the caller vouches for `buffer`; the memory stays mapped and in its place while `view` lives, to which
    // the buffer takes a reference. It refuses a writable buffer of read-only memory.
    if unsafe { ffi::PyBuffer_FillInfo(buffer, view.as_ptr(), address, length, read_only, flags) } == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(view.py()))
    }
}

/// Bytes of another object, which keeps them where they are for as long as this lives.
pub(crate) struct Borrowed {
    // Boxed, because exporters may point into it.
    buffer: Box<ffi::Py_buffer>,
}

impl Borrowed {
    pub(crate) fn new(owner: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut buffer = Box::new(MaybeUninit::<ffi::Py_buffer>::uninit());
        // SAFETY: a valid object and a place for its buffer.
        if unsafe { ffi::PyObject_GetBuffer(owner.as_ptr(), buffer.as_mut_ptr(), ffi::PyBUF_SIMPLE) } != 0 {
            let error = PyErr::fetch(owner.py());
            if !error.is_instance_of::<PyBufferError>(owner.py()) {
                return Err(error);
            }
            // Bytes that are not in one piece, such as every second one of a memoryview: a copy that is.
            return Self::new(&owner.py().get_type::<PyBytes>().call1((owner,))?);
        }
        // SAFETY: the call has succeeded, and so filled it in.
        Ok(Self { buffer: unsafe { buffer.assume_init() } })
    }

    pub(crate) fn len(&self) -> usize {
        // Exporters give lengths that are not negative.
        self.buffer.len.cast_unsigned()
    }

    /// Writes the bytes into the region.
    pub(crate) fn write_to(&self, py: Python<'_>, region: &region::Region, offset: usize) -> Result<(), region::Error> {
        let address = Address(self.buffer.buf.cast::<u8>());
        let length = self.len();
        let write = move || {
            let Address(bytes) = { address };
            // SAFETY: the exporter keeps these bytes readable until the buffer is released, after this.
            unsafe { region.write(offset, bytes, length) }
        };
        if length < BIG { write() } else { py.detach(write) }
    }

    /// A copy of the bytes.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        if self.len() == 0 {
            return Vec::new();
        }
        // SAFETY: the exporter keeps these bytes readable until the buffer is released; the copy is taken at once,
        // with the interpreter attached.
        unsafe { slice::from_raw_parts(self.buffer.buf.cast::<u8>(), self.len()) }.to_vec()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // SAFETY: filled in by PyObject_GetBuffer, and released once. Dropped only where the interpreter is attached.
        unsafe { ffi::PyBuffer_Release(&mut *self.buffer) };
    }
}

impl Borrowed {
    /// Copies a part of the bytes into the payload of a slot.
    #[inline]
    pub(crate) fn write_row(
        &self,
        arrangement: &Arrangement,
        segment: &Segment,
        slot: usize,
        from: usize,
        length: usize,
    ) -> Result<(), Error> {
        if from.checked_add(length).is_none_or(|end| end > self.len()) {
            return Err(Error::OutOfRange { offset: from, length, size: self.len() });
        }
        let bytes = self.buffer.buf.cast::<u8>().wrapping_add(from);
        // SAFETY: inside the buffer, shown above, which its exporter keeps readable until it is released.
        unsafe { arrangement.write(segment, slot, 0, bytes, length) }
    }

    fn write_to_place(&self, py: Python<'_>, place: &impl Place, offset: usize) -> Result<(), Error> {
        let address = Address(self.buffer.buf.cast::<u8>());
        let length = self.len();
        let write = move || {
            let Address(bytes) = { address };
            // SAFETY: the exporter keeps these bytes readable until the buffer is released, after this.
            unsafe { place.write(offset, bytes, length) }
        };
        if length < BIG { write() } else { py.detach(write) }
    }
}

/// Somewhere in shared memory that is in this process's hands, to be written.
pub(crate) trait Place: Sync {
    /// Copies bytes to an offset of it.
    ///
    /// # Safety
    ///
    /// `bytes` must be readable for `length` bytes; others may write them meanwhile.
    unsafe fn write(&self, offset: usize, bytes: *const u8, length: usize) -> Result<(), Error>;
}

/// The payload of a slot.
pub(crate) struct InSlot<'a>(pub(crate) &'a Arrangement, pub(crate) &'a Segment, pub(crate) usize);

impl Place for InSlot<'_> {
    #[inline(always)]
    unsafe fn write(&self, offset: usize, bytes: *const u8, length: usize) -> Result<(), Error> {
        // SAFETY: the caller vouches for the bytes.
        unsafe { self.0.write(self.1, self.2, offset, bytes, length) }
    }
}

/// The message of a job.
pub(crate) struct InJob<'a>(pub(crate) &'a Storage, pub(crate) &'a Segment, pub(crate) usize, pub(crate) Label);

impl InJob<'_> {
    /// Copies bytes to its start.
    #[inline(always)]
    pub(crate) fn fill(&self, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: a slice, which lives through the call.
        unsafe { self.write(0, bytes.as_ptr(), bytes.len()) }
    }
}

impl Place for InJob<'_> {
    #[inline(always)]
    unsafe fn write(&self, offset: usize, bytes: *const u8, length: usize) -> Result<(), Error> {
        // SAFETY: the caller vouches for the bytes.
        unsafe { self.0.write(self.1, (self.2, self.3), offset, bytes, length) }
    }
}

/// Bytes of another object, to be written.
pub(crate) struct Writable {
    buffer: Box<ffi::Py_buffer>,
}

impl Writable {
    pub(crate) fn new(owner: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut buffer = Box::new(MaybeUninit::<ffi::Py_buffer>::uninit());
        // SAFETY: a valid object and a place for its buffer.
        if unsafe { ffi::PyObject_GetBuffer(owner.as_ptr(), buffer.as_mut_ptr(), ffi::PyBUF_WRITABLE) } != 0 {
            return Err(PyErr::fetch(owner.py()));
        }
        // SAFETY: the call has succeeded, and so filled it in.
        Ok(Self { buffer: unsafe { buffer.assume_init() } })
    }

    pub(crate) fn len(&self) -> usize {
        // Exporters give lengths that are not negative.
        self.buffer.len.cast_unsigned()
    }

    /// Row number `row` of rows of `length` bytes; an empty one where there is none.
    #[inline]
    pub(crate) fn row(&mut self, row: usize, length: usize) -> &mut [u8] {
        let start = row.saturating_mul(length);
        if start.checked_add(length).is_none_or(|end| end > self.len()) {
            return &mut [];
        }
        let first = self.buffer.buf.cast::<u8>().wrapping_add(start);
        // SAFETY: inside the buffer, shown above, which its exporter keeps where it is, and writable, until it is
        // released. Made by the caller for this purpose, so nobody else looks at it meanwhile.
        unsafe { slice::from_raw_parts_mut(first, length) }
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        // SAFETY: filled in by PyObject_GetBuffer, and released once. Dropped only where the interpreter is attached.
        unsafe { ffi::PyBuffer_Release(&mut *self.buffer) };
    }
}

/// Bytes to be put into a slot.
pub(crate) enum Source<'py> {
    Bytes(Bound<'py, PyBytes>),
    Buffer(Borrowed),
}

impl<'py> Source<'py> {
    pub(crate) fn new(owner: &Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(match owner.cast_exact::<PyBytes>() {
            Ok(bytes) => Self::Bytes(bytes.clone()),
            Err(_) => Self::Buffer(Borrowed::new(owner)?),
        })
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes().len(),
            Self::Buffer(buffer) => buffer.len(),
        }
    }

    /// Copies them to `offset` of a place.
    #[inline]
    pub(crate) fn write_to(&self, py: Python<'_>, place: &impl Place, offset: usize) -> Result<(), Error> {
        match self {
            Self::Bytes(bytes) => {
                let bytes = bytes.as_bytes();
                // SAFETY: a slice, which lives through the call.
                let write = || unsafe { place.write(offset, bytes.as_ptr(), bytes.len()) };
                if bytes.len() < BIG { write() } else { py.detach(write) }
            }
            Self::Buffer(buffer) => buffer.write_to_place(py, place, offset),
        }
    }
}

/// What is to be sent: bytes in one piece or in several.
pub(crate) enum Message<'py> {
    One(Source<'py>),
    Parts(Vec<Source<'py>>),
}

impl<'py> Message<'py> {
    /// What a codec made: a buffer, or a tuple of them.
    pub(crate) fn new(encoded: &Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(match encoded.cast_exact::<PyTuple>() {
            Ok(parts) => Self::Parts(parts.iter().map(|part| Source::new(&part)).collect::<PyResult<_>>()?),
            Err(_) => Self::One(Source::new(encoded)?),
        })
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(source) => source.len(),
            Self::Parts(sources) => sources.iter().map(Source::len).sum(),
        }
    }

    /// Copies all of it to a place.
    #[inline]
    pub(crate) fn write_to(&self, py: Python<'_>, place: &impl Place) -> Result<(), Error> {
        match self {
            Self::One(source) => source.write_to(py, place, 0),
            Self::Parts(sources) => sources
                .iter()
                .try_fold(0, |offset, source| source.write_to(py, place, offset).map(|()| offset + source.len()))
                .map(|_| ()),
        }
    }
}

/// An address that another thread state may use.
struct Address(*mut u8);

// SAFETY: an address is a number; whoever reads through it says why it may.
unsafe impl Send for Address {}

/// From here on a copy takes long enough to let other threads run meanwhile.
pub(crate) const BIG: usize = 1 << 20;

/// A `bytes` object of what `region` holds at `offset`.
pub(crate) fn bytes_of<'py>(
    py: Python<'py>,
    region: &region::Region,
    offset: usize,
    length: usize,
) -> PyResult<Result<Bound<'py, PyBytes>, region::Error>> {
    let mut read = Ok(());
    let bytes = bytes_with(py, length, |place| {
        read = if length < BIG { region.read(offset, place) } else { py.detach(|| region.read(offset, place)) };
        Ok(())
    })?;
    Ok(read.map(|()| bytes))
}

/// A `bytes` object of so many bytes, as `fill` fills them in.
#[inline(always)]
pub(crate) fn bytes_with<'py>(
    py: Python<'py>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'py, PyBytes>> {
    // Not PyBytes::new_with, which would fill it with zeros first.
    // SAFETY: a null pointer asks for `length` bytes to be filled in; slices are never longer than isize::MAX.
    let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), length.cast_signed()) };
    // SAFETY: a new reference, or null with an exception set.
    let object = unsafe { Bound::from_owned_ptr_or_err(py, object)? };
    // SAFETY: made as a bytes object.
    let object = unsafe { object.cast_into_unchecked::<PyBytes>() };
    // SAFETY: a bytes object.
    let place = unsafe { ffi::PyBytes_AsString(object.as_ptr()) };
    // SAFETY: a new object of `length` bytes that nobody else has yet; any content is valid.
    let place = unsafe { slice::from_raw_parts_mut(place.cast::<u8>(), length) };
    fill(place).map(|()| object)
}
