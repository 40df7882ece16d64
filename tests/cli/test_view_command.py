"""`samemap view`."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

from samemap import Latest, Topic
from samemap.cli import pictures

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def picture_of(run, tmp_path, frame, *more):
    """Publish a frame, let the command write it to a file, and return the pixels of that and its mode."""
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "frame.png"
    with Topic("frame", shape=frame.shape, dtype=frame.dtype) as topic:
        topic.publish(frame)
        result = run("view", "frame", "-o", str(file), *more)
        topic.unlink()
    assert (result.exit_code, result.output) == (0, ""), result.stderr
    with image.open(file) as opened:
        assert opened.format == "PNG"
        return np.asarray(opened), opened.mode


def on_a_terminal(*arguments, environment=None, until=b"", keys=None):
    """Run a command on a terminal of 40 columns and 12 lines; return what it wrote and its exit status."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
    variables = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
    for name in ("COLUMNS", "LINES", *({"COLORTERM", "NO_COLOR"} - (environment or {}).keys())):
        variables.pop(name, None)
    program = subprocess.Popen(
        [sys.executable, "-m", "samemap", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            try:
                more = os.read(ours, 65536)
            except OSError:  # nobody has the terminal any more
                break
            shown += more
            if keys is not None and until in shown:
                program.send_signal(keys)
                keys = None
        return shown, program.wait(10)
    finally:
        program.kill()
        program.wait()
        os.close(ours)


GREY = np.arange(12, dtype="u1").reshape(3, 4) * 20
RGB = np.arange(36, dtype="u1").reshape(3, 4, 3)
RGBA = np.arange(48, dtype="u1").reshape(3, 4, 4)


@pytest.mark.parametrize(
    ("frame", "mode", "expected"),
    [(GREY, "L", GREY), (GREY[:, :, None], "L", GREY), (RGB, "RGB", RGB), (RGBA, "RGBA", RGBA)],
)
def test_bytes_are_written_as_they_are(run, tmp_path, frame, mode, expected):
    found, kind = picture_of(run, tmp_path, frame)
    assert kind == mode
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (np.array([[100, 300], [200, 500]], "u2"), [[0, 127], [63, 255]]),
        (np.array([[-1.0, 0.0], [1.0, 0.5]], "f4"), [[0, 127], [255, 191]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[7, 7]], "i4"), [[0, 0]]),
    ],
)
def test_other_numbers_go_from_the_least_to_the_greatest(run, tmp_path, frame, expected):
    assert picture_of(run, tmp_path, frame)[0].tolist() == expected


def test_a_range_can_be_given(run, tmp_path):
    frame = np.array([[0, 1000, 5000, 9000]], "u2")
    assert picture_of(run, tmp_path, frame, "--range", "1000", "5000")[0].tolist() == [[0, 0, 255, 255]]
    assert picture_of(run, tmp_path, GREY, "--range", "0", "100")[0].max() == 255
    assert picture_of(run, tmp_path, -np.ones((1, 1), "f8"), "--range", "-1", "1")[0].tolist() == [[0]]
    assert "what is black must be less than what is white" in run("view", "frame", "--range", "5", "5").stderr


def test_the_other_order_of_colours(run, tmp_path):
    assert np.array_equal(picture_of(run, tmp_path, RGB, "--bgr")[0], RGB[:, :, ::-1])
    assert np.array_equal(picture_of(run, tmp_path, RGBA, "--bgr")[0], RGBA[:, :, [2, 1, 0, 3]])


def test_opacity_has_a_range_of_its_own(run, tmp_path):
    frame = np.zeros((1, 2, 4), "u2")
    frame[0, 1] = (1000, 0, 0, 65535)
    assert picture_of(run, tmp_path, frame)[0].tolist() == [[[0, 0, 0, 0], [255, 0, 0, 255]]]


@pytest.mark.parametrize(("shape", "dtype"), [(3, "u1"), ((2, 2, 2), "u1"), ((2, 2, 3, 1), "u1"), ((2, 2), "c8")])
def test_what_is_no_picture_is_refused(run, shape, dtype):
    with Topic("frame", shape=shape, dtype=dtype) as topic:
        topic.publish(np.zeros(shape, dtype))
        result = run("view", "frame")
        assert (result.exit_code, "is no picture" in result.stderr, result.stderr.count("\n")) == (1, True, 1)


def test_what_are_no_arrays_is_refused(run):
    with Topic("words") as topic:
        topic.publish(b"Hello")
        assert "pictures are arrays; 'samemap echo' shows it" in run("view", "words").stderr


def test_where_it_cannot_be_written(run, tmp_path):
    pytest.importorskip("PIL.Image")
    with Topic("frame", shape=(2, 2, 4), dtype="u1") as topic:
        topic.publish(np.zeros((2, 2, 4), "u1"))
        for name in ("frame.xyz", "frame.jpg"):
            result = run("view", "frame", "-o", str(tmp_path / name))
            assert (result.exit_code, "a name that ends with .png will do" in result.stderr) == (1, True)
        result = run("view", "frame", "-o", str(tmp_path / "none" / "frame.png"))
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert "No such file or directory" in result.stderr
    assert "--output writes one picture" in run("view", "frame", "--follow", "-o", "frame.png").stderr


def test_without_pillow_it_says_how_to_get_it(run, monkeypatch, tmp_path):
    with Topic("frame", shape=(2, 2), dtype="u1") as topic:
        topic.publish(np.zeros((2, 2), "u1"))
        monkeypatch.setitem(sys.modules, "PIL", None)
        result = run("view", "frame", "-o", str(tmp_path / "frame.png"))
        assert result.stderr == "samemap view: writing pictures needs Pillow: pip install 'samemap[pictures]'\n"
        # In a terminal it is not needed.
        assert run("view", "frame").exit_code == 0


