"""The action for each of Zoom's status codes and stop reasons."""

import enum
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from rtmsd.protocol.enums import StatusCode, StopReason
from rtmsd.protocol.media_types import REFUSED_TYPE


class StatusAction(enum.Enum):
    """The action after a handshake was answered with a status."""

    PROCEED = enum.auto()
    RETRY_DUPLICATE = enum.auto()  # Zoom still holds a signaling connection, ours or not: retry
    RETRY_STALE = enum.auto()  # Zoom still holds our previous media connection: close it, then retry
    RETRY = enum.auto()  # trouble at Zoom: retry with backoff
    DROP_MEDIA = enum.auto()  # not for this media type; go on with the others
    STREAM_GONE = enum.auto()  # there is no such stream any more
    BAD_CREDENTIALS = enum.auto()  # raise the alarm: the configuration is wrong
    GIVE_UP = enum.auto()  # the same request would be refused again


class StopAction(enum.Enum):
    """The action for a stream that was stopped."""

    END = enum.auto()
    DELETE = enum.auto()  # end, and delete everything stored for the stream at once
    RESTART = enum.auto()  # the stream is dead; only a new start, asked for by us, brings a new one
    RESTART_ONCE = enum.auto()  # as RESTART, but never twice in a row: the credentials are probably wrong


_Action = TypeVar("_Action")


def _table(*rows: tuple[_Action, Iterable[int]]) -> Mapping[int, _Action]:
    return {number: action for action, numbers in rows for number in numbers}


_ON_STATUS: Final = _table(
    (StatusAction.GIVE_UP, StatusCode),  # the rule; the rows below are its exceptions
    (StatusAction.PROCEED, [StatusCode.OK]),
    (StatusAction.STREAM_GONE, [StatusCode.INVALID_RTMS_STREAM_ID]),
    (StatusAction.BAD_CREDENTIALS, [StatusCode.INVALID_SIGNATURE]),
    (StatusAction.RETRY_DUPLICATE, [StatusCode.DUPLICATE_SIGNAL_REQUEST]),
    (StatusAction.DROP_MEDIA, REFUSED_TYPE),
    (
        StatusAction.RETRY_STALE,
        [StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST, StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION],
    ),
    (StatusAction.RETRY, [StatusCode.INTERNAL_EXCEPTION]),
)

_ON_STOP: Final = _table(
    (StopAction.END, StopReason),  # the rule; the rows below are its exceptions
    (StopAction.DELETE, [StopReason.STREAM_REVOKED]),
    (
        StopAction.RESTART,
        [
            StopReason.INTERNAL_EXCEPTION,
            StopReason.CONNECTION_TIMEOUT,
            StopReason.INSTANCE_CONNECTION_INTERRUPTED,
            StopReason.SIGNAL_CONNECTION_INTERRUPTED,
            StopReason.DATA_CONNECTION_INTERRUPTED,
            StopReason.SIGNAL_CONNECTION_CLOSED_ABNORMALLY,
            StopReason.DATA_CONNECTION_CLOSED_ABNORMALLY,
            StopReason.EXIT_SIGNAL,
            StopReason.AWAIT_RECONNECTION_TIMEOUT,
            StopReason.KEEP_ALIVE_TIMEOUT,
        ],
    ),
    (StopAction.RESTART_ONCE, [StopReason.AUTHENTICATION_FAILURE]),
)


def on_status(code: int) -> StatusAction:
    """Return the action for the `status_code` of a handshake response; an unknown number is trouble at Zoom.

    Source: Zoom's samples, and where they say nothing, whether the same request could succeed later.
    """
    return _ON_STATUS.get(code, StatusAction.RETRY)


def on_stop(reason: int) -> StopAction:
    """Return the action for the `stop_reason` of a stopped webhook, or the reason of message 8 state 4.

    An unknown number ends the stream: to start a stream again that somebody ended on purpose would be worse.

    Source: Zoom documentation, "Failover and reconnection".
    """
    return _ON_STOP.get(reason, StopAction.END)
