"""A stranger who is handed memory that has no name: ``python demo/keeper.py SOCKET``.

It maps the memory once, and answers each line of standard input with what it sees at that moment.
"""

from __future__ import annotations

import socket
import sys

from waiting import tell

from samemap import Region


def main(path: str) -> None:
    """Receive the region from whoever listens at ``path``, and tell about it when asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(path)
        region = Region.recv_handle(line)
    with region:
        first = region.array("u4")
        address = first.ctypes.data
        for _ in sys.stdin:
            now = region.array("u4")
            tell(
                size=region.size,
                first_sum=int(first.sum(dtype="u8")),
                moved=now.ctypes.data != address,
                last=int(now[-1]),
            )


if __name__ == "__main__":
    main(sys.argv[1])
