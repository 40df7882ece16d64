"""The demo: it tells its story, it notices when something does not hold, and it leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

NEEDED = "the demo needs it: pip install --group demo"
av = pytest.importorskip("av", reason=NEEDED)
Image = pytest.importorskip("PIL.Image", reason=NEEDED)
pytest.importorskip("rich", reason=NEEDED)

DEMO = Path(__file__).parent.parent / "demo"
PATIENCE = 100
SPEAKER = re.compile(
    r"^  (?:parent|child|reader|writer|demo|keeper|viewer|view|detector|recorder|worker)(?: \w)? +(\d+)  ", re.M
)
HOME = re.compile(r"/\S*/samemap-demo-[^/\s]+")

Start = Callable[..., subprocess.Popen[str]]


def plain() -> dict[str, str]:
    """Return an environment without anything that changes how the demo looks."""
    looks = {"SAMEMAP_DIR", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
    return {name: value for name, value in os.environ.items() if name not in looks}


def run(*arguments: str | Path, demo: Path = DEMO) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(demo), *map(str, arguments)]
    return subprocess.run(line, env=plain(), capture_output=True, text=True, timeout=PATIENCE, check=False)


def nothing_is_left(output: str) -> None:
    """Check that the processes and the folder that the demo named are gone."""
    pids = set(map(int, SPEAKER.findall(output)))
    homes = set(HOME.findall(output))
    assert len(pids) >= 2
    assert len(homes) == 1
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert [home for home in homes if Path(home).exists()] == []


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Give a copy of the demo in which some text is replaced."""

    def change(*changes: tuple[str, str, str]) -> Path:
        copy = tmp_path / "demo"
        shutil.copytree(DEMO, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for name, old, new in changes:
            text = (copy / name).read_text()
            assert text.count(old) == 1, f"{name} holds {old!r} {text.count(old)} times"
            (copy / name).write_text(text.replace(old, new))
        return copy

    return change


#: With these the stream goes on until somebody ends it.
ENDLESS = (
    ("source.py", "PAN_FRAMES = 400", "PAN_FRAMES = 10**9"),
    ("stream.py", "MOST_SECONDS = 15.0", "MOST_SECONDS = 1e9"),
)
IN_THE_TOPIC = ('subscribes, "block"', "keeps frame", "has the next frame published")
#: With these the topic's frames do, after the detector was killed.
ENDLESS_TOPIC = (
    ("source.py", "PAN_FRAMES = 400", "PAN_FRAMES = 40"),
    ("broadcast.py", "= 30, 90, 120", "= 30, 90, 10**9"),
    ("broadcast.py", "= 3.0, 4 * SLOTS", "= 1e9, 4 * SLOTS"),
)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return output
    raise AssertionError(f"{text!r} never came in:\n{output}")


def test_all_of_it_in_plain_lines() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert not set(map(chr, range(32))) - {"\n"} & set(done.stdout)
    story = [
        "1  Parent and child share a mapped file",
        'finds "Hello", replaces it with "World"',
        '  ok  One file, two processes; `cat` would find "World" in it, too.',
        "2  Strangers meet in a mapped file",
        'waits for "greeting" to appear',
        "  ok  Median wake-up ",
        " µs. Torn texts: 0 in ",
        "3  An anonymous mapping",
        "answers 2 x 21 = 42",
        "answers 4 x 21 = 84",
        "each child added 1 to one number 100,000 times: 300,000",
        "4  Memory that grows under live views",
        "did nothing, sees 64 MiB with 4242 at the end",
        "nobody maps it",
        "5  A lock whose holder is killed",
        "and is told who has it: pid ",
        "is killed with it: kill -9",
        "and is told: recovered = True",
        "6  Frames from a file, streamed to two strangers",
        "grace_hopper.jpg, a still picture of 512 x 600 (JPEG)",
        "as viewer A saw it, through shared memory",
        "  ok  ",
        "checksums computed by strangers, all equal to the decoder's.",
        "7  A topic: frames for all who want them",
        'subscribes, "latest"',
        'subscribes, "drop"',
        'subscribes, "block"',
        "keeps frame ",
        "has it unchanged after ",
        "is killed with the frame in its hands: kill -9",
        " ms later",
        "can fill 5 of 6 slots at once",
        " frames of 1920 x 1080",
        "computed before",
        "killed",
        "  ok  The others went on",
        "8  A queue of jobs, and a worker that is killed",
        "has put 300 jobs of 100,000 bytes, for 3 workers",
        "is in the middle of job 100",
        "is killed: kill -9",
        " ms later, attempt 2",
        "all 300 checksums are right",
        "  ok  No job was lost",
        "8 scenes and ",
        "Of 16 processes and their files, none is left.",
    ]
    at = 0
    for text in story:
        at = done.stdout.find(text, at)
        assert at >= 0, f"{text!r} is missing, or too early, in:\n{done.stdout}"
    counts = [(int(a), int(b)) for a, b in re.findall(r"(\d+) of (\d+) equal", done.stdout)]
    assert len(counts) == 4
    assert all(same == frames > 1 for same, frames in counts)
    nothing_is_left(done.stdout)


def make_picture(path: Path) -> None:
    Image.fromarray(np.arange(48, dtype="u1").reshape(4, 4, 3)).save(path)


def make_strip(path: Path) -> None:
    Image.new("RGBA", (900, 2), (200, 30, 30, 100)).save(path)


def make_animation(path: Path) -> None:
    frames = [Image.new("RGB", (33, 21), (80 * n, 10, 200 - 80 * n)) for n in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=20)


def make_video(path: Path, size: tuple[int, int] = (64, 48)) -> None:
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(12):
            picture = np.full((height, width, 3), 20 * n, "u1")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def make_large_video(path: Path) -> None:
    make_video(path, (2560, 720))


@pytest.mark.parametrize(
    ("name", "make", "about", "frames"),
    [
        ("tiny.png", make_picture, "tiny.png, a still picture of 4 x 4 (PNG)", "400 frames of 1920 x 1080"),
        ("strip.webp", make_strip, "strip.webp, a still picture of 900 x 2 (WEBP)", "400 frames of 1920 x 1080"),
        ("move.gif", make_animation, "move.gif, an animation of 3 frames, 33 x 21 (GIF)", "240 frames of 33 x 21"),
        ("film.mp4", make_video, "film.mp4, a video of 64 x 48 (mpeg4)", "12 frames of 64 x 48"),
        ("wide.mkv", make_large_video, "wide.mkv, a video of 2560 x 720 (mpeg4)", "12 frames of 1920 x 540"),
    ],
)
def test_ones_own_file(tmp_path: Path, name: str, make: Callable[[Path], None], about: str, frames: str) -> None:
    path = tmp_path / name
    make(path)
    done = run("--source", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert about in done.stdout
    assert frames in done.stdout
    count = int(frames.split()[0])
    streamed, broadcast = done.stdout.split("\n7  A topic")
    assert streamed.count(f"{count} of {count} equal") == 2
    received = [int(a) for a, b in re.findall(r"(\d+) of (\d+) equal", broadcast) if a == b]
    # The recorder got all that were published, and the view some.
    assert [f"{max(received)} frames of" in broadcast, len(received)] == [True, 2]
    nothing_is_left(done.stdout)


def cut_short(path: Path) -> None:
    path.write_bytes((DEMO / "data" / "grace_hopper.jpg").read_bytes()[:20_000])


@pytest.mark.parametrize(
    ("name", "make", "complaint"),
    [
        ("notes.txt", lambda path: path.write_text("no picture\n" * 100), "shows nothing that moves"),
        ("noise.bin", lambda path: path.write_bytes(bytes(range(256)) * 64), "neither a picture nor a video"),
        ("empty.png", lambda path: path.touch(), "neither a picture nor a video"),
        ("cut.jpg", cut_short, "cannot be read as a picture"),
        ("missing.mp4", lambda path: None, "does not exist"),
    ],
)
def test_a_file_that_gives_no_frames(tmp_path: Path, name: str, make: Callable[[Path], object], complaint: str) -> None:
    path = tmp_path / name
    make(path)
    done = run("--source", path)
    said = " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in said
    assert name in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("frames.py", "[:] = frame\n", "[:] = frame ^ (number == 5)\n"), "saw 400 of 400 frames, 399 unchanged"),
        (("writer.py", 'write_text("World"', 'write_text("Worlo"'), "readings found a text that nobody wrote"),
        (("family.py", "range(ADDITIONS)", "range(ADDITIONS - 1)"), "3 additions were lost"),
        (("keeper.py", "int(now[-1])", "int(now[-1]) + 1"), "the keeper sees 4243 at the end, not 4242"),
        (("subscriber.py", "crc32(sample)))", "crc32(sample) ^ (sample.seq == 40)))"), " unchanged"),
        (("subscriber.py", "tell(checksum=zlib", "tell(checksum=1 + zlib"), "has changed under detector"),
        (("subscriber.py", "missed=frames.missed", "missed=1 + frames.missed"), "does not know what it missed"),
        (("broadcast.py", "return len(loans)", "return len(loans) - 1"), "of 6 slots only 4 can be filled"),
        (("worker.py", "(job.seq, me", "(job.seq - (job.seq == 7), me"), "300 results of 299 jobs"),
        (("worker.py", "crc32(job.value)", "crc32(job.value) ^ (job.seq == 9)"), "299 of 300 checksums are right"),
        (("jobs.py", "late = taken - killed", "late = taken - killed + 0.2"), "was delivered again after 2"),
        (("viewer.py", "    ring = FrameRing", '    sys.exit("no ring")\n    ring = FrameRing'), "status 1: no ring"),
    ],
)
def test_what_does_not_hold_is_noticed(
    changed: Callable[..., Path], change: tuple[str, str, str], complaint: str
) -> None:
    done = run(demo=changed(change))
    assert (done.returncode, done.stderr) == (1, "")
    assert "  FAILED  " in done.stdout
    assert complaint in done.stdout
    nothing_is_left(done.stdout)


