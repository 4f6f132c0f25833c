"""The other fields of a started webhook: kept within bounds, and as JSON can hold them. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

MAX_BYTES: Final = 16_384  # of all details as JSON: they are in every manifest
MAX_TEXT_CHARS: Final = 1024
MAX_KEY_CHARS: Final = 128
MAX_DEPTH: Final = 8

_SECRET: Final = frozenset({"signature", "server_urls"})
"""Never kept: a guide shows a signature in the payload, and a URL is nobody's business."""


def kept_details(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, the small ones first where not all have room; texts cut, and nothing that JSON cannot hold."""
    details = {}
    left_bytes = MAX_BYTES
    sized = [
        (len(json.dumps({key: value}).encode()), key, value)
        for key, value in ((key[:MAX_KEY_CHARS], _plain(value)) for key, value in fields.items() if key not in _SECRET)
        if value is not None
    ]
    for size_bytes, key, value in sorted(sized, key=lambda each: each[0]):
        if size_bytes <= left_bytes:
            left_bytes -= size_bytes
            details[_text(key)] = value
    return details


def _plain(value: object, depth: int = 0) -> Any:
    """Return a value as JSON can hold it; None for what it cannot."""
    if isinstance(value, str):
        return _text(value[:MAX_TEXT_CHARS])
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    if depth == MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {
            _text(key[:MAX_KEY_CHARS]): _plain(inner, depth + 1) for key, inner in value.items() if key not in _SECRET
        }
    return [_plain(inner, depth + 1) for inner in value] if isinstance(value, list) else None


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()
