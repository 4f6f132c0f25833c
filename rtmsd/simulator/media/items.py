"""The feed of all media but audio: transcripts, chat messages, pictures. Zoom buffers none of them."""

import itertools
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_types import MESSAGES
from rtmsd.simulator.model.crowd import Utterance
from rtmsd.simulator.model.fate import Fate
from rtmsd.simulator.model.record import Record, SentItem
from rtmsd.simulator.wire.links import Links

Who: TypeAlias = Mapping[str, Any]
"""The fields that name a person in a message."""

_ENGLISH: Final = 9
_SENTENCES: Final = (
    "Good morning, everybody.",
    "Shall we begin with the figures?",
    "I had a look at them last night.",
    "That is more than we hoped for.",
    "Could you say that again, please?",
    "Let us come back to it after lunch.",
    "I agree, and I would go a step further.",
    "Then we are through for today.",
)

_MSG_TYPES: Final = {media: int(number) for number, media in MESSAGES.items()}


class ItemFeed:
    """Sends one item at a time, and records it with its fate: without a connection it is discarded."""

    def __init__(self, links: Links, record: Record, now_ms: Callable[[], int]) -> None:
        self._links = links
        self._record = record
        self._now_ms = now_ms
        self._sentences = itertools.cycle(_SENTENCES)

    def transcript(self, who: Who, utterance: Utterance, text: str | None = None) -> None:
        """Send the transcript of an utterance, by default the next of some prepared sentences."""
        content = {
            **who,
            "start_time": utterance.start_ms,
            "end_time": utterance.end_ms,
            "timestamp": self._now_ms(),
            "language": _ENGLISH,
            "data": next(self._sentences) if text is None else text,
        }
        self.send(MediaType.TRANSCRIPT, content)

    def chat(self, who: Who, text: str) -> None:
        """Send a chat message to everybody."""
        data = {
            "chat_session": {"type": 1, "id": "everyone"},
            "operation_type": 1,
            "message_id": uuid.uuid4().hex,
            "sender": who,
            "receiver": None,
            "data": text,
        }
        self.send(MediaType.CHAT, {**who, "data": data, "timestamp": self._now_ms()})

    def send(self, media: MediaType, content: Mapping[str, Any]) -> None:
        """Send the content of any media message but audio; it holds a `timestamp`."""
        log = self._record.items(media)
        connection = self._links.streaming(media)
        number = connection.number if connection else 0
        log.append(SentItem(content=content, timestamp_ms=content["timestamp"], fate=Fate.DISCARDED, connection=number))
        if connection is not None:
            connection.post({"msg_type": _MSG_TYPES[media], "content": content}, _Item(log, len(log) - 1))
            connection.busy_ms = self._now_ms()


@attrs.frozen
class _Item:
    """The token of a `SentItem`: writes its fate into the list that holds it."""

    log: list[SentItem]
    index: int

    def settle(self, fate: Fate) -> None:
        self.log[self.index] = attrs.evolve(self.log[self.index], fate=fate)
