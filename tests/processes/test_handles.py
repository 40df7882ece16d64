"""Descriptors: handed over sockets to strangers, mapped by number, and whatever else may come instead."""

from __future__ import annotations

import array
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from isolated import descriptors

from samemap import PAGE_SIZE, Region
from samemap.handles import HANDLE, MAGIC

Start = Callable[..., subprocess.Popen[str]]
Pair = tuple[socket.socket, socket.socket]

TYPES = [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM]
KINDS = ["named", "unlinked", "anonymous"]

# Takes the region at one end of a socket pair, greets, and asks for the next.
STRANGER = """
import socket, sys
from samemap import Region
with socket.socket(fileno=int(sys.argv[1])) as sock:
    for _ in range(int(sys.argv[2])):
        with Region.recv_handle(sock) as region:
            while not region.load_u32(0):
                region.wait(0, 0, 60)
            print(region.mode, len(region), region.max_size, region.name, region.read_text(8))
            if region.mode == "rw":
                region.write_text("and back", 8)
            sock.send(b"!")
"""


def names(text: str) -> str | None:
    return None if text == "anonymous" else "shared"


@pytest.fixture(params=TYPES, ids=lambda kind: kind.name)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Give both ends of a connected pair, which never hang for longer than the test may."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, request.param)
    with ours, theirs:
        ours.settimeout(60)
        theirs.settimeout(60)
        yield ours, theirs


def handle(writable: int = 1, max_size: int = PAGE_SIZE) -> bytes:
    return HANDLE.pack(MAGIC, writable, max_size)


class TestStranger:
    @pytest.mark.parametrize("kind", KINDS)
    def test_takes_what_it_is_handed(self, pair: Pair, kind: str, start: Start) -> None:
        ours, theirs = pair
        theirs.settimeout(None)
        stranger = start(str(theirs.fileno()), "3", source=STRANGER, pass_fds=[theirs.fileno()])
        for text in ("one", "two", "three"):
            with Region(names(kind), 64, max_size=8 * PAGE_SIZE) as region:
                if kind == "unlinked":
                    region.unlink()
                region.send_handle(ours)
                region.write_text(text, 8)
                region.store_u32(0, 1)
                region.ring(0)
                assert ours.recv(1) == b"!"
                assert region.read_text(8) == "and back"
                region.unlink(missing_ok=True)
        out, err = stranger.communicate(timeout=60)
        assert (stranger.returncode, err) == (0, "")
        assert out.splitlines() == [f"rw 64 {8 * PAGE_SIZE} None {text}" for text in ("one", "two", "three")]

    def test_read_only_stays_read_only(self, pair: Pair, start: Start) -> None:
        ours, theirs = pair
        theirs.settimeout(None)
        with Region.create("shared", 64) as writable, Region.open("shared", mode="r") as region:
            stranger = start(str(theirs.fileno()), "1", source=STRANGER, pass_fds=[theirs.fileno()])
            region.send_handle(ours)
            writable.write_text("Hello", 8)
            writable.store_u32(0, 1)
            writable.ring(0)
            assert ours.recv(1) == b"!"
        out, err = stranger.communicate(timeout=60)
        assert (stranger.returncode, err, out) == (0, "", f"r 64 {1 << 30} None Hello\n")

    def test_connects_to_a_listening_socket(self, start: Start, runtime_directory: Path) -> None:
        path = runtime_directory / "socket"
        with socket.socket(socket.AF_UNIX) as listener, Region(None, 64) as region:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(60)
            stranger = start(
                str(path),
                source="""
import socket, sys
from samemap import Region
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    region = Region.recv_handle(sock)
region.write_text("Hello", 8)
region.store_u32(0, 1)
region.ring(0)
""",
            )
            connection, _ = listener.accept()
            with connection:
                region.send_handle(connection)
            assert region.wait(0, 0, 60)
            assert region.read_text(8) == "Hello"
            assert stranger.communicate(timeout=60) == ("", "")
            assert stranger.returncode == 0

    def test_hands_over_memory_that_outlives_it(self, pair: Pair, start: Start) -> None:
        ours, theirs = pair
        theirs.settimeout(None)
        stranger = start(
            str(theirs.fileno()),
            source="""
import socket, sys
from samemap import Region
with socket.socket(fileno=int(sys.argv[1])) as sock:
    region = Region(None, 64)
    region.write_text("left behind")
    region.send_handle(sock)
""",
            pass_fds=[theirs.fileno()],
        )
        assert stranger.communicate(timeout=60) == ("", "")
        with Region.recv_handle(ours) as region:
            assert region.read_text() == "left behind"

    def test_sees_growth_on_both_sides(self, pair: Pair) -> None:
        ours, theirs = pair
        with Region(None, 64, max_size=8 * PAGE_SIZE) as region:
            region.send_handle(ours)
            with Region.recv_handle(theirs) as other:
                region.resize(2 * PAGE_SIZE)
                assert len(other) == 2 * PAGE_SIZE
                other.resize(3 * PAGE_SIZE)
                other[-1] = 7
                assert (len(region), region[-1]) == (3 * PAGE_SIZE, 7)


