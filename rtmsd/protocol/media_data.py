"""Media data (messages 14-18): a batch of WebSocket messages in, typed calls on a handler out.

Times are Zoom's and as on the wire: whoever places media on a time line normalises them (`times.normalise_ms`).
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import attrs

from rtmsd.protocol.codec import CorruptKind
from rtmsd.protocol.enums import MediaType

UserId: TypeAlias = int | str
"""A participant: Zoom's number (0 is the mix of everybody), or in contact centers the channel id, a string."""


@attrs.frozen(kw_only=True)
class TranscriptData:
    """Message 17: one utterance, or with `attribute` UPDATE or DELETE a revision of one."""

    user_id: UserId
    user_name: str | None
    text: str
    timestamp_ms: int
    start_ms: int | None  # of the utterance; may be an offset from the first packet, see `times.transcript_ms`
    end_ms: int | None
    language: int | None  # `TranscriptLanguage`, known or not
    attribute: int | None  # `MessageAttribute`, known or not


@attrs.frozen(kw_only=True)
class ChatData:
    """Message 18. `details` is Zoom's chat object (operation, ids, receiver, files); None from servers that send text."""

    user_id: UserId | None  # the sender, where Zoom names one
    user_name: str | None
    timestamp_ms: int
    text: str
    details: Mapping[str, Any] | None


@attrs.frozen(kw_only=True)
class Corrupt:
    """A message that could not be kept. The rest says whose, as far as that could be read: without it, None."""

    kind: CorruptKind
    media: MediaType | None = None
    user_id: UserId | None = None
    timestamp_ms: int | None = None


class MediaHandler(Protocol):
    """Who takes in media. Called in the order of arrival, in the reader's task: no call may block or raise."""

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one packet, in the negotiated format."""

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one image, or one chunk of an H.264 byte stream."""

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one image, or one chunk of an H.264 byte stream, of a shared screen."""

    def transcript(self, data: TranscriptData) -> None: ...

    def chat(self, data: ChatData) -> None: ...

    def control(self, raw: bytes | bytearray | memoryview) -> None:
        """Take a message that is no media data, undecoded: a handshake's answer, a keep-alive, an unknown one."""

    def corrupt(self, problem: Corrupt) -> None:
        """Count a message that could not be read."""
