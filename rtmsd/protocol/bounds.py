"""Texts from outside that are kept for as long as a stream lives, cut to what a person or a program needs of them."""

import hashlib
import json
from typing import Final

MAX_ID_BYTES: Final = 256
MAX_NAME_BYTES: Final = 1024
MAX_TEXT_BYTES: Final = 128
_WORST_BYTES: Final = 6  # of JSON for one character up to U+FFFF: `\u0001`
_HASH_DIGITS: Final = 16


def bounded_id(text: str) -> str:
    """Return an id of at most `MAX_ID_BYTES` as JSON writes it: a longer one is cut and given a hash, so that two that
    differ stay two.
    """
    if len(text) * _WORST_BYTES <= MAX_ID_BYTES or _json_bytes(text) <= MAX_ID_BYTES:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{_cut(text, MAX_ID_BYTES - _HASH_DIGITS - 1)}-{digest}"


def bounded_name(text: str) -> str:
    """Return a name of at most `MAX_NAME_BYTES` as JSON writes it."""
    return bounded_text(text, MAX_NAME_BYTES)


def bounded_text(text: str, limit_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return a text for people of at most so many bytes as JSON writes it."""
    if len(text) * _WORST_BYTES <= limit_bytes or _json_bytes(text) <= limit_bytes:
        return text
    return _cut(text, limit_bytes)


def _cut(text: str, limit_bytes: int) -> str:
    """Return as much of a text as fits."""
    text = text[:limit_bytes]
    while (excess := _json_bytes(text) - limit_bytes) > 0:
        text = text[: -max(1, excess // _WORST_BYTES)]
    return text


def _json_bytes(text: str) -> int:
    encoded = json.dumps(text[: MAX_NAME_BYTES + 1], ensure_ascii=False).encode(errors="surrogatepass")
    return len(encoded) - 2


def json_bytes(value: int | str | None) -> int:
    """Return how long an id or a name is in JSON, quotes included."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
