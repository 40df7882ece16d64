"""What holds for all commands: help, errors, colour, completion, documentation."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import samemap as package
from samemap import SegmentTruncated
from samemap.cli import commands
from samemap.cli.failures import explain
from samemap.cli.reference import REGENERATE, render

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"

NAMES = [
    "bw",
    "delay",
    "doctor",
    "echo",
    "hexdump",
    "hz",
    "locks",
    "ls",
    "pub",
    "read",
    "resize",
    "rm",
    "stat",
    "top",
    "view",
    "why",
    "write",
]


def test_docs_are_what_the_code_says():
    assert DOCUMENT.read_text() == render(), f"docs/cli.md is out of date; run: {REGENERATE}"


def test_the_command_that_regenerates_the_docs(start):
    program, _, target = REGENERATE.partition(" > ")
    assert target == "docs/cli.md"
    python, *arguments = shlex.split(program)
    assert python == "python"
    assert start(sys.executable, *arguments, encoding="utf-8").communicate()[0] == render()


def test_every_command_is_there():
    assert sorted(commands.commands) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_help_teaches(run, name):
    shown = run(name, "--help").output
    assert "Examples:\n" in shown
    assert f"  samemap {name} " in shown.partition("Examples:\n")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_a_command_line_that_is_understood(name):
    command = commands.commands[name]
    found = 0
    for line in command.epilog.splitlines():
        # The explanation stands after two spaces or on the next line.
        example = re.split(r" {2,}", line.strip())[0]
        lexer = shlex.shlex(example, posix=True, punctuation_chars="|<>")
        lexer.whitespace_split = True
        for is_operator, group in itertools.groupby(lexer, lambda word: word in "|<>"):
            words = list(group)
            if not is_operator and words[:2] == ["samemap", name]:
                command.make_context(name, words[2:], parent=click.Context(commands))
                found += 1
    assert found >= 1


def test_the_groups_help_says_where_names_live(run):
    shown = " ".join(run("--help").output.split())
    assert "$SAMEMAP_DIR, else /dev/shm/samemap-UID" in shown
    assert "Try it in two terminals: samemap read last --follow" in shown


@pytest.mark.parametrize("name", ["read", "write"])
def test_help_is_honest(run, name):
    shown = " ".join(run(name, "--help").output.split())
    assert "A raw region can promise no more than memory does" in shown
    assert name == "write" or "reads until two reads agree" in shown


def test_version(run):
    assert run("--version").output == f"samemap, version {package.__version__}\n"


def test_the_installed_program_and_the_module_are_the_same(samemap):
    program = Path(sys.executable).with_name("samemap")
    installed = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    assert samemap("--help").communicate()[0] == installed


def test_an_unknown_command_is_a_usage_error(run):
    assert run("raed").exit_code == 2


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("doctor", "ls")])
def test_a_name_that_is_none_is_an_error_of_one_line(run, name):
    more = {"write": ["Hello"], "resize": ["4K"]}.get(name, [])
    result = run(name, "..", *more)
    assert result.exit_code == 1
    assert result.stderr == (
        f"samemap {name}: '..' is no name: names do not start with a dot; write './..' for the file of that name here\n"
    )


def test_an_unsafe_runtime_directory_is_an_error_of_one_line(run, runtime_directory):
    runtime_directory.chmod(0o777)
    for arguments in (
        ["ls"],
        ["locks"],
        ["read", "last"],
        ["write", "last", "Hello"],
        ["rm", "last"],
        ["stat", "last"],
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"samemap {arguments[0]}: {runtime_directory}: others may write to")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EIO, "what", "/f"), "/f: what"),
        (
            OSError(errno.EIO, "what; a cure in Python (waited 1 s)", "/f"),
            "/f: what (waited 1 s); a cure in Python",
        ),
        (
            OSError(errno.EPERM, "foreign; any_owner=True accepts that", "/f"),
            "/f: foreign; --any-owner accepts that",
        ),
        (OSError(errno.ENOENT, "missing", b"/f"), "/f: missing; 'samemap ls' shows what there is"),
        (SegmentTruncated(errno.EFAULT, "cut; resize(3)", "/f"), "/f: cut; start again once it is whole"),
        (OSError("just words"), "last: just words"),
        (ValueError("two\nlines\x1b"), "two\\nlines\\x1b"),
    ],
)
def test_errors_are_translated_into_options(error, line):
    assert explain(error, "last") == line


def colours(environment: dict[str, str], *arguments: str) -> bool:
    """Run a command on a terminal and tell whether it used escape sequences."""
    ours, theirs = os.openpty()
    try:
        program = subprocess.Popen(
            [sys.executable, "-m", "samemap", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        assert program.wait() in (0, 1)
        # Little enough for the terminal's own buffer.
        shown = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown
    return b"\x1b[" in shown


@pytest.mark.parametrize("arguments", [["stat", "last"], ["ls"], ["read", "none"], ["doctor"]])
def test_colour_on_a_terminal_only(run, last, monkeypatch, arguments):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours({}, *arguments)
    assert not colours({"NO_COLOR": "1"}, *arguments)
    assert "\x1b" not in run(*arguments).output


def test_ls_on_a_terminal_says_that_there_is_nothing(runtime_directory):
    ours, theirs = os.openpty()
    try:
        line = [sys.executable, "-m", "samemap", "ls"]
        result = subprocess.run(line, stdout=theirs, stderr=subprocess.PIPE, text=True)
        assert result.stderr == f"no regions in {runtime_directory}\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_completion_knows_the_regions(samemap, last):
    def complete(words: str) -> list[str]:
        environment = {
            **os.environ,
            "_SAMEMAP_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": "2",
        }
        program = Path(sys.executable).with_name("samemap")
        result = subprocess.run([program], env=environment, capture_output=True, text=True, check=True)
        return result.stdout.split()

    assert complete("samemap read la") == ["plain,last"]
    assert complete("samemap read x") == []


def test_the_base_install_suffices(start):
    source = "import sys, samemap.cli; print({'numpy', 'rich', 'msgspec', 'textual'} & set(sys.modules))"
    assert start(source=source).communicate()[0] == "set()\n"
