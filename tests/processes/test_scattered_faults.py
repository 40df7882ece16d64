"""More holes than the kernel allows mappings: touched all over, a truncated file must not kill either."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed

SOURCE = """
import os, sys
import numpy as np
from samemap import PAGE_SIZE, Region, SegmentTruncated

limit = int(open("/proc/sys/vm/max_map_count").read())
pages = 3 * limit
region = Region.create("holes", pages * PAGE_SIZE, sparse=True)
region[:5] = b"first"
view = region.array()[::PAGE_SIZE]
os.truncate(region.path, PAGE_SIZE)
step = int(sys.argv[1])
touched = view[::step] if step > 0 else view[:0:step]
if sys.argv[2] == "write":
    touched[:] = 1
else:
    assert touched[:2].sum() in (0, ord("f"))
    assert touched.sum() < 256
assert len(open("/proc/self/maps").readlines()) < limit // 4
try:
    region[0]
    raise SystemExit("nothing was told")
except SegmentTruncated:
    pass
region.resize(pages * PAGE_SIZE, sparse=True)
assert view[0] == ord("f") or sys.argv[2] == "write"
view[-1] = 9
assert region[(pages - 1) * PAGE_SIZE] == 9
region.unlink()
"""


@pytest.mark.parametrize("how", ["read", "write"])
@pytest.mark.parametrize("step", [2, -2])
def test_every_other_page_is_touched(step: int, how: str, runtime_directory: Path) -> None:
    succeed(SOURCE, step, how)
