"""What a pickled region needs of its sender, and what travels with it."""

from __future__ import annotations

import copy
import errno
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from multiprocessing import resource_sharer
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest

from samemap import Region

CURE = "keep the sender alive until it has arrived, or use a named region"


class Frame(Region):
    """A subclass whose instances have attributes, as users make them."""

    title: str
    sizes: list[int]


@pytest.fixture(autouse=True)
def _no_sharer_is_left() -> Iterator[None]:
    yield
    # It hands out descriptors from a thread, which must not outlive the test.
    resource_sharer.stop(timeout=60)


def put_and_leave(queue: Queue[Region], name: str | None) -> None:
    """Put a region without a name on the queue, and end at once."""
    region = Region(name, 64)
    region.unlink(missing_ok=True)
    queue.put(region)
    queue.close()
    queue.join_thread()


@pytest.mark.parametrize(("name", "called"), [(None, "an anonymous region"), ("camera", "the region 'camera'")])
def test_sender_that_has_ended_is_named_with_the_cure(name: str | None, called: str) -> None:
    context = multiprocessing.get_context("spawn")
    queue: Queue[Region] = context.Queue()
    child = context.Process(target=put_and_leave, args=(queue, name))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    try:
        with pytest.raises(OSError, match=f"{called} did not arrive.*{CURE}") as caught:
            queue.get(timeout=60)
        assert caught.value.errno == errno.ENODATA
        assert isinstance(caught.value.__cause__, OSError)
    finally:
        queue.close()
        queue.join_thread()


def test_what_was_received_before_says_so() -> None:
    with Region(None, 64) as region:
        parcel = pickle.dumps(region)
        with pickle.loads(parcel) as same:
            same[0] = 7
        assert region[0] == 7
        with pytest.raises(OSError, match=f"or it was received before; {CURE}") as caught:
            pickle.loads(parcel)
        assert caught.value.errno == errno.ENODATA
        assert isinstance(caught.value.__cause__, (EOFError, ConnectionError))


@pytest.mark.parametrize("name", [None, "camera"])
@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_attributes_of_a_subclass_travel(
    name: str | None, travel: Callable[[Any], Any], runtime_directory: Path
) -> None:
    with Frame(name, 64) as frame:
        frame.title = "left"
        frame.sizes = [1, 2]
        with travel(frame) as same:
            assert type(same) is Frame
            assert (same.title, same.sizes, same.name) == ("left", [1, 2], name)
            same[0] = 7
            assert frame[0] == 7


def test_a_region_itself_has_no_attributes_to_send() -> None:
    with Region.create("camera", 64) as region:
        assert region.__reduce__()[2] is None
