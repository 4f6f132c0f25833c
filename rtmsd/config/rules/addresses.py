"""Rules for addresses: to listen on, to connect to, and the paths of URLs."""

import contextlib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

from rtmsd.config.rules.values import Mistake

UNIX_PREFIX: Final = "unix:"
SOCKET_PATH_MAX_BYTES: Final = 107  # Linux `sun_path`, less its final NUL
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_WEBHOOK_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+/?|/")
_NATS_SCHEMES: Final = ("tls", "nats")
_RESERVED_PATHS: Final = ("/healthz", "/readyz")


def host_and_port(value: str) -> None:
    """Accept `127.0.0.1:8080`, `localhost:0`, `[::1]:8080`."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise Mistake(f'must be "host:port" with a port from 0 to 65535, such as "127.0.0.1:8080", not {value!r}')
    if host.startswith("[") and host.endswith("]"):
        if not _is_ipv6(host[1:-1]):
            raise Mistake(f"{host} is no IPv6 address")
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
        if not _is_ipv6(name.strip("[]")):
            raise Mistake(f"{value!r} must be a host name alone, without port")
    elif not _is_host(name):
        raise Mistake(f'must be a host name, or "*." and the end of one, not {value!r}')


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    if re.fullmatch(r"[0-9.]+", text):
        with contextlib.suppress(ValueError):
            ipaddress.IPv4Address(text)
            return True
        return False
    return _HOST_NAME.fullmatch(text) is not None


def nats_server(value: str) -> None:
    """Accept `tls://host:port` and `nats://host:port`; without a port it is 4222."""
    if "@" in value:
        raise Mistake("holds credentials, which belong into user and password, or nkey")
    try:
        url = urlsplit(value)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise Mistake(f"{value!r} is no URL") from None
    is_server = url.scheme in _NATS_SCHEMES and value == f"{url.scheme}://{url.netloc}" and port != 0
    if not is_server or not (_is_host(host) or _is_ipv6(host)):
        raise Mistake(f'must be "tls://host:port" or "nats://host:port", not {value!r}')


def may_be_reached(server: str, *, allow_plain: bool) -> None:
    """Refuse plain text off this machine, unless it is allowed."""
    url = urlsplit(server)
    if url.scheme == "nats" and not allow_plain and not is_loopback(url.hostname or ""):
        raise Mistake(f'{server!r} would be plain text over the network: use "tls://", or set allow_plain')


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect. A name is not resolved: today's answer may not be tomorrow's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


HostPattern: TypeAlias = Annotated[str, host_pattern]
