"""Hand memory without a name to a stranger, over a Unix socket.

Run it twice, first to offer the memory, then to take it: python examples/handle_over_socket.py SOCKET
"""

import socket
import sys
from pathlib import Path

from samemap import Region

WRITTEN, TEXT = 0, 8  # offsets: a word to sleep on, and the text
path = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit("usage: python examples/handle_over_socket.py SOCKET")


def offer(listener: socket.socket) -> None:
    """Send a region to the first who connects, and wait until that one has written."""
    with Region(None, 4096) as region, listener.accept()[0] as stranger:
        region.send_handle(stranger)
        while not region.load_u32(WRITTEN):
            region.wait(WRITTEN, 0)
        print("the stranger wrote:", region.read_text(TEXT))


with socket.socket(socket.AF_UNIX) as sock:
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        sock.listen()
        print("offering", flush=True)
        offer(sock)
        path.unlink()
    else:
        with Region.recv_handle(sock) as region:
            region.write_text("Hello from somewhere else", TEXT)
            region.store_u32(WRITTEN, 1)  # first the text, then the word, then the bell
            region.ring(WRITTEN)
