"""The floors of the Python half, and how its files are named and sized.

The Rust half: crates/core/tests/floors.rs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from isolated import succeed

from samemap import _core

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "samemap"
PYTHON_FILES = sorted(
    path for folder in ("src", "tests", "demo", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
TELLS_NOTHING = {
    "base",
    "bases",
    "common",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "util",
    "utils",
}
LONGEST_FILE = 600


def check_contracts(source: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the contracts of pyproject.toml on the package in that folder."""
    program = Path(sys.executable).with_name("lint-imports")
    line = [str(program), "--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")]
    # The installed package is another folder's: the one to check must come first.
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, cwd=source, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_imports_run_downwards_only() -> None:
    done = check_contracts(PACKAGE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 2 kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("names.py", "from .region import Region"),
        ("names.py", "from .errors import SegmentTruncated"),
        ("region.py", "import samemap.cli"),
        ("errors.py", "def later():\n    from .cli import main"),
        ("__init__.py", "from . import cli"),
        ("unplaced.py", "import os"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    copy = tmp_path / "samemap"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    with (copy / file).open("a") as module:
        module.write(f"\n{line}\n")
    done = check_contracts(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"Contracts: \d kept, [12] broken\.", done.stdout), done.stdout


def test_importing_samemap_loads_nothing_heavy() -> None:
    loaded = succeed(
        """
        import sys

        before = set(sys.modules)
        import samemap

        print(*sorted(set(sys.modules) - before))
        """
    ).split()
    assert {"samemap", "samemap._core", "samemap.names", "samemap.region"} <= set(loaded)
    heavy = {
        "asyncio",
        "click",
        "ctypes",
        "multiprocessing",
        "numpy",
        "rich",
        "socket",
        "subprocess",
        "tempfile",
    }
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert "samemap.cli" not in loaded


def test_the_compiled_half_stands_alone() -> None:
    loaded = succeed(
        """
        import sys
        from importlib.machinery import ExtensionFileLoader
        from importlib.util import module_from_spec, spec_from_loader

        loader = ExtensionFileLoader("samemap._core", sys.argv[1])
        module = module_from_spec(spec_from_loader("samemap._core", loader, origin=sys.argv[1]))
        loader.exec_module(module)
        region = module.Region
        print(*(name for name in sys.modules if name.partition(".")[0] == "samemap"))
        """,
        _core.__file__,
    ).split()
    assert set(loaded) <= {"samemap._core"}


def test_names_say_what_is_inside() -> None:
    assert PACKAGE / "region.py" in PYTHON_FILES
    nondescript = [
        path
        for path in (path.relative_to(ROOT) for path in PYTHON_FILES)
        for part in path.with_suffix("").parts
        if TELLS_NOTHING & set(part.lower().split("_"))
    ]
    assert not nondescript


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PYTHON_FILES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}
