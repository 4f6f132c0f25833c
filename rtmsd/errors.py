"""The exception tree. A leaf says what to do about it: mend the configuration, retry, give up, or fix a bug."""

from collections.abc import Iterator

from rtmsd.masking import sanitize_remote_text


class RtmsdError(Exception):
    """Base of every foreseen error: one log line, no traceback."""


class ConfigError(RtmsdError):
    """The configuration is wrong; nothing was started.

    Attributes:
        mistakes: one line each, `path.to.key: what is wrong and how to mend it`.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class AlreadyRunningError(RtmsdError):
    """Another daemon holds the state file, the recording directory or the admin socket."""


class ListenError(RtmsdError):
    """The system has something against listening there (taken, not ours, no memory); another time it may not."""


class ProtocolError(RtmsdError):
    """Somebody broke the rules of RTMS."""


class LocalProtocolError(ProtocolError):
    """We did: a bug of ours, never retried."""


class RemoteProtocolError(ProtocolError):
    """Zoom did: drop the connection and retry."""


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


class ConnectionLost(RtmsdError):
    """A connection could not be opened, or ended without being asked to: retry within the window."""


class KeepAliveTimeout(ConnectionLost):
    """No frame of any kind for `keep_alive_timeout_s`: the peer plays dead."""


class ForbiddenHost(RtmsdError):
    """A `server_urls` outside `zoom.allowed_hosts`, or plain `ws://` where it is not allowed: never connected to."""


class StorageError(RtmsdError):
    """The disk refused (full, read-only, EIO)."""


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the errors in a group, and in the groups in it: their texts are what a person wants to read."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
