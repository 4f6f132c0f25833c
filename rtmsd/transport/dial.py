"""TCP and TLS connections to a checked target, below WebSocket."""

import enum
import functools
import socket
import ssl
from pathlib import Path
from typing import TypeAlias

import trio

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConfigError, ConnectionLost
from rtmsd.transport.failures import why_broken, why_not_connected
from rtmsd.transport.hosts import Target
from rtmsd.transport.network import TcpStream
from rtmsd.transport.tls import TlsStream

Network: TypeAlias = TcpStream | TlsStream


class Step(enum.Enum):
    """The steps of an opening; the value is the error of one that takes too long."""

    TCP = "timed out: no answer to TCP, or none of DNS for the name"
    TLS = "timed out in the TLS handshake: TCP was answered"
    UPGRADE = "timed out in the WebSocket upgrade: TCP was answered, HTTP was not"


class Opening:
    step = Step.TCP


# No bound on openings at a time: of 500 streams that connect over TLS at once, with a bound of 64 half would be ready
# in 0.75 of the time, but the last hardly sooner, and servers that do not answer would hold up all others.
# TLS sessions are not resumed: `ssl` copies a session each time it is taken or set, which leaves a gain of a tenth with
# a certificate that its CA signed directly; with a longer chain it may be more.


async def dial(target: Target, zoom: ZoomConfig, opening: Opening) -> Network:
    """Open TCP, and TLS on it.

    Raises:
        ConnectionLost: with the cause.
    """
    try:
        tcp = TcpStream(await _open_tcp(target))
    except OSError as exc:
        raise ConnectionLost(f"no TCP connection to {target.host_header}: {why_not_connected(exc)}") from exc
    if not target.is_tls:
        return tcp
    opening.step = Step.TLS
    try:
        stream = TlsStream(tcp, ssl_context(zoom.ca_file), target.host)
        await stream.do_handshake()
    except BaseException as exc:
        tcp.close()
        if isinstance(exc, trio.BrokenResourceError):
            raise ConnectionLost(f"no TLS with {target.host_header}: {why_broken(exc) or exc}") from exc
        raise
    return stream


async def _open_tcp(target: Target) -> trio.SocketStream:
    """Connect to an address at once: the lookup and the race of addresses that a name needs take twice as long."""
    if target.family is None:
        return await trio.open_tcp_stream(target.host, target.port)
    sock = trio.socket.socket(target.family, socket.SOCK_STREAM)
    try:
        await sock.connect((target.host, target.port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


@functools.lru_cache(maxsize=4)  # loading the system's certificates takes 20 ms, and they take 1 MB
def ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return the context for all connections: TLS 1.2 or later, the system's certificates and `zoom.ca_file`.

    Raises:
        ConfigError: `zoom.ca_file` cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that writing never has to wait for reading
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as exc:  # ssl.SSLError is one
            raise ConfigError([f"zoom.ca_file: {ca_file} cannot be loaded: {exc}"]) from exc
    return context
