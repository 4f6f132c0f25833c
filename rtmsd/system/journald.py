"""systemd's journal in its native protocol, so that `journalctl RTMS_STREAM_ID=...` finds the lines of a stream.

Source: systemd.io, "Native Journal Protocol"; systemd.exec(5) on $JOURNAL_STREAM; systemd.journal-fields(7).
"""

import functools
import os
import re
import socket
import uuid
from collections.abc import Iterator
from typing import Final, TextIO

import attrs
import structlog
from structlog.typing import EventDict, WrappedLogger

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "rtmsd"
# Each constant log phrase is a kind of event; its MESSAGE_ID is derived from the phrase, and so is stable.
MESSAGE_IDS: Final = uuid.UUID("6b1e3f0c-0f6e-4f0e-9d55-3a1f7c2b8e94")

_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_HEAD: Final = ("event", "level")
_CACHED: Final = 512  # more than there are phrases, or keys


def is_journal(stream: TextIO) -> bool:
    """Return whether a stream leads to the journal, which systemd names by device and inode in $JOURNAL_STREAM."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no descriptor, or closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@functools.lru_cache(_CACHED)
def message_id(phrase: str) -> str:
    """Return the MESSAGE_ID of a kind of event: 32 hex digits."""
    return uuid.uuid5(MESSAGE_IDS, phrase).hex


def encode(event: EventDict) -> bytes:
    """Write an event as a datagram; `rtms_stream_id` becomes RTMS_STREAM_ID, `app` RTMS_APP, `state` RTMS_STATE, ..."""
    return b"".join(_field(name, str(value)) for name, value in _fields(event))


def _fields(event: EventDict) -> Iterator[tuple[str, object]]:
    phrase = event["event"]
    details = {key: value for key, value in event.items() if key not in _HEAD and value is not None}
    exception = details.pop("exception", None)
    message = " ".join([str(phrase), *(f"{key}={value}" for key, value in details.items())])
    yield "MESSAGE", f"{message}\n{exception}" if exception else message
    yield "PRIORITY", _PRIORITIES[event["level"]]
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    if "logger" not in event:  # the messages of libraries are not constant
        yield "MESSAGE_ID", message_id(str(phrase))
    for key, value in details.items():
        yield _name(key), value


@functools.lru_cache(_CACHED)
def _name(key: str) -> str:
    name = re.sub(r"[^A-Z0-9]+", "_", key.upper())
    return (name if name.startswith("RTMS_") else f"RTMS_{name}")[:64]


def _field(name: str, value: str) -> bytes:
    raw = value.encode(errors="backslashreplace")
    if b"\n" in raw:
        return name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
    return name.encode() + b"=" + raw + b"\n"


@attrs.frozen
class JournalSender:
    """A structlog processor that sends events to the journal; those it refuses go on to the next processor."""

    path: str = SOCKET

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Send one event.

        Raises:
            structlog.DropEvent: it was sent.
        """
        try:
            # A socket for each line needs no owner to close it, and logging is not on a hot path.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to_journal:
                to_journal.sendto(encode(event), self.path)
        except OSError:  # no journal, one that restarts or is too slow, a datagram too large
            return event
        raise structlog.DropEvent
