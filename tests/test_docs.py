"""The documents tell the truth: their Python runs, their links lead somewhere, and the examples are short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [
    path for path in sorted(ROOT.rglob("*.md")) if not path.relative_to(ROOT).parts[0].startswith((".", "target"))
]
LONGEST_EXAMPLE = 40

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[\w+-]*)")
LINK = re.compile(r"\]\((?P<inline>[^()\s]+)(?: \"[^\"]*\")?\)|^\[[^\]]+\]: (?P<reference>\S+)", re.MULTILINE)
ELSEWHERE = re.compile(r"^(https?|mailto):")
NOT_RUN = re.compile(r"<!-- not run: \w.* -->")


class Block(NamedTuple):
    """A fenced block: language, line number of its first line, lines, and the line of text before it."""

    language: str
    start: int
    lines: list[str]
    before: str


def split(text: str) -> tuple[str, list[Block]]:
    """Return the prose, and the fenced blocks."""
    prose: list[str] = []
    blocks: list[Block] = []
    fence = None
    for number, line in enumerate(text.splitlines(), start=1):
        if fence is None:
            fence = FENCE.match(line)
            if fence is None:
                prose.append(line)
                continue
            before = next((line for line in reversed(prose) if line.strip()), "")
            blocks.append(Block(fence["language"], number + 1, [], before.strip()))
        elif line.strip() == fence["fence"]:
            fence = None
        else:
            blocks[-1].lines.append(line.removeprefix(fence["indent"]))
    assert fence is None, f"a fenced block is never closed: {blocks[-1].start}"
    return "\n".join(prose), blocks


def is_run(block: Block) -> bool:
    return block.language == "python" and not NOT_RUN.fullmatch(block.before)


def program(text: str) -> str:
    """Return the Python blocks that are run, each line at its line number in the document."""
    lines = [""] * len(text.splitlines())
    for block in filter(is_run, split(text)[1]):
        lines[block.start - 1 : block.start - 1 + len(block.lines)] = block.lines
    return "\n".join(lines)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", split(text)[0], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def dead_links(document: Path) -> list[str]:
    dead = []
    for link in LINK.finditer(split(document.read_text())[0]):
        target = link["inline"] or link["reference"]
        if ELSEWHERE.match(target):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = document.parent / path if path else document
        if not found.exists() or (anchor and anchor not in anchors(found.read_text())):
            dead.append(target)
    return dead


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_python_in_documents_runs(guide: Path, tmp_path: Path) -> None:
    text = guide.read_text()
    script = tmp_path / guide.with_suffix(".py").name
    script.write_text(program(text))
    folder = tmp_path / "work"
    folder.mkdir()
    # A process of its own: the blocks may start processes, and those import the script.
    line = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(
        line, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{guide.name}, lines as in the document:\n{done.stdout}\n{done.stderr}"


def test_the_readme_shows_python_that_runs() -> None:
    assert any(is_run(block) for block in split((ROOT / "README.md").read_text())[1])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert dead_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_not_run_says_why(document: Path) -> None:
    lines = [line.strip() for line in document.read_text().splitlines()]
    assert [line for line in lines if line.startswith("<!-- not run") and not NOT_RUN.fullmatch(line)] == []


def test_examples_are_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "examples").glob("*.py")}
    assert lengths, "there are no examples"
    assert {name: length for name, length in lengths.items() if length >= LONGEST_EXAMPLE} == {}


TEXT = """\
# Two words, `code`!

```python
first = 1
```

<!-- not run: it needs a camera -->

```python
raise SystemExit
```

- A list:
  ```python
  if first:
      print("second")
  ```

```console
$ make [no](link)
```

[here](#two-words-code) [there](missing.md) [nowhere](#three) [web](https://example.org/none)

[below]: other/missing.md
"""


def test_blocks_are_found_where_they_are() -> None:
    assert [(block.language, block.start) for block in split(TEXT)[1]] == [
        ("python", 4),
        ("python", 10),
        ("python", 15),
        ("console", 20),
    ]
    lines = program(TEXT).splitlines()
    assert {number: line for number, line in enumerate(lines, start=1) if line} == {
        4: "first = 1",
        15: "if first:",
        16: '    print("second")',
    }


def test_dead_links_are_found(tmp_path: Path) -> None:
    document = tmp_path / "text.md"
    document.write_text(TEXT)
    assert dead_links(document) == ["missing.md", "#three", "other/missing.md"]


def test_both_readmes_show_the_figures_of_one_run() -> None:
    # Written by `make bench ARGS=--write`, which knows no other place for a number.
    marked = re.compile(r"<!-- figures: begin -->\n(.*)<!-- figures: end -->", re.DOTALL)
    shown = [marked.findall((ROOT / name).read_text()) for name in ("README.md", "benchmarks/README.md")]
    assert shown[0] == shown[1]
    (table,) = shown[0]
    assert all(part in table for part in ("CPython", "bell hand-over", "region.fetch_add_u64", "import samemap"))
