//! NUL-ended text in a region.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::{Length, Offset};
use crate::region::Region;
use crate::view::Borrowed;

#[pymethods]
impl Region {
    /// Read bytes up to a NUL, until two readings in a row agree.
    ///
    /// Args:
    ///     offset: First byte.
    ///     size: Bytes at most; to the end of the region when ``None``.
    ///
    /// Returns:
    ///     The bytes before the first NUL, or all.
    ///
    /// Raises:
    ///     IndexError: The range reaches outside the region.
    ///     SegmentTruncated: Somebody truncated the file.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region[0:3] = b"abc"
    ///     >>> region.read_cstring()
    ///     b'abc'
    #[pyo3(signature = (offset = Offset(0), size = None), text_signature = "($self, offset=0, size=None)")]
    fn read_cstring<'py>(
        &self,
        py: Python<'py>,
        offset: Offset,
        size: Option<Length>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let size = size.map(|length| length.0);
        // Detached: a long text that others keep changing is looked at many times.
        let text = py.detach(|| self.region.read_text(offset.0, size)).map_err(|error| self.raise(error))?;
        Ok(PyBytes::new(py, &text))
    }

    /// Write bytes and a NUL after them.
    ///
    /// Args:
    ///     text: Bytes, without a NUL among them.
    ///     offset: First byte.
    ///     size: Bytes that it may take, with the NUL; to the end of the region when ``None``.
    ///
    /// Returns:
    ///     The number of bytes written, with the NUL.
    ///
    /// Raises:
    ///     IndexError: The range reaches outside the region.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: It holds a NUL or does not fit; nothing was written.
    ///
    /// Example:
    ///     >>> Region(None, 64).write_cstring(b"abc")
    ///     4
    #[pyo3(signature = (text, offset = Offset(0), size = None), text_signature = "($self, text, offset=0, size=None)")]
    fn write_cstring(&self, text: &Bound<'_, PyAny>, offset: Offset, size: Option<Length>) -> PyResult<usize> {
        let bytes = Borrowed::new(text)?.to_vec();
        let size = size.map(|length| length.0);
        text.py().detach(|| self.region.write_text(offset.0, size, &bytes)).map_err(|error| self.raise(error))
    }
}
