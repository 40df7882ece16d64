"""Closing: what no longer works, who is woken, and what is given back."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import socket
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from isolated import descriptors, mapped, succeed

from samemap import Region


class TestClosing:
    # One call for each public method. A new method that is missing here fails `test_no_method_is_forgotten`.
    CALLS: ClassVar[dict[str, Callable[[Region], Any]]] = {
        "advise": lambda r: r.advise("normal"),
        "array": lambda r: r.array(),
        "compare_exchange_u32": lambda r: r.compare_exchange_u32(0, 0, 0),
        "compare_exchange_u64": lambda r: r.compare_exchange_u64(0, 0, 0),
        "fetch_add_u32": lambda r: r.fetch_add_u32(0, 0),
        "fetch_add_u64": lambda r: r.fetch_add_u64(0, 0),
        "fileno": lambda r: r.fileno(),
        "flush": lambda r: r.flush(),
        "load_u32": lambda r: r.load_u32(0),
        "load_u64": lambda r: r.load_u64(0),
        "lock": lambda r: r.lock(),
        "max_size": lambda r: r.max_size,
        "read_cstring": lambda r: r.read_cstring(),
        "read_text": lambda r: r.read_text(),
        "resize": lambda r: r.resize(64),
        "ring": lambda r: r.ring(0),
        "size": lambda r: r.size,
        "stats": lambda r: r.stats(),
        "store_u32": lambda r: r.store_u32(0, 0),
        "store_u64": lambda r: r.store_u64(0, 0),
        "unlink": lambda r: r.unlink(),
        "unlock": lambda r: r.unlock(),
        "wait": lambda r: r.wait(0, 0, 0),
        "write_cstring": lambda r: r.write_cstring(b""),
        "write_text": lambda r: r.write_text(""),
        "__buffer__": lambda r: memoryview(r),
        "__getitem__": lambda r: r[0],
        "__len__": lambda r: len(r),
        "__reduce__": lambda r: pickle.dumps(r),
        "__setitem__": lambda r: r.__setitem__(0, 0),
        "bytes": lambda r: bytes(r),
        "copy": lambda r: copy.copy(r),
        "slice": lambda r: r[:],
        "slice assignment": lambda r: r.__setitem__(slice(0, 1), b"x"),
    }
    # They make a region, say what it was, or may be called twice.
    NO_USE = frozenset({"create", "open", "from_fd", "recv_handle", "close", "closed", "name", "path", "mode"})
    NEED_MORE = frozenset({"send_handle"})

    def test_no_method_is_forgotten(self) -> None:
        public = {name for name in dir(Region) if not name.startswith("_")}
        assert public == {n for n in self.CALLS if n in public} | self.NO_USE | self.NEED_MORE

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    @pytest.mark.parametrize("name", [None, "closing"])
    def test_use_after_close_is_a_value_error(self, call: Callable[[Region], Any], name: str | None) -> None:
        region = Region(name, 64)
        region.close()
        with pytest.raises(ValueError, match="closed"):
            call(region)

    def test_sending_after_close_is_a_value_error(self, region: Region) -> None:
        region.close()
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(ValueError, match="closed"):
            region.send_handle(ours)

    def test_twice_is_fine_and_what_it_was_is_still_told(self, runtime_directory: Path) -> None:
        region = Region.create("closing", 64)
        assert not region.closed
        region.close()
        region.close()
        assert region.closed
        assert region.name == "closing"
        assert region.path == runtime_directory / "closing"
        assert region.mode == "rw"

    def test_leaving_the_block_closes(self) -> None:
        with pytest.raises(KeyError), Region(None, 64) as region:
            raise KeyError
        assert region.closed

    def test_gives_back_memory_and_descriptor_at_once(self) -> None:
        before = descriptors()
        region = Region.create("closing", 64)
        inode = os.fstat(region.fileno()).st_ino
        assert mapped(inode) == 1
        assert descriptors() > before
        region.close()
        assert mapped(inode) == 0
        assert descriptors() == before

    def test_forgetting_it_closes(self) -> None:
        before = descriptors()
        region = Region.create("closing", 64)
        inode = os.fstat(region.fileno()).st_ino
        gone = weakref.ref(region)
        del region
        gc.collect()
        assert gone() is None
        assert mapped(inode) == 0
        assert descriptors() == before

    def test_ends_the_waits_of_other_threads(self) -> None:
        # Whether the close comes before, in, or after falling asleep differs by round; none may hang.
        for round_ in range(200):
            region = Region(None, 64)
            ends: list[object] = []
            entered = threading.Event()

            def wait(region: Region = region, ends: list[object] = ends, entered: threading.Event = entered) -> None:
                entered.set()
                try:
                    ends.append(region.wait(0, 0))
                except ValueError as error:
                    ends.append(str(error))

            threads = [threading.Thread(target=wait) for _ in range(1 + round_ % 3)]
            for thread in threads:
                thread.start()
            entered.wait()
            region.close()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive(), f"round {round_}: a wait survived close()"
            assert len(ends) == len(threads)
            assert all(isinstance(end, str) and "closed" in end for end in ends), ends

    def test_ends_a_wait_that_surely_sleeps(self) -> None:
        succeed(
            """
            import threading
            from pathlib import Path
            from samemap import Region

            region = Region(None, 64)
            ends = []

            def wait():
                try:
                    ends.append(region.wait(0, 0))
                except ValueError as error:
                    ends.append(error)

            thread = threading.Thread(target=wait)
            thread.start()
            # The kernel's own word for it: the thread is inside futex(2).
            task = Path(f"/proc/self/task/{thread.native_id}/syscall")
            import platform
            futex = {"x86_64": {"202", "449", "455"}, "aarch64": {"98", "449", "455"}}.get(platform.machine())
            import time
            deadline = time.monotonic() + 30
            while futex is not None and task.read_text().split()[0] not in futex:
                assert time.monotonic() < deadline, task.read_text()
            region.close()
            thread.join(30)
            assert not thread.is_alive()
            assert "closed" in str(ends[0])
            """
        )
