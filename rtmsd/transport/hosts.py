"""The check of server URLs. Zoom sends them in messages, so a forged one must not reach other hosts (SSRF)."""

import functools
import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import attrs

from rtmsd.errors import ForbiddenHost

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_IPV4: Final = re.compile(r"[0-9]+(\.[0-9]+){3}")
_MAX_NAME_LENGTH: Final = 253
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\\]")  # browsers read a backslash as a slash; nobody needs one here
_DEFAULT_PORTS: Final = {"wss": 443, "ws": 80}


@attrs.frozen
class Target:
    """A checked URL, taken apart once: what is connected to is what was checked."""

    host: str  # ASCII, lower case, without brackets or trailing dot
    port: int
    resource: str  # path and query, as sent
    is_tls: bool

    @property
    def family(self) -> socket.AddressFamily | None:
        """Of an address; None: the host is a name."""
        if ":" in self.host:
            return socket.AF_INET6
        return socket.AF_INET if _IPV4.fullmatch(self.host) else None

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS["wss" if self.is_tls else "ws"] else f"{host}:{self.port}"


def check_url(url: str, allowed_hosts: Sequence[str], allow_plain_ws: bool) -> Target:
    """Take `url` apart if rtmsd may connect to it. Errors name only its host: URLs are secret.

    Args:
        allowed_hosts: host names, addresses, or `*.` and a suffix: any name below it, but not the suffix itself.

    Raises:
        ForbiddenHost: the host is not allowed, or `ws://` is not, or this is no WebSocket URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _canonical(parts.hostname or "")
    except ValueError:
        raise ForbiddenHost("Zoom sent a server address that is not a URL") from None
    if _NOT_IN_URLS.search(url) or not f"{parts.path}{parts.query}".isascii() or port == 0:
        raise ForbiddenHost(f"Zoom sent a malformed URL of {host!r}")
    if parts.scheme not in _DEFAULT_PORTS:
        raise ForbiddenHost(f"the URL of {host!r} is not a WebSocket URL (wss://)")
    if "@" in parts.netloc:
        raise ForbiddenHost(f"the URL of {host!r} contains a user name, which Zoom's never do")
    if not any(_matches(host, pattern) for pattern in allowed_hosts):
        raise ForbiddenHost(f"{host!r} is not among zoom.allowed_hosts; add it there if it is Zoom's")
    if parts.scheme == "ws" and not allow_plain_ws:
        raise ForbiddenHost(f"{host!r} wants ws:// without TLS; for tests only, set zoom.allow_plain_ws = true")
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port or _DEFAULT_PORTS[parts.scheme], resource, parts.scheme == "wss")


def _matches(host: str, pattern: str) -> bool:
    try:
        if pattern.startswith("*."):
            return host.endswith("." + _canonical(pattern[2:]))
        return host == _canonical(pattern)
    except ValueError:
        return False


@functools.lru_cache(maxsize=256)
def _canonical(host: str) -> str:
    """Return the one spelling of a host: an address compressed, a name in ASCII, lower case, without its final dot.

    Raises:
        ValueError: neither a name nor an address.
    """
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        name = host.removesuffix(".").encode("idna").decode("ascii").lower()
    if len(name) > _MAX_NAME_LENGTH or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{host!r} is no host name")
    return name
