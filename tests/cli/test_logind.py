"""What systemd-logind would delete, told from its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from samemap.cli.logind import remove_ipc, setting

RUNTIME = Path("/dev/shm/samemap-1000")


@pytest.fixture
def root(tmp_path):
    """Give the root of a system on which logind runs."""
    (tmp_path / "run/systemd/sessions").mkdir(parents=True)
    return tmp_path


def put(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_it_deletes_by_default(root):
    (finding,) = remove_ipc(root, 1000, "alice", RUNTIME)
    assert finding.found == ("systemd-logind has RemoveIPC=yes (by default), and alice (uid 1000) is no system user")
    assert finding.cure.startswith("loginctl enable-linger alice; or RemoveIPC=no in ")
    assert "SAMEMAP_DIR" in finding.cure


def test_what_a_distribution_ships_counts(root):
    put(root, "usr/lib/systemd/logind.conf", "[Login]\nRemoveIPC=no\n")
    assert not list(remove_ipc(root, 1000, "alice", RUNTIME))


def test_the_finding_names_the_file(root):
    file = put(root, "etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\nRemoveIPC = YES\n")
    (finding,) = remove_ipc(root, 1000, "alice", RUNTIME)
    assert f"(in {file})" in finding.found


@pytest.mark.parametrize(
    ("files", "removes"),
    [
        ({}, True),
        # Of the main files, only the strongest is read.
        ({"etc/systemd/logind.conf": "", "usr/lib/systemd/logind.conf": "[Login]\nRemoveIPC=no"}, True),
        ({"run/systemd/logind.conf": "[Login]\nRemoveIPC=off"}, False),
        # Drop-ins are read after them, in the order of their names, wherever they are.
        (
            {
                "etc/systemd/logind.conf": "[Login]\nRemoveIPC=yes",
                "usr/lib/systemd/logind.conf.d/10.conf": "[Login]\nRemoveIPC=0",
            },
            False,
        ),
        (
            {
                "etc/systemd/logind.conf.d/10.conf": "[Login]\nRemoveIPC=no",
                "usr/lib/systemd/logind.conf.d/20.conf": "[Login]\nRemoveIPC=true",
            },
            True,
        ),
        # Of the same name, the stronger directory's hides the other.
        (
            {
                "etc/systemd/logind.conf.d/10.conf": "",
                "usr/lib/systemd/logind.conf.d/10.conf": "[Login]\nRemoveIPC=no",
            },
            True,
        ),
        ({"etc/systemd/logind.conf": "[Other]\nRemoveIPC=no"}, True),
        ({"etc/systemd/logind.conf": "RemoveIPC=no"}, True),
        ({"etc/systemd/logind.conf": "[Login]\nRemoveIPC=no\nRemoveIPC=maybe"}, False),
        ({"etc/systemd/logind.conf.d/10.txt": "[Login]\nRemoveIPC=no"}, True),
    ],
)
def test_settings_are_read_as_systemd_does(root, files, removes):
    for path, text in files.items():
        put(root, path, text)
    assert setting(root).removes is removes


def test_the_spared_are_not_warned(root, tmp_path):
    assert not list(remove_ipc(root, 0, "root", RUNTIME))
    assert not list(remove_ipc(root, 999, "daemon", RUNTIME))
    assert not list(remove_ipc(root, 1000, "alice", Path("/var/tmp/alice")))
    put(root, "var/lib/systemd/linger/alice", "")
    assert not list(remove_ipc(root, 1000, "alice", RUNTIME))
    assert list(remove_ipc(root, 1001, "bob", RUNTIME))
    (root / "run/systemd/sessions").rmdir()
    assert not list(remove_ipc(root, 1001, "bob", RUNTIME))
