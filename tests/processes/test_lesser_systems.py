"""Where the kernel or the file system lacks what we would rather use, regions come out the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import run, succeed
from refusing import FILTER, known_machine

pytestmark = known_machine

PRELUDE = (
    FILTER
    + """
import samemap
from samemap import PAGE_SIZE, Region
O_TMPFILE = 0o20000000
"""
)

NO_TMPFILE = """
refuse('openat', errno.EOPNOTSUPP, 2, O_TMPFILE)
try:
    os.open(os.environ["SAMEMAP_DIR"], os.O_TMPFILE | os.O_RDWR)
    raise SystemExit("the filter lets it pass")
except OSError:
    pass
"""
NO_PROC_LINK = "refuse('linkat', errno.ENOENT, 4, 0x400)\n"
NO_RENAME = "refuse('renameat2', errno.EINVAL)\n"

CREATE = """
region = Region.create("file", 3 * PAGE_SIZE + 5, perm=0o640)
region[-1] = 7
info = os.stat(region.path)
assert info.st_size == len(region) == 3 * PAGE_SIZE + 5
assert info.st_mode & 0o777 == 0o640
assert info.st_blocks * 512 >= len(region)
assert info.st_nlink == 1
try:
    Region.create("file", 64)
    raise SystemExit("made twice")
except FileExistsError:
    pass
with Region("file", 64) as same:
    assert same[-1] == 7
print(os.listdir(os.environ["SAMEMAP_DIR"]))
"""


@pytest.mark.parametrize(
    "lacking",
    [
        pytest.param("", id="nothing"),
        pytest.param(NO_TMPFILE, id="O_TMPFILE"),
        pytest.param(NO_PROC_LINK, id="proc"),
        pytest.param(NO_TMPFILE + NO_RENAME, id="O_TMPFILE and RENAME_NOREPLACE"),
        pytest.param("refuse('fallocate', errno.EOPNOTSUPP)\n", id="fallocate"),
        pytest.param("refuse('fallocate', errno.EOPNOTSUPP)\n" + NO_TMPFILE, id="fallocate and O_TMPFILE"),
    ],
)
def test_files_appear_whole(lacking: str) -> None:
    assert succeed(PRELUDE + lacking + CREATE) == "['file']\n"


@pytest.mark.parametrize("lacking", [NO_TMPFILE, NO_TMPFILE + NO_RENAME])
def test_no_room_leaves_nothing_behind(lacking: str, runtime_directory: Path) -> None:
    done = run(PRELUDE + lacking + "refuse('fallocate', errno.ENOSPC)\nRegion.create('file', 64)")
    assert "ENOSPC" in done.stderr or "No space left" in done.stderr
    assert list(runtime_directory.iterdir()) == []


def test_growth_where_space_cannot_be_reserved() -> None:
    succeed(
        PRELUDE
        + """
refuse('fallocate', errno.EOPNOTSUPP)
with Region.create("file", 10) as region, Region.open("file") as other:
    region[:] = b"0123456789"
    view = memoryview(region)
    region.resize(70_000)
    assert region[:10] == view == b"0123456789"
    assert region[10:] == bytes(70_000 - 10)
    assert os.stat(region.path).st_size == len(region) == 70_000  # sparse: others may write there at once, so no zeros
    assert other[69_999] == 0
"""
    )


def test_anonymous_memory_before_linux_6_3() -> None:
    noexec_seal = 8
    succeed(
        PRELUDE
        + f"""
refuse('memfd_create', errno.EINVAL, 1, {noexec_seal})
import fcntl
with Region(None, PAGE_SIZE) as region:
    region[0] = 1
    assert fcntl.fcntl(region.fileno(), 1034) & 2, "sealed against shrinking"
"""
    )


def test_populate_before_linux_5_14() -> None:
    succeed(
        PRELUDE
        + """
refuse('madvise', errno.EINVAL)
with Region(None, 8 * PAGE_SIZE, populate=True) as region:
    assert region.stats().resident == 8 * PAGE_SIZE
"""
    )


def test_waiting_for_a_file_without_inotify(runtime_directory: Path) -> None:
    succeed(
        PRELUDE
        + """
refuse('inotify_init1', errno.EMFILE)
import threading
def make():
    with Region.create("file", 64) as region:
        region[0] = 5
threading.Timer(0.2, make).start()
with Region.open("file", wait=60) as region:
    assert region[0] == 5 or region.wait(0, 0, 60)
"""
    )
    assert [path.name for path in runtime_directory.iterdir()] == ["file"]


def test_no_anonymous_memory_at_all_says_so() -> None:
    done = run(PRELUDE + "refuse('memfd_create', errno.ENOSYS)\nRegion(None, 64)")
    assert "cannot make anonymous memory: Function not implemented" in done.stderr