def test_a_frame_that_is_waited_for(run, samemap):
    with Topic("frame", shape=(2, 2), dtype="u1") as topic:
        assert "there is no frame yet: --wait 10s waits for the first" in run("view", "frame").stderr
        result = run("view", "frame", "--wait", "30ms")
        assert "there is no frame yet (waited 0.03 s); does anybody publish?" in result.stderr
        looking = samemap("view", "frame", "--wait", "inf")
        topic.publish(np.zeros((2, 2), "u1"))
        assert "frame: number 1, uint8 (2, 2), " in looking.communicate()[0]


def test_one_look_takes_part_in_nothing(run):
    with Topic("frame", shape=(2, 2), dtype="u1") as topic:
        topic.publish(np.zeros((2, 2), "u1"))
        before = topic.path.read_bytes()
        run("view", "frame")
        assert topic.path.read_bytes() == before


def test_a_newest_value_is_shown(run):
    with Latest("frame", shape=(2, 2), dtype="u1") as latest:
        latest.set(np.full((2, 2), 255, "u1"))
        *drawn, about = run("view", "frame").output.splitlines()
        assert set("".join(drawn)) == {"@"}
        assert about.startswith("frame: number 1, uint8 (2, 2), ")


def test_the_shape_is_kept_as_large_as_the_terminal_allows(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "12")
    with Topic("wide", shape=(10, 100), dtype="u1") as wide, Topic("tall", shape=(100, 10), dtype="u1") as tall:
        for topic in (wide, tall):
            topic.publish(np.full(topic.shape, 255, "u1"))
        *drawn, _ = run("view", "wide").output.splitlines()
        assert (len(drawn), {len(line) for line in drawn}) == (2, {40})
        *drawn, _ = run("view", "tall").output.splitlines()
        assert (len(drawn), {len(line) for line in drawn}) == (10, {2})


def test_colours_where_the_terminal_has_them():
    with Topic("frame", shape=(2, 2, 3), dtype="u1") as topic:
        topic.publish(np.array([[[255, 0, 0]] * 2, [[0, 0, 255]] * 2], "u1"))
        red = b"\x1b[38;2;252;0;0;48;2;252;0;0m" + "▀".encode()
        for arguments, environment, has_colours in (
            ([], {"COLORTERM": "truecolor"}, True),
            ([], {"TERM": "xterm-direct"}, True),
            ([], {}, False),
            ([], {"COLORTERM": "truecolor", "NO_COLOR": "1"}, False),
            (["--ascii"], {"COLORTERM": "truecolor"}, False),
            (["--colour"], {}, True),
        ):
            shown, status = on_a_terminal("view", "frame", *arguments, environment=environment)
            assert status == 0, shown
            picture = shown.partition(b"frame: ")[0]
            assert (red in picture) == has_colours, (arguments, environment)
            assert (b"\x1b" in picture) == has_colours


def test_follow_shows_the_newest_in_place(samemap):
    with Topic("frame", shape=(2, 2), dtype="u1") as topic:
        topic.publish(np.zeros((2, 2), "u1"))
        shown, status = on_a_terminal("view", "frame", "--follow", until=b"number 1", keys=signal.SIGINT)
        assert status == 130
        # The other screen, and back again.
        assert shown.startswith(b"\x1b[?1049h")
        assert b"\x1b[?1049l" in shown
        assert b"frame: number 1, uint8 (2, 2)" in ESCAPES.sub(b"", shown)
        assert topic.subscribers() == []


def test_follow_skips_to_the_newest(samemap):
    with Topic("frame", shape=(2, 2), dtype="u1") as topic:
        looking = samemap("view", "frame", "--follow", "--rate", "100")
        assert topic.wait_for_subscribers(1, 60)
        assert topic.subscribers()[0].policy == "latest"
        for n in range(1, 4):
            topic.publish(np.full((2, 2), n, "u1"))
        line = ""
        while not line.startswith("frame: number 3, "):
            line = looking.stdout.readline()
            assert line
        looking.send_signal(signal.SIGINT)
        assert looking.wait() == 130


def test_who_may_only_read_can_follow(nobody, shared):
    with Topic(shared / "frame", shape=(2, 2), dtype="u1", perm=0o644) as topic:
        topic.publish(np.zeros((2, 2), "u1"))
        looking = nobody("view", str(shared / "frame"), "--follow")
        line = ""
        while "number 1" not in line:
            line = looking.stdout.readline()
            assert line, looking.stderr.read()
        assert topic.subscribers() == []


def test_shades_cover_more_where_it_is_brighter():
    ramp = np.repeat(np.linspace(0, 255, 20).astype("u1")[None, :, None], 2, 0).repeat(3, 2)
    (line,) = pictures.shades(ramp)
    assert line.lstrip() == "".join(sorted(line.lstrip(), key=pictures.SHADES.index))
    assert set(line) == set(pictures.SHADES)
    dim = ramp // 8
    assert set(pictures.shades(dim)[0]) <= {" ", "."}
    assert set(pictures.shades(dim, stretch=True)[0]) == set(pictures.SHADES)


def test_transparent_pixels_are_drawn_on_black():
    frame = np.full((4, 4, 4), 255, "u1")
    frame[:, :, 3] = 0
    assert pictures.shrink(frame, 2, 2).max() == 0
