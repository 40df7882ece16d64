"""Messages as a slot has them: encoded, in one piece, exported for as long as somebody sees them."""

from __future__ import annotations

from typing import Any

from samemap.codecs import Codec


def message(codec: Codec, value: object) -> bytes:
    """Encode, and put the parts together, as a slot would have them."""
    encoded = codec.encode(value)
    parts = encoded if isinstance(encoded, tuple) else (encoded,)
    assert all(memoryview(part).c_contiguous for part in parts)
    return b"".join(parts)


def there_and_back(codec: Codec, value: object) -> Any:
    return codec.decode(message(codec, value))


def grows(memory: bytearray) -> bool:
    """Tell whether nothing has the memory exported any more."""
    try:
        memory.append(0)
    except BufferError:
        return False
    memory.pop()
    return True
