"""The tenure of streams: whether this process may connect to one."""

from typing import Protocol

from rtmsd.protocol.causes import GapCause
from rtmsd.streams.core.reconnect import Permission

__all__ = ["LocalTenure", "Permission", "Tenure"]


class Tenure(Protocol):
    """Asked before each signaling handshake, also while another connection has the slot.

    Attributes:
        takeover_cause: of what is missing of a stream that somebody else goes on with.
    """

    @property
    def takeover_cause(self) -> GapCause: ...

    async def may_connect(self, rtms_stream_id: str) -> Permission:
        """Return whether this process may connect to the stream now. It never raises, and it may be cancelled.

        It may wait for an answer, which is part of the attempt: for some seconds while there is a window of Zoom's.
        """


class LocalTenure:
    """A daemon that has no peers owns all its streams."""

    takeover_cause = GapCause.DAEMON_RESTART

    async def may_connect(self, rtms_stream_id: str) -> Permission:
        return Permission.GRANTED
