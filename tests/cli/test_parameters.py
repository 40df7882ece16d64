"""Sizes and durations, as people write them."""

from __future__ import annotations

import math

import click
import pytest

from samemap.cli.display import counted_processes, human_size, printable
from samemap.cli.parameters import PERMISSION, SIZE_CHANGE, Duration, SizeChange, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("13B", 13),
        ("64K", 65536),
        ("64k", 65536),
        ("64KiB", 65536),
        ("64kB", 64000),
        ("1M", 1 << 20),
        ("1MiB", 1 << 20),
        ("1MB", 1_000_000),
        ("1.5K", 1536),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("0x1000", 4096),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "K", "-1", "1X", "1 2", "0x", "1e3", "0.3", "1.0001K", "9223372036854775808", "٣", "inf", "nan"],
)
def test_no_sizes(text):
    with pytest.raises(ValueError, match=r"is no size|no whole number|more bytes than"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "change", "result"),
    [
        ("1K", SizeChange(0, 1024), 1024),
        ("+1K", SizeChange(1, 1024), 5120),
        ("-1K", SizeChange(-1, 1024), 3072),
    ],
)
def test_size_changes(text, change, result):
    assert SIZE_CHANGE.convert(text, None, None) == change
    assert change.apply(4096) == result


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("500ms", 0.5),
        ("0.2", 0.2),
        (".2", 0.2),
        ("2m", 120),
        ("1h", 3600),
        ("250us", 0.00025),
        ("0", 0),
    ],
)
def test_durations(text, seconds):
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "nan", "inf", "1d", "1 s s", "1e3", "٣s"])
def test_no_durations(text):
    with pytest.raises(click.BadParameter, match="is no duration"):
        Duration().convert(text, None, None)


def test_a_duration_may_be_endless_or_too_short():
    assert Duration(endless=True).convert("inf", None, None) == math.inf
    with pytest.raises(click.BadParameter, match="too short"):
        Duration(minimum=0.001).convert("0", None, None)


def test_permissions():
    assert PERMISSION.convert("640", None, None) == PERMISSION.convert("0640", None, None) == 0o640
    for text in ("rw", "1777", "888", "6"):
        with pytest.raises(click.BadParameter, match="no permission bits"):
            PERMISSION.convert(text, None, None)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1K"),
        (1536, "1.5K"),
        (1024 * 1024 - 1, "1M"),
        (1 << 30, "1G"),
        (5 << 40, "5T"),
        (1 << 62, "4194304T"),
    ],
)
def test_sizes_for_people(size, shown):
    assert human_size(size) == shown


def test_processes_are_counted():
    assert [counted_processes(count) for count in (0, 1, 2)] == ["0 processes", "1 process", "2 processes"]


def test_what_is_printable_stays():
    assert printable("grüß 🜁 \\") == "grüß 🜁 \\"
    assert printable("\x1b\n\x9b\u202e\udcff") == "\\x1b\\n\\x9b\\u202e\\udcff"
