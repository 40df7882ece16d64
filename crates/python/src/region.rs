//! `samemap._core.Region`, the base of `samemap.Region`.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use samemap_core::file::Trust;
use samemap_core::region::{self, Error, Options};

use crate::arguments::Length;
use crate::errors;
use crate::stats::RegionStats;
use crate::view;

/// Raw shared bytes; `samemap.Region` adds names, numpy and pickling.
#[pyclass(subclass, frozen, module = "samemap._core")]
pub(crate) struct Region {
    pub(crate) region: region::Region,
    path: Option<PathBuf>,
}

impl Region {
    #[cold]
    pub(crate) fn raise(&self, error: Error) -> PyErr {
        errors::raise(&error, self.path.as_deref())
    }
}

#[pymethods]
impl Region {
    #[new]
    #[allow(clippy::too_many_arguments, reason = "called by samemap.Region only, which gives them names and defaults")]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        how: &str,
        size: Option<Length>,
        max_size: Option<Length>,
        writable: bool,
        perm: u32,
        sparse: bool,
        populate: bool,
        follow_symlinks: bool,
        any_owner: bool,
        fd: c_int,
    ) -> PyResult<Self> {
        let max_size = max_size.map(|length| length.0);
        let trust = Trust { follow_symlinks, any_owner };
        let options = Options { max_size, writable, perm, sparse, populate, trust };
        let bytes = size.map_or(0, |length| length.0);
        let missing = || Error::Invalid("no path was given".to_owned());
        let made = py.detach(|| match how {
            "create" => region::Region::create(path.as_deref().ok_or_else(missing)?, bytes, options),
            "open" => region::Region::open(path.as_deref().ok_or_else(missing)?, options),
            "open-or-create" => region::Region::open_or_create(path.as_deref().ok_or_else(missing)?, bytes, options),
            "anonymous" => region::Region::anonymous(bytes, options),
            "descriptor" => region::Region::from_descriptor(fd, options),
            other => Err(Error::Invalid(format!("there is no way {other:?} to make a region"))),
        });
        match made {
            Ok(region) => Ok(Self { region, path }),
            Err(error) => Err(errors::raise(&error, path.as_deref())),
        }
    }

    /// The file behind it; `None` for anonymous memory.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    /// Length of the file in bytes, now: growth by other processes shows at once.
    #[getter]
    fn size(&self) -> PyResult<usize> {
        self.region.size().map_err(|error| self.raise(error))
    }

    /// Bytes of address space reserved: how far it may grow while views live.
    #[getter]
    fn max_size(&self) -> PyResult<usize> {
        self.region.max_size().map_err(|error| self.raise(error))
    }

    /// ``"rw"``, or ``"r"`` when it is mapped read-only.
    #[getter]
    fn mode(&self) -> &'static str {
        if self.region.is_writable() { "rw" } else { "r" }
    }

    /// Whether `close` was called.
    #[getter]
    fn closed(&self) -> bool {
        self.region.is_closed()
    }

    /// Return what the region knows of itself now.
    ///
    /// Returns:
    ///     A frozen record: see `RegionStats`.
    ///
    /// Raises:
    ///     ValueError: The region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 4096)
    ///     >>> view = memoryview(region)
    ///     >>> region.stats().views
    ///     1
    fn stats(&self, py: Python<'_>) -> PyResult<RegionStats> {
        py.detach(|| self.region.stats()).map(|stats| RegionStats { stats }).map_err(|error| self.raise(error))
    }

    /// Return the file's descriptor, which the region owns: to inherit by ``subprocess`` (``pass_fds``), or to look at.
    ///
    /// Returns:
    ///     The descriptor, close-on-exec.
    ///
    /// Raises:
    ///     ValueError: The region is closed.
    ///
    /// Example:
    ///     >>> import os
    ///     >>> region = Region(None, 4096)
    ///     >>> os.fstat(region.fileno()).st_size
    ///     4096
    fn fileno(&self) -> PyResult<c_int> {
        self.region.with_file(|file: BorrowedFd<'_>| file.as_raw_fd()).map_err(|error| self.raise(error))
    }

    /// Grow or shrink the region, for all processes.
    ///
    /// Growth within ``max_size`` moves nothing: live views stay valid (they keep their length), and other processes
    /// see the new bytes without doing anything. Beyond it the mapping may move, by ``mremap(2)``: no byte is copied.
    /// New bytes are zeros. Other processes that touch bytes which shrinking took away get `SegmentTruncated`.
    ///
    /// Args:
    ///     size: Bytes, at least 1.
    ///     sparse: Do not reserve space on the file system.
    ///
    /// Raises:
    ///     BufferError: Views live, and it would have to move or to shrink.
    ///     OSError: ``ENOSPC``, ``ENOMEM``: there is no room; nothing has changed. ``EPERM``: anonymous memory cannot
    ///         shrink.
    ///     TypeError: The region is read-only.
    ///     ValueError: The size is below 1, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 4096)
    ///     >>> view = memoryview(region)
    ///     >>> region.resize(1 << 20)
    ///     >>> region[1_000_000], len(view)
    ///     (0, 4096)
    #[pyo3(signature = (size, *, sparse = false))]
    fn resize(&self, py: Python<'_>, size: Length, sparse: bool) -> PyResult<()> {
        py.detach(|| self.region.resize(size.0, sparse)).map_err(|error| self.raise(error))
    }

    /// Close the region: later use raises ``ValueError``, also in threads that wait on it.
    ///
    /// Closing twice is fine. Views outlive it: the memory stays mapped until the last of them is gone. (Where a buffer
    /// was asked for in another way than memoryview's, as `np.ndarray(buffer=region)` does, until this object is gone too.)
    /// The file stays: `unlink` removes it.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.close()
    ///     >>> region.closed
    ///     True
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.region.close());
    }

    fn __len__(&self) -> PyResult<usize> {
        self.size()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.get_item(key)
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_item(key, value)
    }

    fn __delitem__(&self, _key: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err("bytes of a region cannot be deleted; resize() changes its length"))
    }

    // SAFETY: called by the interpreter only, with a Py_buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, buffer: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let exporter = Bound::new(slf.py(), slf.get().exporter(flags)?)?;
        // SAFETY: passed on as it came.
        unsafe { view::export(&exporter, buffer, flags) }
    }

    // SAFETY: called by the interpreter only; see `View::__releasebuffer__` for why it is there.
    unsafe fn __releasebuffer__(&self, _buffer: *mut ffi::Py_buffer) {}
}
