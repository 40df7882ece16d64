"""Frames from a file: a picture, an animation, or a video."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

DEFAULT = Path(__file__).parent / "data" / "grace_hopper.jpg"
#: No frame is larger, so that a ring of them fits into any machine's shared memory.
LARGEST_WIDTH, LARGEST_HEIGHT = 1920, 1080
MOST_FRAMES = 300
PAN_FRAMES = 400
ANIMATION_FRAMES = 240
#: How far a panning camera can travel, in frames' widths and heights.
CANVAS = 1.35
MOST_ELONGATED = 3.0
#: Where on its round the camera starts and ends: on the upper right, where the face is in our photo.
START = 1.2

Frame = NDArray[Any]


class SourceError(Exception):
    """A file from which no frames can be had; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where frames come from.

    Attributes:
        about: What the file is, in words.
        treatment: What is done to it, in words.
        height: Of every frame.
        width: Of every frame.
        frames: Starts decoding.
    """

    about: str
    treatment: str
    height: int
    width: int
    frames: Callable[[], Iterator[Frame]]


def open_source(path: Path) -> Source:
    """Look at a file and tell what frames it gives.

    Raises:
        SourceError: It is no picture and no video, or a broken one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
            image.load()
    except UnidentifiedImageError:
        return _video(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} cannot be read as a picture: {error}; try a smaller or an undamaged one") from error
    if getattr(image, "n_frames", 1) > 1:
        return _animation(path, image)
    return _still(path, image)


def _still(path: Path, image: Image.Image) -> Source:
    picture = ImageOps.exif_transpose(image).convert("RGB")
    about = f"{path.name}, a still picture of {picture.width} x {picture.height} ({image.format})"
    elongation = picture.width / picture.height
    if not 1 / MOST_ELONGATED <= elongation <= MOST_ELONGATED:
        shape = (MOST_ELONGATED, 1.0) if elongation > 1 else (1.0, MOST_ELONGATED)
        scale = min(picture.width / shape[0], picture.height / shape[1])
        picture = ImageOps.fit(picture, (max(1, int(shape[0] * scale)), max(1, int(shape[1] * scale))))
    scale = CANVAS * max(LARGEST_WIDTH / picture.width, LARGEST_HEIGHT / picture.height)
    size = (math.ceil(picture.width * scale), math.ceil(picture.height * scale))
    canvas = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))

    def pan() -> Iterator[Frame]:
        free_y, free_x = canvas.shape[0] - LARGEST_HEIGHT, canvas.shape[1] - LARGEST_WIDTH
        for n in range(PAN_FRAMES):
            turn = 2 * math.pi * n / PAN_FRAMES + START
            y = int(free_y * (1 - math.cos(turn)) / 2)
            x = int(free_x * (1 + math.sin(turn)) / 2)
            yield np.ascontiguousarray(canvas[y : y + LARGEST_HEIGHT, x : x + LARGEST_WIDTH])

    treatment = f"a still has no frames: a camera pans over it, enlarged, for {PAN_FRAMES} of them"
    return Source(about, treatment, LARGEST_HEIGHT, LARGEST_WIDTH, pan)


def _animation(path: Path, image: Image.Image) -> Source:
    count: int = getattr(image, "n_frames", 1)
    width, height = _bounded(image.width, image.height)
    rounds = max(1, ANIMATION_FRAMES // count)

    def play() -> Iterator[Frame]:
        for _ in range(rounds):
            for n in range(min(count, MOST_FRAMES)):
                try:
                    image.seek(n)
                    yield np.asarray(image.convert("RGB").resize((width, height)))
                except (OSError, EOFError, ValueError, SyntaxError) as error:
                    raise SourceError(f"{path} is damaged at frame {n}: {error}; try another copy") from error

    about = f"{path.name}, an animation of {count} frames, {image.width} x {image.height} ({image.format})"
    played = f"the first {MOST_FRAMES} frames" if count > MOST_FRAMES else f"played {rounds} times over"
    return Source(about, _scaled(played, image.width, width, height), height, width, play)


def _video(path: Path) -> Source:
    cure = "give a picture (JPEG, PNG, GIF, WebP, ...) or a video (MP4, MKV, WebM, ...)"
    try:
        with av.open(str(path)) as container:
            # FFmpeg would even play a text file, as if it were a terminal's output.
            if container.format.name == "tty" or not container.streams.video:
                raise SourceError(f"{path} shows nothing that moves or stands still; {cure}")
            stream = container.streams.video[0]
            first = next(container.decode(stream), None)
            codec = stream.codec_context.name
    except (av.FFmpegError, ValueError, LookupError) as error:
        raise SourceError(f"{path} is neither a picture nor a video that can be decoded ({error}); {cure}") from error
    if first is None:
        raise SourceError(f"{path} is a video without a single frame; {cure}")
    width, height = _bounded(first.width, first.height)

    def decode() -> Iterator[Frame]:
        try:
            with av.open(str(path)) as container:
                # Decoding in several threads at once is what a player does, too.
                container.streams.video[0].thread_type = "AUTO"
                for frame in itertools.islice(container.decode(video=0), MOST_FRAMES):
                    yield frame.to_ndarray(format="rgb24", width=width, height=height)
        except av.FFmpegError as error:
            raise SourceError(f"{path} is damaged: {error}; try another copy") from error

    about = f"{path.name}, a video of {first.width} x {first.height} ({codec})"
    treatment = _scaled(f"its first {MOST_FRAMES} frames at most", first.width, width, height)
    return Source(about, treatment, height, width, decode)


def _bounded(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LARGEST_WIDTH / width, LARGEST_HEIGHT / height)
    return max(2, int(width * scale)), max(2, int(height * scale))


def _scaled(text: str, before: int, width: int, height: int) -> str:
    return text if before == width else f"{text}, scaled to {width} x {height}"