class TestReceiving:
    """What is no handle is refused at once, and no descriptor stays open."""

    @pytest.fixture(autouse=True)
    def _no_descriptor_is_left(self, pair: Pair) -> Iterator[None]:
        before = descriptors()
        yield
        assert descriptors() == before

    @pytest.mark.parametrize(
        "garbage",
        [b"x", b"hello", b"x" * 23, b"x" * 24, b"x" * 100, b"samemap\x02" + bytes(16), b"samemap!"],
        ids=len,
    )
    @pytest.mark.parametrize("with_descriptor", [False, True])
    def test_garbage(self, pair: Pair, garbage: bytes, with_descriptor: bool) -> None:
        ours, theirs = pair
        theirs.settimeout(5)  # a hang would be a TimeoutError
        with Region(None, 64) as region:
            socket.send_fds(ours, [garbage], [region.fileno()] if with_descriptor else [])
            with pytest.raises(ValueError, match="not a region's handle"):
                Region.recv_handle(theirs)

    @pytest.mark.parametrize(
        "pair", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM], indirect=True, ids=lambda kind: kind.name
    )
    def test_too_long_a_message(self, pair: Pair) -> None:
        ours, theirs = pair
        with Region(None, 64) as region:
            socket.send_fds(ours, [handle() + b"and more"], [region.fileno()])
            with pytest.raises(ValueError, match="not a region's handle"):
                Region.recv_handle(theirs)

    def test_part_of_a_handle(self, pair: Pair) -> None:
        ours, theirs = pair
        with Region(None, 64) as region:
            socket.send_fds(ours, [handle()[:20]], [region.fileno()])
            # A datagram socket would not notice, and need not: its messages are whole.
            if ours.type != socket.SOCK_DGRAM:
                ours.shutdown(socket.SHUT_WR)
            with pytest.raises(ValueError, match="not a region's handle"):
                Region.recv_handle(theirs)

    # Datagrams have no end.
    @pytest.mark.parametrize(
        "pair", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET], indirect=True, ids=lambda kind: kind.name
    )
    def test_closed_by_the_other_side(self, pair: Pair) -> None:
        ours, theirs = pair
        ours.shutdown(socket.SHUT_RDWR)
        with pytest.raises(EOFError, match="closed"):
            Region.recv_handle(theirs)

    def test_nothing_comes(self, pair: Pair) -> None:
        _, theirs = pair
        theirs.settimeout(0.01)
        with pytest.raises(TimeoutError):
            Region.recv_handle(theirs)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            Region.recv_handle(theirs)

    def test_no_descriptor(self, pair: Pair) -> None:
        ours, theirs = pair
        ours.send(handle())
        with pytest.raises(ValueError, match="without its descriptor"):
            Region.recv_handle(theirs)

    def test_several_descriptors(self, pair: Pair) -> None:
        ours, theirs = pair
        with Region(None, 64) as one, Region(None, 128) as other:
            socket.send_fds(ours, [handle()], [one.fileno(), other.fileno()])
            with Region.recv_handle(theirs) as region:
                assert len(region) == 64

    def test_descriptor_of_something_else(self, pair: Pair) -> None:
        ours, theirs = pair
        socket.send_fds(ours, [handle()], [theirs.fileno()])
        with pytest.raises(OSError, match="regular file") as caught:
            Region.recv_handle(theirs)
        assert caught.value.errno == errno.ENODEV

    def test_descriptor_that_may_not_write(self, pair: Pair) -> None:
        ours, theirs = pair
        with Region.create("shared", 64), Region.open("shared", mode="r") as region:
            socket.send_fds(ours, [handle(writable=1)], [region.fileno()])
            with pytest.raises(PermissionError):
                Region.recv_handle(theirs)

    @pytest.mark.parametrize("max_size", [-(2**63), -1, 2**47, 2**63 - 1])
    def test_senseless_reservation(self, pair: Pair, max_size: int) -> None:
        ours, theirs = pair
        with Region(None, 64) as region:
            socket.send_fds(ours, [handle(max_size=max_size)], [region.fileno()])
            with pytest.raises((ValueError, OSError)):
                Region.recv_handle(theirs)

    @pytest.mark.parametrize("pair", [socket.SOCK_STREAM], indirect=True, ids=lambda kind: kind.name)
    def test_in_pieces(self, pair: Pair) -> None:
        ours, theirs = pair
        with Region(None, 64) as region:
            region.write_text("Hello")

            def send() -> None:
                message = handle()
                socket.send_fds(ours, [message[:1]], [region.fileno()])
                for byte in message[1:]:
                    ours.send(bytes([byte]))

            thread = threading.Thread(target=send)
            thread.start()
            with Region.recv_handle(theirs) as other:
                assert other.read_text() == "Hello"
            thread.join(60)


