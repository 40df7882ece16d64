"""How each peer works: one module a peer, all of a kind alike, imported in the measured processes only.

- For topics, ``sender(name, case)`` and ``receiver(name, case)``; both return an object with the methods that it can
  do: ``send(bytes)``, ``poll() -> bytes | None``, ``recv() -> bytes``, for frames ``fill(number)``, ``read()``.
- For queues, ``queue(name, load)``, made before the processes are forked. In a producer ``putter()`` returns what puts
  a message, or a list of them; in a consumer ``getter(who)`` returns what gets one, or at most so many; ``close()``.
- For calls, ``service(name, busy)``, made before, too: ``server(function)`` returns what serves until it is killed,
  ``client()`` what calls.
- For pools, ``pool(workers)``, an executor as in ``concurrent.futures``.
"""
