"""The feed of all media but audio: transcripts, chat messages, pictures. Zoom buffers none of them."""

import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.protocol.chat import OPERATIONS, SESSION_TYPES
from rtmsd.protocol.enums import MediaType, MessageAttribute
from rtmsd.protocol.media_types import MESSAGES
from rtmsd.simulator.model.crowd import Utterance
from rtmsd.simulator.model.fate import Fate
from rtmsd.simulator.model.record import Record, SentItem
from rtmsd.simulator.model.settings import ChatShape
from rtmsd.simulator.wire.links import Links

Who: TypeAlias = Mapping[str, Any]
"""The fields that name a person in a message."""

_OPERATION_NUMBERS: Final = {name: number for number, name in OPERATIONS.items()}
_SESSION_NUMBERS: Final = {name: number for number, name in SESSION_TYPES.items()}
_BYTES_PER_LETTER: Final = 1000  # of the files: their sizes follow from their names
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
        self._said: dict[str, dict[str, Any]] = {}  # by label, for revisions
        self._chats: dict[str, dict[str, Any]] = {}  # by message id: the conversation it belongs to

    def transcript(
        self, who: Who, utterance: Utterance, text: str | None = None, *, label: str = "", has_start: bool = True
    ) -> None:
        """Send the transcript of an utterance, by default the next of some prepared sentences.

        Args:
            label: for `revise`; without one nothing says that revisions may follow.
            has_start: whether `start_time` and `end_time` are sent.
        """
        content = {
            **who,
            "start_time": utterance.start_ms,
            "end_time": utterance.end_ms,
            "timestamp": self._now_ms(),
            "language": _ENGLISH,
            "data": next(self._sentences) if text is None else text,
        }
        if not has_start:
            del content["start_time"], content["end_time"]
        if label:
            content["attribute"] = int(MessageAttribute.NEW)
            self._said[label] = content
        self.send(MediaType.TRANSCRIPT, content)

    def revise(self, label: str, text: str | None) -> None:
        """Replace the text of an utterance, or with None delete it. Raises KeyError: nothing has that label."""
        content = {key: value for key, value in self._said[label].items() if key != "data"}
        content["attribute"] = int(MessageAttribute.DELETE if text is None else MessageAttribute.UPDATE)
        if text is not None:
            content["data"] = text
        if "start_time" in content:  # else the timestamp alone says which utterance it is
            content["timestamp"] = self._now_ms()
        self.send(MediaType.TRANSCRIPT, content)

    def chat(
        self,
        sender: Who,
        text: str,
        shape: ChatShape,
        *,
        message_id: str = "",
        receiver: Who | None = None,
        group: str = "",
        reply_to: str = "",
        files: Iterable[str] = (),
    ) -> str:
        """Send a chat message: to everybody, to one person or to a group. Returns its id."""
        message_id = message_id or uuid.uuid4().hex
        kind = "individual" if receiver else "chat_group" if group else "everyone"
        conversation = {
            "chat_session": {"type": _SESSION_NUMBERS[kind], "id": group or kind},
            "receiver": receiver,
        }
        self._chats[message_id] = conversation
        listed = [{"file_id": name, "file_name": name, "file_size": _BYTES_PER_LETTER * len(name)} for name in files]
        more = {"parent_message_id": reply_to} if reply_to else {}
        self.change_chat("new", sender, message_id, shape, data=text, files=listed or None, **more)
        return message_id

    def change_chat(self, operation: str, sender: Who, message_id: str, shape: ChatShape, **fields: Any) -> None:
        """Send what somebody did to a chat message. Raises KeyError: there is no such message."""
        fields = {
            **self._chats[message_id],
            "operation_type": _OPERATION_NUMBERS[operation],
            "message_id": message_id,
            "sender": sender,
            **fields,
        }
        match shape:
            case "inside":
                content = {**sender, "data": fields}
            case "encoded":
                content = {**sender, "data": json.dumps(fields, ensure_ascii=False)}
            case "beside":
                content = {key: value for key, value in fields.items() if value is not None}
        self.send(MediaType.CHAT, {**content, "timestamp": self._now_ms()})

    def send(self, media: MediaType, content: Mapping[str, Any], *, counter: int | None = None) -> None:
        """Send the content of any media message but audio; it holds a `timestamp`. `counter`: of a frame."""
        log = self._record.items(media)
        connection = self._links.streaming(media)
        number = connection.number if connection else 0
        log.append(
            SentItem(
                content=content,
                timestamp_ms=content["timestamp"],
                fate=Fate.DISCARDED,
                connection=number,
                counter=counter,
            )
        )
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
