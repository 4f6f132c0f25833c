"""The head of a complete answer as bytes. h11 would take as long to write it as it takes to read the request."""

import functools
import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

_UNSENDABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def head_bytes(status: int, fields: Mapping[str, str]) -> bytes:
    """Return status line and fields.

    Raises:
        ValueError: a field holds a control character: with a line break it would be two.
    """
    lines = [f"{name}: {value}" for name, value in fields.items()]
    if any(map(_UNSENDABLE.search, lines)):
        raise ValueError("an answer's field holds a control character")
    return "\r\n".join([f"HTTP/1.1 {status} {_phrase(status)}", *lines, "\r\n"]).encode("latin1")


def http_date() -> str:
    return _date(int(time.time()))


@functools.lru_cache(1)
def _date(unix_s: int) -> str:
    return formatdate(unix_s, usegmt=True)


@functools.cache
def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
