"""How each peer sends and receives: one module a peer, all alike, imported in the measured process only.

A module has ``sender(name, case)`` and ``receiver(name, case)``; both return an object with the methods that it can do:
``send(bytes)``, ``poll() -> bytes | None``, ``recv() -> bytes``, ``fill(number)`` and ``read() -> number`` for frames.
"""
