"""Frames again, through a topic: three strangers subscribe, each in its own way, and one is killed with a frame."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray
from peers import Stranger
from processes import Processes
from screen import Screen, check
from source import Source
from subscriber import CAMERA, CAMERA_ENDS, SPOT, SPOTS
from waiting import PATIENCE
from window import Window, create_preview

from samemap import Event, Subscriber, Topic

SLOTS = 6
#: The detector keeps this frame, or one soon after it. So many more are published before it is killed, and then.
KEPT, BEFORE_THE_KILL, AFTER_THE_KILL = 30, 90, 120
#: A slow machine shows fewer frames, so that nobody waits for minutes; but the topic goes round several times.
MOST_SECONDS, FEWEST = 3.0, 4 * SLOTS
#: Messages up to this size are copied as they are received, and so pin nothing.
COPIED = 4096

MEANING = {
    "latest": "the newest frame, whenever it looks",
    "drop": "each frame, but nobody waits for it",
    "block": "each frame, and the publisher waits for it",
}


def broadcast(screen: Screen, processes: Processes, source: Source) -> int:
    """Publish frames to three subscribers, and kill one of them; return how many checksums agreed."""
    code = (
        "publisher:   topic.publish(frame)\n"
        'subscriber:  for sample in topic.subscribe("block"):  # "drop", "latest"\n'
        "                 zlib.crc32(sample)              # where it lies: no copy"
    )
    screen.scene(7, "A topic: frames for all who want them, one of whom is killed", code)
    frames = _endless(source)
    topic = Topic.create(CAMERA, shape=next(frames).shape, dtype="u1", slots=SLOTS)
    spots, ends = Topic.create(SPOTS, dtype=SPOT, shape=()), Event.create(CAMERA_ENDS)
    preview = create_preview(screen, source)
    view, detector, recorder = peers = [
        processes.start(role, "subscriber.py", role, KEPT) for role in ("view", "detector", "recorder")
    ]
    for peer in peers:
        policy = peer.hear()["policy"]
        screen.line(peer.role, peer.pid, f'subscribes, "{policy}": {MEANING[policy]}')
    # All have it: from here on the memory goes with its last holder, even if every process is killed.
    for thing in (topic, spots, ends, preview):
        thing.unlink()
    with Window(screen, preview) as window:
        camera = _Camera(topic, frames, processes.still_there, lambda: window.refresh(_caption(topic, spots)))
        victim = _kill(screen, processes, camera, detector)
        camera.publish(AFTER_THE_KILL)
    ends.set()
    heard = {peer: peer.hear() for peer in (view, recorder)}
    for peer in heard:
        peer.finish()
    free = _free_slots(topic)
    screen.line("demo", os.getpid(), f"can fill {free} of {SLOTS} slots at once: the newest frame has the other one")
    agreed = _show(screen, camera, victim, heard)
    for thing in (topic, spots, ends, preview):
        thing.close()
    check(free == SLOTS - 1, f"of {SLOTS} slots only {free} can be filled")
    for peer, facts in heard.items():
        same, count = _agreeing(camera, facts), len(facts["checksums"])
        check(same == count, f"{peer} saw {count} frames, {same} unchanged")
        check(count + facts["missed"] == len(camera.checksums), f"{peer} does not know what it missed")
    check(heard[recorder]["missed"] == 0, f"{recorder} missed {heard[recorder]['missed']} frames")
    screen.proved("The others went on: nothing torn, every miss counted, nothing kept for the dead.")
    return agreed


def _endless(source: Source) -> Iterator[NDArray[Any]]:
    """Yield the source's frames over and over, large enough to be kept where they lie."""
    times = 1
    while source.height * source.width * 3 * times**2 <= COPIED:
        times += 1
    while True:
        for frame in source.frames():
            yield frame.repeat(times, 0).repeat(times, 1) if times > 1 else frame


