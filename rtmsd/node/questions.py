"""What a member asks another for an operator, and its answers, as JSON. Both are read as strictly as a webhook. Pure.

An answer is what the admin API there has, or its refusal. Keys that are unknown are of a newer version, and left out.
"""

import enum
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import attrs
import msgspec
from msgspec import Meta

from rtmsd.admin.messages import AdminError, Code
from rtmsd.cluster.engine import EngineError
from rtmsd.cluster.records import Count, Ms, Node, StreamId
from rtmsd.protocol.causes import FINAL_STATES
from rtmsd.sinks.ndjson import json_line

CTL: Final = "ctl"
"""The kind of these questions on the bus."""

MAX_BYTES: Final = 8192  # of a question: an id may have 1024 characters
LIST_BYTES: Final = 400_000  # of the streams in one answer; more are counted
WHYS: Final = 100  # reasons in a report; more are counted

Name: TypeAlias = Annotated[str, Meta(max_length=1024)]
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
AnyAnswer = TypeVar("AnyAnswer")


class BadQuestion(EngineError):
    """What another member sent is no question of this version. The text never has its content."""


class BadAnswer(EngineError):
    """What another member answered makes no sense."""


# Questions


@attrs.frozen
class AskReport:
    """How are you?"""


@attrs.frozen
class AskStreams:
    """Which streams do you have?"""

    include_ended: bool = False


@attrs.frozen
class FindStreams:
    """Which streams of yours begin so?"""

    prefix: StreamId


@attrs.frozen
class Act:
    """Do this to a stream of yours, or describe it. The commands are of the admin API."""

    command: Literal["stream", "stop", "reconnect"]
    rtms_stream_id: StreamId


@attrs.frozen
class Drain:
    """Begin to hand over what you have.

    Attributes:
        node: the member that is drained, or the machine: its other members are given nothing.
    """

    node: Node | None = None


@attrs.frozen
class Undrain:
    """Take streams again.

    Attributes:
        node: the member that is meant, or the machine.
    """

    node: Node | None = None


@attrs.frozen
class Move:
    """Hand over a stream of yours, to this node or the best."""

    rtms_stream_id: StreamId
    node: Node | None = None


@attrs.frozen
class Gather:
    """Join the parts of a stream that ended with you."""

    rtms_stream_id: StreamId


Order: TypeAlias = Act | Drain | Undrain | Move | Gather
Question: TypeAlias = AskReport | AskStreams | FindStreams | Order

_KINDS: Final[Mapping[str, type[Question]]] = {
    "report": AskReport,
    "streams": AskStreams,
    "find": FindStreams,
    "act": Act,
    "drain": Drain,
    "undrain": Undrain,
    "move": Move,
    "gather": Gather,
}
_NAMES: Final = {question: kind for kind, question in _KINDS.items()}


def encode_question(question: Question) -> bytes:
    return json_line({"kind": _NAMES[type(question)], **attrs.asdict(question)})


def decode_question(data: bytes) -> Question:
    """Read a question.

    Raises:
        BadQuestion: it is none that this version knows.
    """
    if len(data) > MAX_BYTES:
        raise BadQuestion(f"the question has more than {MAX_BYTES} bytes")
    try:
        plain = msgspec.json.decode(data, type=dict[str, Any])
        return msgspec.convert(plain, _KINDS[plain["kind"]])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadQuestion(f"the question cannot be read: {type(error).__name__}") from None


# Answers


class Flag(enum.StrEnum):
    """What is notable of a stream."""

    ORPHAN = "orphan"  # nobody who lives owns it
    SLOT_HELD = "slot_held"  # another connection keeps it from Zoom
    UNCLAIMED = "unclaimed"  # begun without the engine, which does not know it yet
    UNGATHERED = "ungathered"  # others have parts of it that are not joined


@attrs.frozen(kw_only=True)
class StreamLine:
    """A stream in the list of all.

    Attributes:
        epoch: of its owner's tenure; None: it is not claimed, or has ended.
        gaps: how many.
    """

    rtms_stream_id: StreamId
    state: Name | None = None
    epoch: Count | None = None
    app: Name | None = None
    started_ms: Ms | None = None
    ended_ms: Ms | None = None
    gaps: Count = 0
    why: Text | None = None
    flags: tuple[Flag, ...] = ()

    @property
    def is_live(self) -> bool:
        return self.state is not None and self.state not in FINAL_STATES


@attrs.frozen(kw_only=True)
class StreamList:
    """The streams of a member.

    Attributes:
        omitted: how many more there are.
    """

    streams: tuple[StreamLine, ...]
    omitted: Count = 0


@attrs.frozen
class Names:
    """Ids of streams: live ones, and ended ones that are remembered."""

    live: tuple[StreamId, ...] = ()
    ended: tuple[StreamId, ...] = ()


@attrs.frozen
class TroubleLine:
    code: Name
    detail: Text


@attrs.frozen(kw_only=True)
class DrainReport:
    """How far a drain is.

    Attributes:
        moved, stayed: streams, counted.
        why: the reasons of those that stayed, of `WHYS` of them at most.
        trouble: why it broke off.
    """

    running: bool
    moved: Count = 0
    stayed: Count = 0
    why: dict[StreamId, Text] = attrs.field(factory=dict)
    trouble: Text | None = None


@attrs.frozen(kw_only=True)
class Report:
    """What a member says of itself; its beat has the rest."""

    troubles: tuple[TroubleLine, ...] = ()
    drain: DrainReport | None = None


def encode_answer(answer: Any) -> bytes:
    """Write an answer: one of these classes, or an object of the admin API."""
    return json_line({"answer": msgspec.to_builtins(answer) if attrs.has(type(answer)) else answer})


def encode_refusal(refusal: AdminError) -> bytes:
    """Write what the admin API refuses."""
    return json_line({"refusal": {"code": refusal.code.value, "detail": refusal.detail}})


@attrs.frozen
class _Refusal:
    code: Code
    detail: Text


def decode_answer(data: bytes, of: type[AnyAnswer]) -> AnyAnswer:
    """Read an answer of this class.

    Raises:
        AdminError: the member refuses.
        BadAnswer: it is none.
    """
    try:
        plain = json.loads(data)  # ids may have lone surrogates, which msgspec does not read
        if "refusal" in plain:
            refusal = msgspec.convert(plain["refusal"], _Refusal)
        else:
            return msgspec.convert(plain["answer"], of)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadAnswer(f"its answer cannot be read: {type(error).__name__}") from None
    raise AdminError(refusal.code, refusal.detail)


def fitting(lines: list[StreamLine]) -> StreamList:
    """Return the first of a list, as many as one answer has room for."""
    size_bytes, fit = 0, []
    for line in lines:
        size_bytes += len(json_line(msgspec.to_builtins(line)))
        if size_bytes > LIST_BYTES:
            break
        fit.append(line)
    return StreamList(streams=tuple(fit), omitted=len(lines) - len(fit))
