"""Frozen records."""

from __future__ import annotations

import copy
import pickle

import pytest

from samemap import Holder, Share
from samemap.records import Record


class Point(Record):
    """A record with fields of its own."""

    x: int
    y: int


class Point3(Point):
    """A record that adds one."""

    z: int


def test_fields_are_given_in_order_or_by_name() -> None:
    assert Point(1, 2) == Point(1, y=2) == Point(y=2, x=1)
    assert (Point3(1, 2, 3).x, Point3(1, 2, 3).z) == (1, 3)


@pytest.mark.parametrize(("values", "named"), [((1,), {}), ((1, 2, 3), {}), ((1, 2), {"x": 1}), ((1,), {"z": 2})])
def test_a_field_too_few_or_too_many_is_refused(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point has the fields x, y"):
        Point(*values, **named)


def test_records_are_equal_when_kind_and_fields_are() -> None:
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Point3(1, 2, 3)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2


def test_a_record_cannot_be_changed() -> None:
    point = Point(1, 2)
    with pytest.raises(AttributeError, match="x cannot be set"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="y cannot be deleted"):
        del point.y
    assert point == Point(1, 2)


def test_a_record_prints_as_it_would_be_made() -> None:
    holder = Holder(7, "python jobs.py", 1.5, True, None)
    assert repr(holder) == "Holder(pid=7, command='python jobs.py', since=1.5, alive=True, thread=None)"
    assert eval(repr(holder)) == holder


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_copies_are_equal(travel: object) -> None:
    share = Share(7, "python", False, 3)
    assert travel(share) == share  # type: ignore[operator]
