"""The entry of a worker: what its parent gives it, and the role that it has by that."""

import socket
from typing import Final

import structlog

from rtmsd import __version__
from rtmsd.daemon.root import EXIT_FAILED, prepare, run_prepared
from rtmsd.terminal import complain
from rtmsd.workers.messages import MAX_LINE_BYTES, Begin, Unreadable, decode
from rtmsd.workers.worker import Worker

log = structlog.get_logger()

BEGIN_S: Final = 30.0


def begin(channel: int) -> int:
    """Run a worker until its parent ends it. Returns its exit status.

    Args:
        channel: descriptor of its end of the channel.
    """
    try:
        end = socket.socket(fileno=channel)
        end.set_inheritable(False)
        given = _first_message(end)
    except (OSError, Unreadable):
        complain("rtmsd: only `rtmsd run` starts workers")
        return EXIT_FAILED
    structlog.contextvars.bind_contextvars(worker=given.node)
    prepare(given.config)
    if given.version != __version__:
        log.error("rtmsd was upgraded while it was running; restart it", parent=given.version, this=__version__)
        return EXIT_FAILED
    return run_prepared(_worker(given, end))


def _worker(given: Begin, end: socket.socket) -> Worker:
    if given.disk is None:
        from rtmsd.workers.member import MemberWorker  # noqa: PLC0415 - NATS, where there is a cluster

        return MemberWorker(given, end)
    from rtmsd.workers.sharing import SharingWorker  # noqa: PLC0415 - one kind is enough

    return SharingWorker(given, given.disk, end)


def _first_message(end: socket.socket) -> Begin:
    """Read what the worker is. Byte by byte: what follows is not for here.

    Raises:
        OSError: the parent is gone, or says nothing.
        Unreadable: it said something else.
    """
    end.settimeout(BEGIN_S)
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
        if not (byte := end.recv(1)):
            raise OSError("it is gone")
        line += byte
    message = decode(bytes(line))
    if not isinstance(message, Begin):
        raise Unreadable(f"not what a worker is: {type(message).__name__}")
    return message
