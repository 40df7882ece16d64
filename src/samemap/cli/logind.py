"""Whether systemd-logind will delete the files of a user at logout: ``RemoveIPC=``, logind.conf(5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .checks import Finding

__all__ = ["Setting", "remove_ipc", "setting"]

#: Where settings are, the strongest first; systemd.syntax(7), logind.conf(5).
_DIRECTORIES = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd")

_WORDS = {
    **dict.fromkeys(("1", "yes", "y", "true", "t", "on"), True),
    **dict.fromkeys(("0", "no", "n", "false", "f", "off"), False),
}

#: Users up to this number are the system's, and keep their files: SYSTEM_UID_MAX.
_LAST_SYSTEM_USER = 999


class Setting(NamedTuple):
    """What was set.

    Attributes:
        removes: Whether files are deleted.
        source: The file that says so; ``None`` for the default.
    """

    removes: bool
    source: Path | None


def setting(root: Path = Path("/")) -> Setting:
    """Return what ``RemoveIPC=`` is.

    Args:
        root: The root of the file system.
    """
    chosen = Setting(True, None)
    for file in _files(root):
        value = _value(file)
        if value is not None:
            chosen = Setting(value, file)
    return chosen


def remove_ipc(root: Path, uid: int, user: str, directory: Path) -> Iterator[Finding]:
    """Find that a logout deletes the runtime directory.

    Args:
        root: The root of the file system.
        uid: The user's number.
        user: The user's name.
        directory: The runtime directory.
    """
    runs = (root / "run/systemd/sessions").is_dir()
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    in_memory = Path("/dev/shm") in directory.parents  # noqa: S108 - that is what logind cleans
    if not runs or lingers or not in_memory or uid <= _LAST_SYSTEM_USER:
        return
    removes, source = setting(root)
    if removes:
        where = "by default" if source is None else f"in {source}"
        yield Finding(
            "logout",
            str(directory),
            f"systemd-logind has RemoveIPC=yes ({where}), and {user} (uid {uid}) is no system user",
            f"when {user} logs out for good, it deletes all files of that user in /dev/shm, these too, also while "
            "programs still use them",
            f"loginctl enable-linger {user}; or RemoveIPC=no in /etc/systemd/logind.conf; or set SAMEMAP_DIR to a "
            "directory outside of /dev/shm",
        )


def _files(root: Path) -> Iterator[Path]:
    """Yield the files that count, the weakest first."""
    mains = [root / directory / "logind.conf" for directory in _DIRECTORIES]
    yield from [file for file in mains if file.is_file()][:1]
    # Of two with the same name, the one in the stronger directory hides the other; in the order of their names.
    found: dict[str, Path] = {}
    for directory in reversed(_DIRECTORIES):
        folder = root / directory / "logind.conf.d"
        found.update((file.name, file) for file in folder.glob("*.conf"))
    yield from (found[name] for name in sorted(found))


def _value(file: Path) -> bool | None:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return None
    section, value = "", None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        name, equals, word = line.partition("=")
        if section == "Login" and equals and name.strip() == "RemoveIPC":
            # What is no such word is ignored, there and here.
            value = _WORDS.get(word.strip().lower(), value)
    return value
