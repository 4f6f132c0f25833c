"""The exception tree. A leaf decides the reaction: fix the configuration, retry, give up, or fix a bug."""

from collections.abc import Iterator

from rtmsd.masking import sanitize_remote_text


class RtmsdError(Exception):
    """Base of every foreseen error: one log line, no traceback."""


class ConfigError(RtmsdError):
    """The configuration is wrong; nothing was started.

    Attributes:
        mistakes: one line each, `path.to.key: what is wrong and how to fix it`.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class AlreadyRunningError(RtmsdError):
    """Another daemon holds the state file, the recording directory or the admin socket."""


class ListenError(RtmsdError):
    """Cannot bind the address (in use, no permission, no memory); another attempt may succeed."""


class ProtocolError(RtmsdError):
    """A violation of the RTMS protocol."""


class LocalProtocolError(ProtocolError):
    """By this side: a bug, never retried."""


class RemoteProtocolError(ProtocolError):
    """By Zoom: drop the connection and retry."""


class HandshakeRejected(RemoteProtocolError):
    """A handshake was answered with a status other than 0; `policy.on_status` says whether to retry.

    Attributes:
        status_code: the wire's number, known or not.
        reason: Zoom's free text as `sanitize_remote_text` leaves it, "" when there was none.
    """

    def __init__(self, status_code: int, reason: str) -> None:
        reason = sanitize_remote_text(reason)
        super().__init__(f"status {status_code}" + (f": {reason}" if reason else ""))
        self.status_code = status_code
        self.reason = reason


class UnspokenProtocol(RemoteProtocolError):
    """Zoom answered in a version, or names a transport, that this version of rtmsd does not speak: never retried."""


class ConnectionLost(RtmsdError):
    """A connection could not be opened, or ended without being asked to: retry within the window.

    Attributes:
        code: RFC 6455's close code; None where the loss has none.
    """

    code: int | None = None


class KeepAliveTimeout(ConnectionLost):
    """No frame of any kind for `keep_alive_timeout_s`: the peer is dead."""


class ForbiddenHost(RtmsdError):
    """A `server_urls` outside `zoom.allowed_hosts`, or plain `ws://` where it is not allowed: never connected to."""


class StorageError(RtmsdError):
    """The disk refused (full, read-only, EIO)."""


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the errors in a group and its subgroups, whose texts are for people to read."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
