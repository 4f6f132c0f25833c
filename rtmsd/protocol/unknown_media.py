"""The parts of media messages that this version does not know. Pure.

Of texts each is looked at; of audio and pictures a sample, so that it costs nothing on the way of each packet.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rtmsd.protocol.enums import MessageAttribute, MsgType
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_data import Text, TranscriptData
from rtmsd.protocol.media_types import MESSAGES, NAMES, TEXTS
from rtmsd.protocol.reading import Malformed, Raw, load_object, read_int
from rtmsd.protocol.unknown import Unknown, unknown_field, unknown_value

MAX_SAMPLE_BYTES: Final = 65_536
"""A larger message is no sample: it would take too long to read it once more."""

_MESSAGES: Final[Mapping[str, str]] = {NAMES[bit]: MsgType(number).name.lower() for number, bit in MESSAGES.items()}
_KNOWN: Final = frozenset({"user_id", "user_name", "channel_id", "data", "length", "timestamp"})
_KNOWN_IN_TEXT: Final = _KNOWN | {"content", "sender", "receiver", "chat_session", "zoom_user_id", "is_cut"}


def unknown_in_sample(raw: Raw) -> Iterator[tuple[Unknown, dict[str, Any]]]:
    """Yield the fields of a message of audio, video or share that are not known, as `unknown_parts` does."""
    if len(raw) > MAX_SAMPLE_BYTES:
        return
    try:
        fields = load_object(raw)
        bit = MESSAGES.get(read_int(fields.pop("msg_type", None)))
    except (Malformed, TypeError):
        return
    if bit is None or NAMES[bit] in TEXTS:
        return
    if isinstance(content := fields.get("content"), dict):
        del fields["content"]
        fields |= {f"content.{key}": value for key, value in content.items()}
    for key, value in fields.items():
        if key.removeprefix("content.") not in _KNOWN and key != "content" and value is not None:
            yield unknown_field(_MESSAGES[NAMES[bit]], key, value)


def unknown_in_text(text: Text) -> Iterator[Unknown]:
    """Yield what is not known of a transcript or chat message: its line in the file has it all."""
    name = _MESSAGES[text.media]
    for key, value in (text.details or {}).items():
        if key not in _KNOWN_IN_TEXT:
            yield unknown_field(name, f"content.{key}", value)[0]
    numbers: Mapping[str, object]
    if isinstance(text, TranscriptData):
        numbers = {"language": text.language, "attribute": text.attribute}
    else:
        numbers = {"operation_type": text.operation, "chat_session.type": text.session_type}
    for field, number in numbers.items():
        if isinstance(number, int) and number not in _NUMBERS.get(field, ()):
            yield unknown_value(name, f"content.{field}", number)[0]


_NUMBERS: Final[Mapping[str, tuple[int, ...]]] = {
    "language": tuple(TranscriptLanguage),
    "attribute": tuple(MessageAttribute),
}
"""Those of chat have their names by now, unless they are unknown."""
