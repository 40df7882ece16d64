//! Atomic words of a region, and the bell.

use pyo3::prelude::*;

use crate::arguments::{Count, Offset, Timeout, Word32, Word64};
use crate::region::Region;
use crate::wait;

#[pymethods]
impl Region {
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
    ///     ValueError: The offset is no multiple of 4, the count is negative, or the region is closed.
    ///
    /// Example:
    ///     >>> Region(None, 64).ring(0)
    ///     0
    #[pyo3(signature = (offset, count = None))]
    fn ring(&self, offset: Offset, count: Option<Count>) -> PyResult<usize> {
        let count = count.map_or(u32::MAX, |count| count.0);
        self.region.ring(offset.0, count).map_err(|error| self.raise(error))
    }
}
