"""The state shown while the demo plays: voices, connections, events. It knows no terminal."""

import enum
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

from rtmsd.terminal import printable

TRANSCRIPT_LINES: Final = 50
LOG_LINES: Final = 200


class Kind(enum.Enum):
    """The sort of a line; a terminal colours by it."""

    ACT = "act"  # a new part of the story
    FAULT = "fault"  # something is about to be broken
    GOOD = "good"  # recovered
    BAD = "bad"  # not recovered
    NOTE = "note"
    DAEMON = "daemon"  # what the daemon reports of itself


@attrs.frozen
class Line:
    """`at_s` is the age of the session in Zoom's seconds."""

    at_s: float
    kind: Kind
    text: str


@attrs.frozen
class Said:
    at_s: float
    user_name: str
    text: str


@attrs.define
class Voice:
    """A person in the session. `level` is 0 to 1; it was measured at `at_ms` of Zoom's time."""

    user_name: str
    level: float = 0.0
    at_ms: int = 0
    present: bool = True


@attrs.define
class Scene:
    """Written by the story and from the daemon's admin socket; read by a view.

    Attributes:
        age_s: the session's age in Zoom's seconds.
        act, acts: which part of the story is being played, and how many there are.
        stream: of the daemon's `GET /v1/streams/{id}`, empty while it does not answer.
        processes, streams: where there are several: what each is doing, and of `GET /v1/streams` each stream.
        listed: the streams that each of them named when it last answered.
        noun: what one of the processes is called.
        daemon_is_up: whether its admin socket answers.
        on_line, on_said: called with each line as it comes.
    """

    age_s: Callable[[], float] = lambda: 0.0
    act: int = 0
    acts: int = 0
    voices: dict[int, Voice] = attrs.field(factory=dict)
    said: deque[Said] = attrs.field(factory=lambda: deque(maxlen=TRANSCRIPT_LINES))
    lines: deque[Line] = attrs.field(factory=lambda: deque(maxlen=LOG_LINES))
    stream: dict[str, Any] = attrs.field(factory=dict)
    processes: dict[str, str] = attrs.field(factory=dict)
    listed: dict[str, frozenset[str]] = attrs.field(factory=dict)
    streams: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    noun: str = "worker"
    daemon_is_up: bool = False
    on_line: Callable[[Line], None] = lambda _line: None
    on_said: Callable[[Said], None] = lambda _said: None

    def log(self, kind: Kind, text: str) -> None:
        if kind is Kind.ACT:
            self.act += 1
        line = Line(self.age_s(), kind, printable(text))
        self.lines.append(line)
        self.on_line(line)

    def say(self, user_name: str, text: str) -> None:
        said = Said(self.age_s(), printable(user_name), printable(text))
        self.said.append(said)
        self.on_said(said)
