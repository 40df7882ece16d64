"""Real input: frames decoded here, and seen by two strangers who prove that they saw every one."""

from __future__ import annotations

import os
import time
import zlib
from dataclasses import dataclass
from typing import Any

from frames import FrameRing
from peers import Stranger
from processes import Processes
from rich.text import Text
from screen import Screen, check
from source import Source
from window import Window, create_preview, drawing

from samemap import Latest

SLOTS = 4
GIB = 1 << 30
#: A slow machine shows fewer frames, so that nobody waits for minutes.
MOST_SECONDS = 15.0


@dataclass
class Progress:
    """How far the decoder is.

    Attributes:
        checksums: Of each frame, before it went into the region.
        seconds: Since the first frame was asked for.
    """

    checksums: list[int]
    seconds: float


def stream(screen: Screen, processes: Processes, source: Source) -> int:
    """Send all frames through a region to two viewers; return how many checksums agreed."""
    code = (
        "decoder:  slots[n % 4][:] = frame; region.ring(0)\n"
        "viewer:   zlib.crc32(slots[n % 4])     # where it lies: no copy"
    )
    screen.scene(6, "Frames from a file, streamed to two strangers", code)
    screen.console.print(Text(f"  {source.about}\n  {source.treatment}"), soft_wrap=not screen.lively)
    ring = FrameRing.create("frames", source.height, source.width, SLOTS, 2)
    preview = create_preview(screen, source)
    viewers = [
        processes.start("viewer A", "viewer.py", 0, "frames", "preview"),
        processes.start("viewer B", "viewer.py", 1, "frames"),
    ]
    for viewer in viewers:
        shape = viewer.hear()
        screen.line(
            viewer.role,
            viewer.pid,
            f"maps {shape['slots']} slots of {shape['width']} x {shape['height']} pixels, and waits",
        )
    # All have it: from here on the memory goes with its last holder, even if every process is killed.
    ring.region.unlink()
    preview.unlink()
    progress = _decode(screen, processes, source, ring, preview)
    heard = [viewer.hear() for viewer in viewers]
    for viewer in viewers:
        viewer.finish()
    _show(screen, source, progress, preview, viewers, heard)
    ring.close()
    preview.close()
    agreed = 0
    check(bool(progress.checksums), "the source gave no frame")
    for viewer, facts in zip(viewers, heard, strict=True):
        same = _agreeing(facts["checksums"], progress.checksums)
        check(
            facts["checksums"] == progress.checksums,
            f"{viewer} saw {len(facts['checksums'])} of {len(progress.checksums)} frames, {same} unchanged",
        )
        agreed += same
    screen.proved(f"{agreed} checksums computed by strangers, all equal to the decoder's.")
    return agreed


def _decode(screen: Screen, processes: Processes, source: Source, ring: FrameRing, preview: Latest) -> Progress:
    """Decode and publish all frames, and show what a viewer sees meanwhile."""
    checksums: list[int] = []
    started = time.perf_counter()
    with Window(screen, preview) as window:
        for number, frame in enumerate(source.frames()):
            checksums.append(zlib.crc32(frame.data))
            ring.publish(number, frame, processes.still_there)
            seconds = time.perf_counter() - started
            window.refresh(f"as viewer A sees it, frame {number + 1}, {(number + 1) / seconds:.0f} frames/s")
            if seconds > MOST_SECONDS:
                break
        ring.end()
        return Progress(checksums, time.perf_counter() - started)


def _show(
    screen: Screen,
    source: Source,
    progress: Progress,
    preview: Latest,
    viewers: list[Stranger],
    heard: list[dict[str, Any]],
) -> None:
    """Show the last picture and the rates."""
    screen.console.print(drawing(screen, preview.get()))
    screen.console.print(Text("  as viewer A saw it, through shared memory", style="dim"))
    count = len(progress.checksums)
    size = source.height * source.width * 3

    def row(role: str, pid: int, frames: int, seconds: float, result: str) -> list[str]:
        rate = frames / seconds if seconds else 0.0
        return [role, str(pid), str(frames), f"{rate:.0f}", f"{rate * size / GIB:.2f}", result]

    rows = [row("decoder", os.getpid(), count, progress.seconds, "computed before")]
    for viewer, facts in zip(viewers, heard, strict=True):
        same = _agreeing(facts["checksums"], progress.checksums)
        result = f"{same} of {count} equal"
        rows.append(row(viewer.role, viewer.pid, len(facts["checksums"]), facts["seconds"], result))
    headings = {
        "process": "",
        "pid": "right",
        "frames": "right",
        "frames/s": "right",
        "GiB/s": "right",
        "checksums": "",
    }
    screen.console.print()
    screen.table(f"{count} frames of {source.width} x {source.height}, {size / 1e6:.1f} MB each", headings, rows)


def _agreeing(ours: list[int], theirs: list[int]) -> int:
    return sum(a == b for a, b in zip(ours, theirs, strict=False))
