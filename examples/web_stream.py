"""Show a topic of pictures in any number of browsers: python examples/web_stream.py [TOPIC [PORT]] (needs pillow)."""

import asyncio
import contextlib
import io
import sys

from PIL import Image

from samemap import Topic

OK = b"HTTP/1.1 200 OK\r\nContent-Type: "
PAGE = OK + b"text/html\r\n\r\n<!doctype html><title>samemap</title><img src=frames>"


async def answer(topic: Topic, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give a browser the page, or frames for as long as it wants them."""
    with contextlib.suppress(ConnectionError, EOFError, asyncio.CancelledError), contextlib.closing(writer):
        if b" /frames " not in await reader.readuntil(b"\r\n\r\n"):
            return writer.write(PAGE)
        writer.write(OK + b"multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        async for sample in topic.subscribe("latest", history=1):
            with sample, io.BytesIO() as file:
                Image.fromarray(sample.array).save(file, "JPEG")
                writer.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n" % file.getvalue())
            await writer.drain()  # a slow browser waits here, with no frame in its hands, and skips some


async def main(name: str = "camera", port: str = "8000") -> None:
    """Serve until Ctrl-C."""
    with Topic.open(name, wait=60) as topic:
        server = await asyncio.start_server(lambda *streams: answer(topic, *streams), "127.0.0.1", int(port))
        print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
        with contextlib.closing(server):
            await asyncio.Event().wait()  # serve_forever() would wait for all browsers at Ctrl-C


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(*sys.argv[1:3]))