class _Camera:
    """Publishes frames.

    Attributes:
        topic: Where.
        checksums: Of each frame, before it went there; that of message 1 is the first.
        last: When the last one was out, on the clock of `time.perf_counter`.
    """

    def __init__(
        self,
        topic: Topic,
        frames: Iterator[NDArray[Any]],
        still_there: Callable[[], None],
        published: Callable[[], None],
    ) -> None:
        self.topic = topic
        self.checksums: list[int] = []
        self.last = 0.0
        self._frames = frames
        self._still_there = still_there
        self._published = published

    def publish(self, count: int) -> None:
        """Publish so many frames, or what a slow machine can do of them."""
        started = time.monotonic()
        for n in range(count):
            frame = next(self._frames)
            self.checksums.append(zlib.crc32(frame.data))
            self.topic.publish(frame, PATIENCE)
            self.last = time.perf_counter()
            self._still_there()
            self._published()
            if n >= FEWEST and time.monotonic() - started > MOST_SECONDS:
                break


def _kill(screen: Screen, processes: Processes, camera: _Camera, detector: Stranger) -> Subscriber:
    """Publish, let the detector keep a frame, and kill it with that; return what the topic knows of it."""
    camera.publish(KEPT)
    facts = detector.hear()
    kept = facts["kept"]
    check(facts["pinned"], f"{detector} does not pin frame {kept}")
    screen.line("detector", detector.pid, f"keeps frame {kept}, where it lies")
    camera.publish(BEFORE_THE_KILL)
    detector.say("look")
    check(detector.hear()["checksum"] == camera.checksums[kept - 1], f"frame {kept} has changed under {detector}")
    newer = camera.topic.seq - kept
    screen.line("detector", detector.pid, f"has it unchanged after {newer} newer frames, with {SLOTS} slots for all")
    processes.kill(detector)
    killed = time.perf_counter()
    # Before anybody needs a slot, and so takes it from the dead.
    (victim,) = (found for found in camera.topic.subscribers() if found.pid == detector.pid)
    check(victim.pins == 1 and not victim.alive, f"the topic says that {victim.pins} slots are pinned by {detector}")
    camera.publish(1)
    screen.line("detector", detector.pid, "is killed with the frame in its hands: kill -9")
    screen.line("demo", os.getpid(), f"has the next frame published {(camera.last - killed) * 1000:.1f} ms later")
    return victim


def _caption(topic: Topic, spots: Topic) -> str:
    """Say what the picture is, and what the detector found last."""
    found = "".join("; frame {} is brightest at {}, {}".format(*spot.value) for spot in spots.last(1))
    return f"as the view sees it, frame {topic.seq}{found}"


def _free_slots(topic: Topic) -> int:
    """Return how many slots can be filled at once."""
    loans = []
    with contextlib.suppress(_AbandonedError), contextlib.ExitStack() as stack:
        with contextlib.suppress(TimeoutError):
            while True:
                loans.append(stack.enter_context(topic.loan(timeout=0)))
        raise _AbandonedError
    return len(loans)


class _AbandonedError(Exception):
    """What is on loan must not be published."""


def _agreeing(camera: _Camera, facts: dict[str, Any]) -> int:
    return sum(camera.checksums[number - 1] == checksum for number, checksum in facts["checksums"])


def _show(screen: Screen, camera: _Camera, victim: Subscriber, heard: dict[Stranger, dict[str, Any]]) -> int:
    """Show who got what; return how many checksums agreed."""
    count, agreed = len(camera.checksums), 0
    rows = [["demo", str(os.getpid()), "", str(count), "", "", "computed before"]]
    for peer, facts in heard.items():
        same, received = _agreeing(camera, facts), len(facts["checksums"])
        agreed += same
        delay = f"{statistics.median(facts['delays']) * 1e6:,.0f} µs"
        row = [peer.role, str(peer.pid), facts["policy"], str(received), str(facts["missed"]), delay]
        rows.append([*row, f"{same} of {received} equal"])
    rows.insert(2, ["detector", str(victim.pid), victim.policy, str(victim.received), str(victim.missed), "", "killed"])
    headings = dict.fromkeys(["process", "pid", "policy", "frames", "missed", "delay", "checksums"], "right")
    height, width, _ = camera.topic.shape or (0, 0, 0)
    screen.console.print()
    screen.table(
        f"{count} frames of {width} x {height}; delay: until they are received, the median",
        {**headings, "process": "", "policy": "", "checksums": ""},
        rows,
    )
    return agreed