def test_a_killed_viewer_ends_the_demo(start: Start, changed: Callable[..., Path]) -> None:
    demo = start(sys.executable, changed(*ENDLESS), env=plain())
    output = read_until(demo, "viewer B")
    pid = int(re.findall(r"viewer A +(\d+)", output)[0])
    os.kill(pid, signal.SIGKILL)
    rest, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (1, "")
    assert f"FAILED  viewer A (pid {pid}) was killed by SIGKILL" in rest
    nothing_is_left(output + rest)


def test_a_killed_recorder_ends_the_demo_and_is_not_waited_for(start: Start, changed: Callable[..., Path]) -> None:
    demo = start(sys.executable, changed(*ENDLESS_TOPIC), env=plain())
    output = read_until(demo, "has the next frame published")
    pid = int(re.findall(r"recorder +(\d+)", output)[0])
    os.kill(pid, signal.SIGKILL)
    rest, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (1, "")
    assert f"FAILED  recorder (pid {pid}) was killed by SIGKILL" in rest
    nothing_is_left(output + rest)


@pytest.mark.parametrize(
    ("moment", "numbers"),
    [
        ("maps /", [signal.SIGINT]),
        ("waits for", [signal.SIGINT]),
        ("woken in", [signal.SIGINT]),
        ("writes 21", [signal.SIGINT]),
        ("hands 1 MiB", [signal.SIGINT]),
        ("viewer B", [signal.SIGINT]),
        ("viewer B", [signal.SIGTERM]),
        ("viewer B", [signal.SIGHUP]),
        ("viewer B", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] * 5),
        *((moment, [signal.SIGINT]) for moment in IN_THE_TOPIC),
    ],
)
def test_interrupted(start: Start, changed: Callable[..., Path], moment: str, numbers: list[signal.Signals]) -> None:
    endless = ENDLESS_TOPIC if moment in IN_THE_TOPIC else ENDLESS
    demo = start(sys.executable, changed(*endless), env=plain(), process_group=0)
    output = read_until(demo, moment)
    # As a terminal does it: to the demo and to whoever is in its group.
    for number in numbers:
        os.killpg(demo.pid, number)
    rest, errors = demo.communicate(timeout=PATIENCE)
    assert errors == ""
    assert demo.returncode - 128 in numbers
    assert f"Interrupted by {signal.Signals(demo.returncode - 128).name}" in rest
    assert "Every process has ended, every file is removed." in rest
    assert not Path(HOME.findall(output)[0]).exists()
    assert [pid for pid in SPEAKER.findall(output + rest) if Path(f"/proc/{pid}").exists()] == []


def test_on_a_terminal(changed: Callable[..., Path]) -> None:
    demo = changed(("screen.py", "            time.sleep(seconds)", "            pass"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**plain(), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    line = [sys.executable, str(demo)]
    shown = b""
    with subprocess.Popen(line, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
        except OSError:
            pass  # EIO: the demo has closed its end
        finally:
            os.close(ours)
        assert process.wait(PATIENCE) == 0
    text = shown.decode()
    # Half blocks, both halves coloured.
    assert re.search("\x1b\\[38;2;\\d+;\\d+;\\d+;48;2;\\d+;\\d+;\\d+m▀", text)
    assert "as viewer A sees it, frame" in text
    assert re.search(r"as the view sees it, frame \d+; frame \d+ is brightest at \d+, \d+", text)
    assert text.rstrip().endswith("\x1b[0m")
    nothing_is_left(re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n"))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str) -> None:
    done = run(option)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--source FILE" in done.stdout
