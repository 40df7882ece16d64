"""The examples that make a pipeline: a camera and who looks at its frames; sensors and their dashboard."""

from __future__ import annotations

import http.client
import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isolated import until
from programs import interrupted, line, output

from samemap import Latest, Topic

NEEDED = "the examples with videos and browsers need it: pip install --group demo"
av = pytest.importorskip("av", reason=NEEDED)
Image = pytest.importorskip("PIL.Image", reason=NEEDED)

Start = Callable[..., subprocess.Popen[str]]


def centre(number: int) -> tuple[int, int]:
    """Return where camera.py draws the centre of the square, in message ``number`` of a topic that is new."""
    n = number - 1
    return abs(n * 7 % 1200 - 600) + 20, abs(n * 5 % 880 - 440) + 20


def brightest(frame: Any) -> tuple[float, float]:
    """Return the centre of what is bright."""
    ys, xs = (np.asarray(frame).mean(axis=2) > 180).nonzero()
    return xs.mean(), ys.mean()


def seen(count: int) -> Callable[[], bool]:
    """Return whether the topic has so many messages by now."""
    topic = Topic.open("camera", wait=60, mode="r")
    return lambda: topic.seq >= count


def test_camera_detector_recorder_and_live_view(example: Start, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    detector = example("detector", 20)
    recorder = example("recorder", 40, film)
    view = example("live_view", 20)
    camera = example("camera")

    found = [tuple(map(int, re.findall(r"\d+", text))) for text in output(detector).splitlines()]
    assert len(found) == 20
    for number, x, y, _ in found:
        assert (x, y) == pytest.approx(centre(number), abs=3)

    recorded = output(recorder)
    counted = re.fullmatch(rf"{re.escape(str(film))}: 40 frames received, (\d+) missed\n", recorded)
    assert counted, recorded
    with av.open(str(film)) as file:
        frames = [brightest(picture.to_ndarray(format="rgb24")) for picture in file.decode(video=0)]
    assert len(frames) == 40
    if not int(counted[1]):
        first = next(n for n in range(1, 1000) if frames[0] == pytest.approx(centre(n), abs=3))
        assert np.array(frames) == pytest.approx(np.array([centre(first + n) for n in range(40)]), abs=3)

    drawn = output(view).split("\x1b[H")
    assert len(drawn) == 21
    assert re.search("\x1b\\[38;2;\\d+;\\d+;\\d+;48;2;\\d+;\\d+;\\d+m▀.*\nframe \\d+, [\\d.]+ ms after", drawn[-1])
    assert any("2;255;240;200" in picture for picture in drawn)

    assert interrupted(camera) == ""
    # What was seen last is still there, for who comes when all have ended.
    (last,) = Topic.open("spots", mode="r").last(1)
    assert last.value["frame"] == found[-1][0]


def test_camera_shows_a_video_and_ends_with_it(example: Start, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for n in range(6):
            picture = np.full((48, 64, 3), 40 * n, "u1")
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(video.encode(None))
    assert output(example("camera", 100, path)) == ""
    with Topic.open("camera", mode="r") as camera:
        assert [sample.seq for sample in camera.last()] == [1, 2, 3, 4, 5, 6]
        assert [sample.array.mean() for sample in camera.last()] == pytest.approx([0, 40, 80, 120, 160, 200], abs=5)


def test_a_camera_that_dies_may_come_again(example: Start, tmp_path: Path) -> None:
    recorder = example("recorder", 40, tmp_path / "film.mp4")
    first = example("camera")
    until(seen(10), "the tenth frame")
    first.kill()
    first.wait()
    second = example("camera")
    assert "40 frames" in output(recorder)
    interrupted(second)


@pytest.mark.parametrize("name", ["detector", "live_view"])
def test_who_looks_ends_quietly_at_ctrl_c(name: str, example: Start) -> None:
    camera, looking = example("camera"), example(name)
    assert line(looking)
    interrupted(looking)
    interrupted(camera)


def test_recorder_finishes_its_film_at_ctrl_c(example: Start, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    camera, recorder = example("camera"), example("recorder", 10**9, film)
    with Topic.open("camera", wait=60) as topic:
        until(lambda: any(found.received > 5 for found in topic.subscribers()), "the recording")
    count = re.fullmatch(r".*: (\d+) frames received, \d+ missed\n", interrupted(recorder))
    assert count
    with av.open(str(film)) as file:
        # It may have been interrupted with the last one in its hands.
        assert int(count[1]) - sum(1 for _ in file.decode(video=0)) in (0, 1)
    interrupted(camera)


class Browser:
    """Asks for something, and keeps the connection."""

    def __init__(self, address: str, path: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self._connection.request("GET", path)
        self.answer = self._connection.getresponse()

    def pictures(self, count: int) -> list[Any]:
        """Return the first pictures of the stream."""
        got = b""
        while got.count(b"--frame\r\n") <= count:
            got += self.answer.read1()
        parts = got.split(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n")[1 : count + 1]
        return [Image.open(io.BytesIO(part)) for part in parts]

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def test_web_stream_shows_frames_to_several_browsers(example: Start) -> None:
    camera = example("camera")
    server = example("web_stream", "camera", 0)
    address = line(server).removeprefix("http://")
    page = Browser(address, "/")
    assert b"<img src=frames>" in page.answer.read()
    page.close()
    browsers = [Browser(address, "/frames") for _ in range(2)]
    for browser in browsers:
        assert browser.answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        pictures = browser.pictures(3)
        assert {picture.size for picture in pictures} == {(640, 480)}
        assert len({brightest(picture) for picture in pictures}) == 3
    with Topic.open("camera") as topic:
        assert [found.pid for found in topic.subscribers()] == [server.pid] * 2
        browsers[0].close()
        until(lambda: topic.stats().subscribers == 1, "the end of a browser's subscription")
    assert interrupted(server) == ""
    browsers[1].close()
    interrupted(camera)


def test_sensors_and_their_dashboard(example: Start) -> None:
    dashboard = example("dashboard", "kitchen", "cellar")
    sensors = [example("sensor", "kitchen"), example("sensor", "cellar")]
    assert [line(dashboard).split(",")[0] for _ in sensors] == ["kitchen is there", "cellar is there"]
    values = {"kitchen": 0, "cellar": 0}
    while min(values.values()) < 4:
        name, celsius, fahrenheit = re.findall(r"(\w+): ([\d.]+) °C, ([\d.]+) °F", line(dashboard))[0]
        assert float(fahrenheit) == pytest.approx(32 + 1.8 * float(celsius), abs=0.02)
        values[name] += 1
    interrupted(dashboard)
    assert [interrupted(sensor) for sensor in sensors] == ["", ""]
    with Latest.open("kitchen", mode="r") as kitchen:
        assert kitchen.get()["fahrenheit"] == pytest.approx(32 + 1.8 * kitchen.get()["celsius"])


def test_a_sensor_ends_after_its_count(example: Start) -> None:
    assert output(example("sensor", "attic", 3)) == ""
    with Latest.open("attic", mode="r") as attic:
        assert attic.seq == 3
