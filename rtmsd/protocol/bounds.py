"""Limits of texts from outside that are kept for as long as a stream lives."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as json_text  # a fifth of the time of `json.dumps`
from typing import Any, Final, TypeVar

_Item = TypeVar("_Item")

MAX_ID_BYTES: Final = 256
MAX_NAME_BYTES: Final = 1024
MAX_TEXT_BYTES: Final = 128
_WORST_BYTES: Final = 6  # of JSON for one character up to U+FFFF: `\u0001`
_HASH_DIGITS: Final = 16

MAX_OBJECT_BYTES: Final = 65_536
_BITS: Final = 63
_NUMBER_BYTES: Final = 25  # of the longest, or true, false and null
_AROUND_BYTES: Final = 4  # quotes, colon or comma, and the brackets of what is empty


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


def bounded_object(fields: Mapping[str, Any], limit_bytes: int = MAX_OBJECT_BYTES) -> tuple[dict[str, Any], bool]:
    """Return as much of an object as fits, in order, and whether that is all. What does not fit is not read."""
    budget = _Budget(limit_bytes)
    return budget.cut(fields), not budget.is_over


class _Budget:
    """Bytes of JSON that are left, measured so that an object is never called shorter than it is."""

    def __init__(self, left_bytes: int) -> None:
        self._left_bytes = left_bytes
        self.is_over = False

    def cut(self, value: Any) -> Any:
        match value:
            case Mapping():
                return {self._text(str(key)): self.cut(inner) for key, inner in self._while_left(value.items())}
            case list() | tuple():
                return [self.cut(inner) for inner in self._while_left(value)]
            case str():
                return self._text(value)
            case int() if value.bit_length() > _BITS:
                return self._text(f"a number of {value.bit_length()} bits")
            case _:
                self._left_bytes -= _NUMBER_BYTES
                return value

    def _text(self, text: str) -> str:
        if len(text) * _WORST_BYTES > self._left_bytes:
            room = max(0, self._left_bytes)
            encoded_bytes = len(json_text(text[: room + 1]))
            if encoded_bytes > room:
                self.is_over = True
                text = text[: room // _WORST_BYTES]
        self._left_bytes -= len(json_text(text)) + _AROUND_BYTES
        return text

    def _while_left(self, items: Iterable[_Item]) -> Iterator[_Item]:
        for item in items:
            if self._left_bytes <= 0:
                self.is_over = True
                return
            self._left_bytes -= _AROUND_BYTES
            yield item


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
