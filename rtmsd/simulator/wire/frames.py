"""JSON messages in a dialect, and the WebSocket frames around them."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rtmsd.simulator.model.settings import Dialect

TEXT: Final = 0x1
BINARY: Final = 0x2


def to_json(fields: Mapping[str, Any], dialect: Dialect) -> bytes:
    """Return `fields` as JSON in a dialect."""
    if dialect.shuffled_keys or dialect.extra_fields or dialect.string_ids:
        fields = _in_dialect(fields, dialect)
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def _in_dialect(value: Any, dialect: Dialect) -> Any:
    if isinstance(value, list):
        return [_in_dialect(item, dialect) for item in value]
    if not isinstance(value, Mapping):
        return value
    items = [
        (key, str(item) if dialect.string_ids and key == "user_id" else _in_dialect(item, dialect))
        for key, item in value.items()
    ]
    if dialect.shuffled_keys:
        items.reverse()
    if dialect.extra_fields:
        items.append(("x_undocumented", {"since": "2027", "flags": [1, None, True]}))
    return dict(items)


def frames(payload: bytes, dialect: Dialect) -> bytes:
    """Return `payload` as one server frame, or as several fragments."""
    opcode = BINARY if dialect.binary else TEXT
    size = dialect.fragment_bytes
    if not size or len(payload) <= size:
        return frame(opcode, payload)
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    middle = [frame(0, part, final=False) for part in parts[1:-1]]
    return b"".join([frame(opcode, parts[0], final=False), *middle, frame(0, parts[-1])])


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """Return one unmasked WebSocket frame (RFC 6455, section 5.2)."""
    size = len(payload)
    first = opcode | (0x80 if final else 0)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
