"""The documentation of everything public: it is there, it names what there is, and its examples run.

Whether the stubs agree with the compiled module is checked by `make lint` (stubtest).
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import samemap
from samemap import _core
from samemap.records import Record

MODULES = (
    "samemap.barriers",
    "samemap.calls",
    "samemap.clients",
    "samemap.codecs",
    "samemap.conditions",
    "samemap.counters",
    "samemap.dtypes",
    "samemap.encodings",
    "samemap.events",
    "samemap.failures",
    "samemap.fitting",
    "samemap.latest",
    "samemap.locks",
    "samemap.names",
    "samemap.namespaces",
    "samemap.ownership",
    "samemap.pickles",
    "samemap.queues",
    "samemap.readwritelock",
    "samemap.region",
    "samemap.segments",
    "samemap.semaphores",
    "samemap.services",
    "samemap.serving",
    "samemap.subscriptions",
    "samemap.topics",
    "samemap.typeinfo",
    "samemap.waiting",
)
OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE


def public_objects() -> Iterator[tuple[str, object]]:
    """Yield everything that a user meets; of classes what they inherit, too."""
    yield "samemap", samemap
    for name in samemap.__all__:
        found = getattr(samemap, name)
        if isinstance(found, str | int):
            continue
        yield name, found
        if isinstance(found, type) and not is_record(found):
            yield from (
                (f"{name}.{member}", inspect.getattr_static(found, member))
                for member in dir(found)
                if not member.startswith("_")
            )


def is_record(thing: type) -> bool:
    """Tell whether the class describes its members itself, or Python does."""
    return "\nAttributes:\n" in documentation(thing) or issubclass(thing, BaseException)


def documentation(thing: object) -> str:
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


PUBLIC = dict(public_objects())


def parameters(thing: object) -> list[str]:
    if isinstance(thing, classmethod | staticmethod):
        thing = thing.__func__
    if not callable(thing) or (isinstance(thing, type) and is_record(thing)):
        return []
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls", "slf")]


def described(thing: object, section: str) -> list[str]:
    """Return the names in a section of the docstring; none when there is no such section."""
    found = re.search(rf"^{section}:\n((?:[ ]{{4}}.*\n|\n)+)", documentation(thing) + "\n", re.MULTILINE)
    return re.findall(r"^    (\w+): ", found[1], re.MULTILINE) if found else []


@pytest.mark.parametrize("name", PUBLIC)
def test_the_first_line_says_what_it_does(name: str) -> None:
    first, _, rest = documentation(PUBLIC[name]).partition("\n")
    assert re.fullmatch(r"[A-Z`].{8,}\.", first), f"{name}: {first!r}"
    assert not rest or rest.startswith("\n"), f"{name}: the first line must stand alone"


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if parameters(thing)])
def test_every_parameter_is_explained(name: str) -> None:
    assert described(PUBLIC[name], "Args") == parameters(PUBLIC[name])


def fields(record: type) -> list[str]:
    if issubclass(record, Record):
        return list(record._names)
    return [name for name in dir(record) if not name.startswith("_")]


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if described(thing, "Attributes")])
def test_every_field_is_described(name: str) -> None:
    record = PUBLIC[name]
    assert isinstance(record, type)
    assert sorted(described(record, "Attributes")) == sorted(fields(record))


def test_public_objects_were_found() -> None:
    assert {"Region.open", "Region.wait", "Region.resize", "Region.size", "RegionStats"} <= set(PUBLIC)
    assert {"Lock.acquire", "Lock.open", "RLock.depth", "Namespace.lock", "LockStats", "OwnerDied", "wait"} <= set(
        PUBLIC
    )


def examples(module: str) -> list[doctest.DocTest]:
    if module != "samemap._core":
        found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
        return [test for test in found if test.examples]
    # doctest's own finder looks only into classes and functions that were written in Python.
    parser = doctest.DocTestParser()
    names = {"Region": samemap.Region}
    tests = (
        parser.get_doctest(documentation(member), names, f"{module}.{kind.__name__}.{name}", None, 0)
        for kind in vars(_core).values()
        if isinstance(kind, type)
        for name, member in vars(kind).items()
    )
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("module", [*MODULES, "samemap._core"])
def test_every_module_has_examples(module: str) -> None:
    assert examples(module)


@pytest.mark.parametrize(
    "test",
    [test for module in (*MODULES, "samemap._core") for test in examples(module)],
    ids=lambda test: test.name,
)
def test_example(
    test: doctest.DocTest, runtime_directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    outcome = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.write)
    assert outcome.attempted > 0
    assert outcome.failed == 0, report.getvalue()
    assert not list(runtime_directory.iterdir()), "the example left a file behind"
