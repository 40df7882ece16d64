//! `samemap._core.Region`, the base of `samemap.Region`.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use samemap_core::file::Trust;
use samemap_core::region::{self, Error, Options};

use crate::arguments::{self, Length, Offset, Timeout, Word32, Word64};
use crate::errors;
use crate::stats::RegionStats;
use crate::view::{self, Borrowed};
use crate::wait;

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
    fn stats(&self) -> PyResult<RegionStats> {
        self.region.stats().map(|stats| RegionStats { stats }).map_err(|error| self.raise(error))
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

    /// Write changed bytes to the file's storage, and wait until they are there (``msync(2)``).
    ///
    /// Other processes see changes without it: it is for files on a disk, against a crash of the machine.
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
        let text = self.region.read_text(offset.0, size).map_err(|error| self.raise(error))?;
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
        let text = Borrowed::new(text)?.to_vec();
        let size = size.map(|length| length.0);
        self.region.write_text(offset.0, size, &text).map_err(|error| self.raise(error))
    }

    /// Load a 32-bit word, atomically and sequentially consistent, as all word operations are.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 4.
    ///
    /// Returns:
    ///     The word, unsigned.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: The offset is no multiple of 4, or the region is closed.
    ///
    /// Example:
    ///     >>> Region(None, 64).load_u32(8)
    ///     0
    fn load_u32(&self, offset: Offset) -> PyResult<u32> {
        self.region.load_u32(offset.0).map_err(|error| self.raise(error))
    }

    /// Store a 32-bit word, atomically.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 4.
    ///     value: The word; negative values as two's complement.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     OverflowError: The value does not fit into 32 bits.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: The offset is no multiple of 4, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.store_u32(8, 5)
    ///     >>> region.load_u32(8)
    ///     5
    fn store_u32(&self, offset: Offset, value: Word32) -> PyResult<()> {
        self.region.store_u32(offset.0, value.0).map_err(|error| self.raise(error))
    }

    /// Add to a 32-bit word, atomically; it wraps around.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 4.
    ///     delta: What to add; negative values subtract.
    ///
    /// Returns:
    ///     What the word was before.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     OverflowError: The value does not fit into 32 bits.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: The offset is no multiple of 4, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.fetch_add_u32(0, 3), region.fetch_add_u32(0, -1), region.load_u32(0)
    ///     (0, 3, 2)
    fn fetch_add_u32(&self, offset: Offset, delta: Word32) -> PyResult<u32> {
        self.region.fetch_add_u32(offset.0, delta.0).map_err(|error| self.raise(error))
    }

    /// Replace a 32-bit word if it is what is expected, atomically.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 4.
    ///     expected: What it must be.
    ///     desired: What it becomes then.
    ///
    /// Returns:
    ///     What the word was before: it was replaced exactly if that equals ``expected``.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     OverflowError: A value does not fit into 32 bits.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: The offset is no multiple of 4, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.compare_exchange_u32(0, 0, 7), region.compare_exchange_u32(0, 0, 8), region.load_u32(0)
    ///     (0, 7, 7)
    fn compare_exchange_u32(&self, offset: Offset, expected: Word32, desired: Word32) -> PyResult<u32> {
        self.region.compare_exchange_u32(offset.0, expected.0, desired.0).map_err(|error| self.raise(error))
    }

    /// Load a 64-bit word, atomically.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 8.
    ///
    /// Returns:
    ///     The word, unsigned.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: The offset is no multiple of 8, or the region is closed.
    ///
    /// Example:
    ///     >>> Region(None, 64).load_u64(8)
    ///     0
    fn load_u64(&self, offset: Offset) -> PyResult<u64> {
        self.region.load_u64(offset.0).map_err(|error| self.raise(error))
    }

    /// Store a 64-bit word, atomically.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 8.
    ///     value: The word; negative values as two's complement.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     OverflowError: The value does not fit into 64 bits.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: The offset is no multiple of 8, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.store_u64(8, -1)
    ///     >>> region.load_u64(8) == 2**64 - 1
    ///     True
    fn store_u64(&self, offset: Offset, value: Word64) -> PyResult<()> {
        self.region.store_u64(offset.0, value.0).map_err(|error| self.raise(error))
    }

    /// Add to a 64-bit word, atomically; it wraps around.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 8.
    ///     delta: What to add; negative values subtract.
    ///
    /// Returns:
    ///     What the word was before.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     OverflowError: The value does not fit into 64 bits.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: The offset is no multiple of 8, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.fetch_add_u64(0, 3), region.load_u64(0)
    ///     (0, 3)
    fn fetch_add_u64(&self, offset: Offset, delta: Word64) -> PyResult<u64> {
        self.region.fetch_add_u64(offset.0, delta.0).map_err(|error| self.raise(error))
    }

    /// Replace a 64-bit word if it is what is expected, atomically.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 8.
    ///     expected: What it must be.
    ///     desired: What it becomes then.
    ///
    /// Returns:
    ///     What the word was before: it was replaced exactly if that equals ``expected``.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     OverflowError: A value does not fit into 64 bits.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     TypeError: The region is read-only.
    ///     ValueError: The offset is no multiple of 8, or the region is closed.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.compare_exchange_u64(0, 0, 7), region.load_u64(0)
    ///     (0, 7)
    fn compare_exchange_u64(&self, offset: Offset, expected: Word64, desired: Word64) -> PyResult<u64> {
        self.region.compare_exchange_u64(offset.0, expected.0, desired.0).map_err(|error| self.raise(error))
    }

    /// Sleep while a 32-bit word is what is expected, until it is not or somebody rings.
    ///
    /// The kernel compares and falls asleep in one step (``futex(2)``), so a change between loading the word and
    /// waiting is not slept over, in whatever language it was made:
    ///
    ///     seen = region.load_u32(0)
    ///     while nothing_new(seen):
    ///         region.wait(0, seen)
    ///         seen = region.load_u32(0)
    ///
    /// A wake-up is a hint to look again: others may ring the same word, and a process that closes or moves its mapping
    /// while threads of its own wait wakes all who wait there. A wait looks for some microseconds at most before it
    /// sleeps; asleep it uses no processor time, and lets other threads run.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 4.
    ///     expected: The word as last seen.
    ///     timeout: Seconds; ``None`` waits for ever, 0 only looks.
    ///
    /// Returns:
    ///     True when the word is not ``expected`` any more, or somebody has rung; False after the timeout.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     KeyboardInterrupt: Ctrl-C, at once; likewise whatever another signal handler raises.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: The timeout is negative or NaN, the offset is no multiple of 4, or the region is closed, also
    ///         by another thread meanwhile.
    ///
    /// Example:
    ///     >>> region = Region(None, 64)
    ///     >>> region.wait(0, 0, timeout=0.01)
    ///     False
    ///     >>> region.store_u32(0, 1)
    ///     >>> region.wait(0, 0)
    ///     True
    #[pyo3(signature = (offset, expected, timeout = None))]
    fn wait(&self, py: Python<'_>, offset: Offset, expected: Word32, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = Timeout::new(timeout)?;
        wait::wait(py, &self.region, offset.0, expected.0, timeout, |error| self.raise(error))
    }

    /// Wake those who wait on a 32-bit word, in all processes. Change the word first.
    ///
    /// Args:
    ///     offset: Bytes from the start, a multiple of 4.
    ///     count: How many to wake at most; all when ``None``.
    ///
    /// Returns:
    ///     How many were asleep and are woken.
    ///
    /// Raises:
    ///     IndexError: The word reaches outside the region.
    ///     SegmentTruncated: Somebody truncated the file.
    ///     ValueError: The offset is no multiple of 4, or the region is closed.
    ///
    /// Example:
    ///     >>> Region(None, 64).ring(0)
    ///     0
    #[pyo3(signature = (offset, count = None))]
    fn ring(&self, offset: Offset, count: Option<Length>) -> PyResult<usize> {
        let count = count.map_or(u32::MAX, |count| u32::try_from(count.0).unwrap_or(u32::MAX));
        self.region.ring(offset.0, count).map_err(|error| self.raise(error))
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
