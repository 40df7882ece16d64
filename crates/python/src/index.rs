//! What `region[key]` means: a byte, also counted from the end, or a slice.

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice};

use samemap_core::region::Error;

use crate::region::Region;
use crate::view::{self, Borrowed};

impl Region {
    #[inline]
    pub(crate) fn get_item<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = key.cast::<PySlice>() {
            return Ok(self.get_slice(slice)?.into_any());
        }
        let byte = self.region.get(self.index(key)?).map_err(|error| self.raise(error))?;
        Ok(byte.into_pyobject(key.py())?.into_any())
    }

    #[inline]
    pub(crate) fn set_item(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(slice) = key.cast::<PySlice>() {
            return self.set_slice(slice, value);
        }
        let index = self.index(key)?;
        let byte: i64 = value.extract().map_err(|error| wrong_byte(value, error))?;
        let byte = u8::try_from(byte).map_err(|_| PyValueError::new_err(format!("a byte is 0 to 255, not {byte}")))?;
        self.region.set(index, byte).map_err(|error| self.raise(error))
    }

    /// The index that Python means by `key`, which may count from the end.
    #[inline]
    fn index(&self, key: &Bound<'_, PyAny>) -> PyResult<usize> {
        let index: isize = key.extract().map_err(|error| wrong_key(key, error))?;
        match usize::try_from(index) {
            Ok(index) => Ok(index),
            Err(_) => self.index_from_end(index),
        }
    }

    #[cold]
    fn index_from_end(&self, index: isize) -> PyResult<usize> {
        let size = self.region.extent().map_err(|error| self.raise(error))?;
        size.checked_add_signed(index)
            .ok_or_else(|| PyIndexError::new_err(format!("byte {index} is outside the region of {size} bytes")))
    }

    fn get_slice<'py>(&self, slice: &Bound<'py, PySlice>) -> PyResult<Bound<'py, PyBytes>> {
        let py = slice.py();
        loop {
            let steps = Steps::new(slice, self.region.extent().map_err(|error| self.raise(error))?)?;
            let read = if steps.step.unsigned_abs() > FAR {
                let picked: Result<Vec<u8>, Error> = steps.offsets().map(|at| self.region.get(at)).collect();
                picked.map(|picked| PyBytes::new(py, &picked))
            } else {
                view::bytes_of(py, &self.region, steps.lowest, steps.span)?.map(|whole| steps.pick(whole))
            };
            match read {
                // Another thread has shortened it since its size was asked for.
                Err(Error::OutOfRange { .. }) => {}
                read => return read.map_err(|error| self.raise(error)),
            }
        }
    }

    fn set_slice(&self, slice: &Bound<'_, PySlice>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let steps = Steps::new(slice, self.region.extent().map_err(|error| self.raise(error))?)?;
        let bytes = Borrowed::new(value)?;
        if bytes.len() != steps.count {
            return Err(PyValueError::new_err(format!(
                "the slice takes {} bytes, and {} are given: a region does not change its length so; resize() does",
                steps.count,
                bytes.len()
            )));
        }
        let raise = |error| self.raise(error);
        if steps.step == 1 {
            return bytes.write_to(slice.py(), &self.region, steps.lowest).map_err(raise);
        }
        steps.offsets().zip(bytes.to_vec()).try_for_each(|(at, byte)| self.region.set(at, byte)).map_err(raise)
    }
}

/// From so many bytes apart on, bytes are read one by one: what lies between is not worth reading.
const FAR: usize = 16;

/// The bytes that a slice names.
struct Steps {
    start: usize,
    step: isize,
    count: usize,
    lowest: usize,
    /// From the lowest to the highest, inclusive.
    span: usize,
}

impl Steps {
    fn new(slice: &Bound<'_, PySlice>, size: usize) -> PyResult<Self> {
        let found = slice.indices(size.cast_signed())?;
        let count = found.slicelength;
        // In range: `indices` clips to the size, and an empty slice reads nothing wherever it starts.
        let start = found.start.max(0).cast_unsigned();
        let reach = found.step.unsigned_abs() * count.saturating_sub(1);
        let lowest = if found.step < 0 && count > 0 { start - reach } else { start };
        let span = if count == 0 { 0 } else { reach + 1 };
        Ok(Self { start, step: if count <= 1 { 1 } else { found.step }, count, lowest, span })
    }

    /// The named ones of the bytes from the lowest to the highest.
    fn pick<'py>(&self, whole: Bound<'py, PyBytes>) -> Bound<'py, PyBytes> {
        if self.step == 1 {
            return whole;
        }
        let picked: Vec<u8> = self.offsets().map(|offset| whole.as_bytes()[offset - self.lowest]).collect();
        PyBytes::new(whole.py(), &picked)
    }

    fn offsets(&self) -> impl Iterator<Item = usize> {
        let (start, step) = (self.start.cast_signed(), self.step);
        (0..self.count.cast_signed()).map(move |at| (start + at * step).cast_unsigned())
    }
}

#[cold]
fn wrong_key(key: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyOverflowError>(key.py()) {
        PyIndexError::new_err("an index that large is outside any region")
    } else if error.is_instance_of::<PyTypeError>(key.py()) && !key.hasattr("__index__").unwrap_or(true) {
        let kind = key.get_type();
        PyTypeError::new_err(format!("a region is indexed by an integer or a slice, not by {kind}"))
    } else {
        error
    }
}

#[cold]
fn wrong_byte(value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyOverflowError>(value.py()) {
        PyValueError::new_err("a byte is 0 to 255, not an integer that large")
    } else {
        error
    }
}