class TestSending:
    def test_not_connected(self) -> None:
        with (
            Region(None, 64) as region,
            socket.socket(socket.AF_UNIX) as sock,
            pytest.raises(OSError, match="not connected"),
        ):
            region.send_handle(sock)

    def test_socket_that_carries_no_descriptors(self) -> None:
        with (
            Region(None, 64) as region,
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as sock,
            server.accept()[0],
            pytest.raises(OSError, match="AF_UNIX") as caught,
        ):
            region.send_handle(sock)
        assert caught.value.errno == errno.EOPNOTSUPP

    def test_other_end_is_gone(self, pair: Pair) -> None:
        ours, theirs = pair
        theirs.close()
        with Region(None, 64) as region, pytest.raises(ConnectionError):
            region.send_handle(ours)


class TestFromDescriptor:
    def test_it_stays_the_callers(self) -> None:
        with Region(None, 64) as region:
            fd = os.dup(region.fileno())
            with Region.from_fd(fd) as other:
                assert other.fileno() != fd
                other[0] = 7
            os.fstat(fd)
            last = Region.from_fd(fd)
            os.close(fd)
            with last:
                assert (last[0], region[0]) == (7, 7)

    def test_path_is_found_and_name_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(64))
        with (tmp_path / "file").open("r+b") as file, Region.from_fd(file.fileno()) as region:
            assert (region.path, region.name) == (tmp_path / "file", None)
        with Region(None, 64) as anonymous, Region.from_fd(anonymous.fileno()) as region:
            assert (region.path, region.name) == (None, None)

    @pytest.mark.parametrize("fd", [-1, 2**31 - 1])
    def test_not_open(self, fd: int) -> None:
        with pytest.raises(OSError, match="descriptor") as caught:
            Region.from_fd(fd)
        assert caught.value.errno == errno.EBADF

    def test_empty_file(self, tmp_path: Path) -> None:
        with (tmp_path / "file").open("w+b") as file, pytest.raises(OSError, match="empty") as caught:
            Region.from_fd(file.fileno())
        assert caught.value.errno == errno.ENODATA

    def test_what_cannot_be_mapped(self) -> None:
        null = os.open("/dev/null", os.O_RDWR)
        try:
            for fd in (*(ends := os.pipe()), null):
                with pytest.raises(OSError, match="regular file") as caught:
                    Region.from_fd(fd, mode="r")
                assert caught.value.errno == errno.ENODEV
        finally:
            for fd in (*ends, null):
                os.close(fd)

    def test_directory(self, tmp_path: Path) -> None:
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(IsADirectoryError):
                Region.from_fd(fd, mode="r")
        finally:
            os.close(fd)

    @pytest.mark.parametrize(("flags", "mode"), [(os.O_RDONLY, "rw"), (os.O_WRONLY, "rw"), (os.O_WRONLY, "r")])
    def test_not_opened_for_that_mode(self, flags: int, mode: Literal["r", "rw"], tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(64))
        fd = os.open(tmp_path / "file", flags)
        try:
            with pytest.raises(PermissionError):
                Region.from_fd(fd, mode=mode)
        finally:
            os.close(fd)

    def test_read_only(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(array.array("i", range(16)).tobytes())
        with (tmp_path / "file").open("rb") as file, Region.from_fd(file.fileno(), mode="r") as region:
            assert region.load_u32(20) == 5
            with pytest.raises(TypeError):
                region[0] = 1

    @pytest.mark.parametrize("fd", [None, "3", 1.5])
    def test_not_a_number(self, fd: object) -> None:
        with pytest.raises(TypeError):
            Region.from_fd(fd)  # type: ignore[arg-type]
