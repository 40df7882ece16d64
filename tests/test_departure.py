"""A process that ends normally leaves all rosters, also as a child of multiprocessing."""

from __future__ import annotations

from pathlib import Path

import pytest
from isolated import succeed, until

from samemap import Lock


def pids(lock: Lock) -> list[int]:
    return [who.pid for who in lock.participants()]


#: Objects that the interpreter drops at its end close themselves; this one stays.
KEPT = "import ctypes; ctypes.pythonapi.Py_IncRef(ctypes.py_object(lock))"


@pytest.mark.parametrize("end", ["", "sys.exit()", "lock.acquire()", KEPT])
def test_a_script(end: str) -> None:
    lock = Lock("shared")
    succeed(f"import sys; from samemap import Lock; lock = Lock('shared'); assert len(lock.participants()) == 2; {end}")
    assert len(pids(lock)) == 1


CHILD = """
import multiprocessing, sys
{before}

def use(late):
    from samemap import Lock
    lock = Lock("shared")
    assert len(lock.participants()) >= 2, lock.participants()

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    child = context.Process(target=use, args=(1,))
    child.start()
    child.join(60)
    assert child.exitcode == 0, child.exitcode
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    "before",
    ["", "from samemap import Lock; lock = Lock('shared')", "import multiprocessing.util; import samemap"],
    ids=["the child imports it first", "the parent has it open", "the parent imports it after multiprocessing"],
)
def test_a_child_of_multiprocessing(method: str, before: str, tmp_path: Path) -> None:
    lock = Lock("shared")
    script = tmp_path / "script.py"
    script.write_text(CHILD.format(method=method, before=before))
    succeed("import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')", script)
    # The server of forkserver imports the script, too, and ends a moment after it.
    until(lambda: len(pids(lock)) == 1, "the end of the others")


def test_what_is_used_after_leaving_joins_again() -> None:
    lock = Lock("shared")
    out = succeed(
        """
        import samemap
        from samemap import Lock, _core

        lock = Lock("shared")
        _core.leave_all()
        before = len(lock.participants())
        with lock:
            print(before, len(lock.participants()), lock.locked())
        """
    )
    assert out == "1 2 True\n"
    assert len(pids(lock)) == 1
