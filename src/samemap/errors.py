"""The errors that samemap adds to Python's own."""

from ._core import SegmentTruncated

__all__ = ["SegmentTruncated"]
