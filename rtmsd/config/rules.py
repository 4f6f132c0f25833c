"""Rules for the value of a key: each is called with it as read, and raises `Mistake` with words for a person.

They stand in `Annotated[...]` beside the type of the key they belong to; `reading.py` applies them.
"""

import contextlib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, TypeAlias

import attrs

UNIX_PREFIX = "unix:"
SOCKET_PATH_MAX_BYTES = 107  # Linux `sun_path`, less its final NUL
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_WEBHOOK_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+/?|/")
_RESERVED_PATHS = ("/healthz", "/readyz")


class Mistake(ValueError):
    """A mistake in one value, and how to correct it, without the path of its key."""


def resolve(text: str, base: Path) -> Path:
    """Return the file that `text` names; a relative name starts from `base`."""
    if not text or not text.isprintable():
        raise Mistake(f"must name a file, not {text!r}")
    if text.startswith("~"):
        raise Mistake(f"{text!r}: ~ has no meaning here; write the path in full")
    return base / text


@attrs.frozen
class Between:
    """A number within bounds, both included. Not-a-number and the infinities of TOML are outside every bound."""

    low: float
    high: float

    def __call__(self, value: float) -> None:
        if not self.low <= value <= self.high:
            raise Mistake(f"must be from {self.low} to {self.high}, not {value}")


@attrs.frozen
class Matches:
    """A text that matches a pattern from end to end; `what` says in words what is allowed."""

    pattern: str
    what: str

    def __call__(self, value: str) -> None:
        if re.fullmatch(self.pattern, value) is None:
            raise Mistake(f"must be {self.what}, not {value!r}")


NAME = Matches(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits or . _ -")


def not_placeholder(value: str) -> None:
    """Refuse what config.toml and the README have in the place of a value: "...", and its like."""
    if value and not value.strip(".…"):
        raise Mistake(f"{value!r} stands for a value in the example: write your own in its place")


def one_word(value: str) -> None:
    not_placeholder(value)
    if re.fullmatch(r"[!-~]+", value) is None:
        raise Mistake(f"must be one word without blanks, not {value!r}")


def not_empty(value: tuple[object, ...]) -> None:
    if not value:
        raise Mistake("must name at least one")


def no_repeats(value: tuple[object, ...]) -> None:
    for item in value:
        if value.count(item) > 1:
            raise Mistake(f"names {item!r} more than once")


def host_and_port(value: str) -> None:
    """Accept `127.0.0.1:8080`, `localhost:0`, `[::1]:8080`."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise Mistake(f'must be "host:port" with a port from 0 to 65535, such as "127.0.0.1:8080", not {value!r}')
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise Mistake(f"{host} is no IPv6 address") from None
    elif ":" in host:
        raise Mistake(f'an IPv6 address stands in brackets: "[{host}]:{port}"')
    elif not host:
        raise Mistake(f'names no host; "0.0.0.0:{port}" listens on all of them')
    elif not _is_host(host):
        raise Mistake(f"{host!r} is no host name or address")


def host_and_port_or_none(value: str) -> None:
    if value:
        host_and_port(value)


def host_and_port_or_unix(value: str) -> None:
    if not value.startswith(UNIX_PREFIX):
        return host_and_port(value)
    path = value.removeprefix(UNIX_PREFIX)
    if not path.startswith("/") or path.endswith("/"):
        raise Mistake(
            f'must be "unix:" and the full path of a socket, such as "unix:/run/rtmsd/web.sock", not {value!r}'
        )
    return socket_path(Path(path))


def socket_path(value: Path) -> None:
    length_bytes = len(os.fsencode(value))
    if length_bytes > SOCKET_PATH_MAX_BYTES:
        raise Mistake(f"is too long for a Unix socket: {length_bytes} bytes, at most {SOCKET_PATH_MAX_BYTES}")


def webhook_path(value: str) -> None:
    if not _WEBHOOK_PATH.fullmatch(value):
        raise Mistake(f'must start with "/" and hold only letters, digits and . _ ~ - between slashes, not {value!r}')
    if value.rstrip("/") in _RESERVED_PATHS:
        raise Mistake(f"{value} answers health checks; choose another path")


def host_pattern(value: str) -> None:
    """Accept an exact host name or address, or `*.` and a suffix."""
    if value == "*":
        raise Mistake('"*" would let rtmsd connect anywhere; name hosts, or suffixes such as "*.zoom.us"')
    if "/" in value:
        raise Mistake(f"{value!r} must be a host name alone, without scheme or path")
    name = value.removeprefix("*.")
    if ":" in name:
        try:
            ipaddress.IPv6Address(name.strip("[]"))
        except ValueError:
            raise Mistake(f"{value!r} must be a host name alone, without port") from None
    elif not _is_host(name):
        raise Mistake(f'must be a host name, or "*." and the end of one, not {value!r}')


def _is_host(text: str) -> bool:
    if re.fullmatch(r"[0-9.]+", text):
        with contextlib.suppress(ValueError):
            ipaddress.IPv4Address(text)
            return True
        return False
    return _HOST_NAME.fullmatch(text) is not None


Seconds: TypeAlias = Annotated[float, Between(0.001, 86_400)]
HostPattern: TypeAlias = Annotated[str, host_pattern]
