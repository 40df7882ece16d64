//! What the kernel may do with the pages of a region.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arguments::{self, Length, Offset};
use crate::region::Region;

#[pymethods]
impl Region {
    /// Write changed bytes to the file's storage, and wait until they are there (``fdatasync(2)``).
    ///
    /// Other processes see changes without it: it is for files on a disk, against a crash of the machine. More may be
    /// written than is asked for: the file's other changes, too.
    ///
    /// Args:
    ///     offset: First byte.
    ///     length: Bytes; to the end when ``None``.
    ///
    /// Raises:
    ///     IndexError: The range reaches outside the region.
    ///     OSError: The storage failed.
    ///
    /// Example:
    ///     >>> Region(None, 64).flush()
    #[pyo3(signature = (offset = Offset(0), length = None), text_signature = "($self, offset=0, length=None)")]
    fn flush(&self, py: Python<'_>, offset: Offset, length: Option<Length>) -> PyResult<()> {
        let length = length.map(|length| length.0);
        py.detach(|| self.region.flush(offset.0, length)).map_err(|error| self.raise(error))
    }

    /// Tell the kernel how the bytes will be used (``madvise(2)``).
    ///
    /// Args:
    ///     advice: ``"normal"``, ``"random"``, ``"sequential"``, ``"willneed"``, ``"dontneed"``, ``"hugepage"``,
    ///         ``"nohugepage"``, ``"cold"``, ``"pageout"``, ``"dontdump"``, ``"dodump"``; or ``"remove"``, which gives the space of exactly these bytes back: they become zeros,
    ///         for every process.
    ///     offset: First byte.
    ///     length: Bytes; to the end when ``None``.
    ///
    /// Raises:
    ///     IndexError: The range reaches outside the region.
    ///     OSError: This kernel, or this file system, does not take the advice.
    ///     TypeError: ``"remove"`` on a read-only region.
    ///     ValueError: There is no such advice.
    ///
    /// Example:
    ///     >>> region = Region(None, 8192)
    ///     >>> region[0] = region[8191] = 1
    ///     >>> region.advise("remove", 0, 4096)
    ///     >>> region[0], region[8191]
    ///     (0, 1)
    #[pyo3(
        signature = (advice, offset = Offset(0), length = None),
        text_signature = "($self, advice, offset=0, length=None)"
    )]
    fn advise(&self, py: Python<'_>, advice: &str, offset: Offset, length: Option<Length>) -> PyResult<()> {
        let length = length.map(|length| length.0);
        let done = if advice == "remove" {
            py.detach(|| self.region.punch(offset.0, length))
        } else {
            let Some(advice) = arguments::advice(advice) else {
                return Err(PyValueError::new_err(format!("there is no advice {advice:?}; see help(Region.advise)")));
            };
            py.detach(|| self.region.advise(offset.0, length, advice))
        };
        done.map_err(|error| self.raise(error))
    }

    /// Lock bytes in memory, so that they are never swapped out (``mlock(2)``). Not a lock between processes.
    ///
    /// It ends with the process, with `unlock`, and with a `resize` beyond ``max_size``.
    ///
    /// Args:
    ///     offset: First byte.
    ///     length: Bytes; to the end when ``None``.
    ///
    /// Raises:
    ///     IndexError: The range reaches outside the region.
    ///     OSError: ``ENOMEM``: more than the limit on locked memory, which the message names.
    ///
    /// Example:
    ///     >>> region = Region(None, 4096)
    ///     >>> region.lock()
    ///     >>> region.unlock()
    #[pyo3(signature = (offset = Offset(0), length = None), text_signature = "($self, offset=0, length=None)")]
    fn lock(&self, py: Python<'_>, offset: Offset, length: Option<Length>) -> PyResult<()> {
        let length = length.map(|length| length.0);
        py.detach(|| self.region.lock(offset.0, length)).map_err(|error| self.raise(error))
    }

    /// Let bytes that `lock` locked leave memory again.
    ///
    /// Args:
    ///     offset: First byte.
    ///     length: Bytes; to the end when ``None``.
    ///
    /// Raises:
    ///     IndexError: The range reaches outside the region.
    ///
    /// Example:
    ///     >>> Region(None, 4096).unlock()
    #[pyo3(signature = (offset = Offset(0), length = None), text_signature = "($self, offset=0, length=None)")]
    fn unlock(&self, py: Python<'_>, offset: Offset, length: Option<Length>) -> PyResult<()> {
        let length = length.map(|length| length.0);
        py.detach(|| self.region.unlock(offset.0, length)).map_err(|error| self.raise(error))
    }
}
