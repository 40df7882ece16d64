"""Memory that processes on one Linux machine share.

The floors, from the ground up; imports run downwards only:

- ``samemap._core``: the compiled half: mapped bytes, atomics, futex waits, the bus-error guard.
- ``samemap.names``: where a name lives.
- ``samemap.errors``: what is raised beside Python's own errors.
- ``samemap.holders``: which processes map a file.
- ``samemap.arrays``: numpy arrays over shared bytes.
- ``samemap.handles``: descriptors that travel over sockets.
- ``samemap.region``: `Region`, raw shared bytes.
- ``samemap.cli``: the ``samemap`` command.
"""

from ._core import PAGE_SIZE, __version__
from .errors import SegmentTruncated
from .region import Region, RegionStats

__all__ = ["PAGE_SIZE", "Region", "RegionStats", "SegmentTruncated", "__version__"]
