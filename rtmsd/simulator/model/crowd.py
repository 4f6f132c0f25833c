"""The participants of a session and their speech: pure bookkeeping in Zoom's time."""

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple

import attrs

from rtmsd.simulator.model.settings import Person

MAX_SPEAKERS: Final = 3  # that Zoom sends at once
_FIRST_USER_ID: Final = 16778240
_USER_ID_STEP: Final = 1 << 24
_SHORTEST_UTTERANCE_MS: Final = 200


class Mic(enum.Enum):
    QUIET = enum.auto()
    TALKING = enum.auto()
    MUTED = enum.auto()


@attrs.define
class SimParticipant:
    person: Person
    user_id: int
    voice: int
    mic: Mic = Mic.QUIET
    camera: bool = False


@attrs.define
class Span:
    """Speech from `start_ms` until `end_ms`, or still going on; transcribed up to `transcribed_ms`."""

    user_id: int
    start_ms: int
    transcribed_ms: int
    end_ms: int | None = None


class Utterance(NamedTuple):
    user_id: int
    start_ms: int
    end_ms: int


class Crowd:
    """The participants of one session.

    Attributes:
        present: by user id, in the order of joining.
        known: everybody who was ever in the session.
    """

    def __init__(self) -> None:
        self.present: dict[int, SimParticipant] = {}
        self.known: dict[int, SimParticipant] = {}
        self._spans: list[Span] = []
        self._paused = False

    def join(self, person: Person, now_ms: int) -> SimParticipant:
        """Add a participant, talking if `person` says so.

        Raises:
            ValueError: the user id is taken.
        """
        user_id = person.user_id
        if user_id is None:
            user_id = _FIRST_USER_ID
            while user_id in self.known:
                user_id += _USER_ID_STEP
        if user_id in self.present:
            raise ValueError(f"user id {user_id} is in the session already")
        voice = self.known[user_id].voice if user_id in self.known else len(self.known)
        participant = SimParticipant(person, user_id, voice, camera=person.camera)
        self.present[user_id] = self.known[user_id] = participant
        if person.talking:
            self.set_mic(user_id, Mic.TALKING, now_ms)
        return participant

    def leave(self, user_id: int, now_ms: int) -> None:
        self.set_mic(user_id, Mic.QUIET, now_ms)
        del self.present[user_id]

    def set_mic(self, user_id: int, mic: Mic, now_ms: int) -> None:
        participant = self.present[user_id]
        if mic is participant.mic:
            return
        if participant.mic is Mic.TALKING:
            self._end_spans(now_ms, user_id)
        participant.mic = mic
        if mic is Mic.TALKING and not self._paused:
            self._spans.append(Span(user_id, now_ms, now_ms))

    def pause(self, now_ms: int) -> None:
        """Pause the stream, or end it: speech until `resume` is never sent."""
        self._paused = True
        self._end_spans(now_ms)

    def resume(self, now_ms: int) -> None:
        self._paused = False
        for participant in self.present.values():
            if participant.mic is Mic.TALKING:
                self._spans.append(Span(participant.user_id, now_ms, now_ms))

    def find(self, name_or_id: str | int) -> int:
        """Return the user id of a participant, by id or name.

        Raises:
            KeyError: nobody of this name is in the session.
        """
        for participant in self.present.values():
            if name_or_id in (participant.user_id, participant.person.user_name):
                return participant.user_id
        raise KeyError(f"nobody called {name_or_id!r} is in the session")

    def name(self, user_id: int) -> str:
        return self.known[user_id].person.user_name

    @property
    def active_speaker(self) -> int | None:
        """Return the participant who began to talk last and still does."""
        return next((span.user_id for span in reversed(self._spans) if span.end_ms is None), None)

    def speakers(self, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """Return the participants who talked throughout an interval: the first three at most."""
        talking = [
            span.user_id
            for span in self._spans
            if span.start_ms <= from_ms and (span.end_ms is None or span.end_ms >= to_ms)
        ]
        return tuple(talking[:MAX_SPEAKERS])

    def next_speech_ms(self, from_ms: int) -> int | None:
        """Return when speech comes next, `from_ms` if somebody talks then; None without any."""
        starts = [max(span.start_ms, from_ms) for span in self._spans if span.end_ms is None or span.end_ms > from_ms]
        return min(starts, default=None)

    def utterances(self, until_ms: int, longest_ms: int) -> Iterator[Utterance]:
        """Yield, once, what was said until then: each up to a silence, or to `longest_ms` of speech."""
        for span in self._spans:
            while span.transcribed_ms + longest_ms <= until_ms and (
                span.end_ms is None or span.transcribed_ms + longest_ms <= span.end_ms
            ):
                yield Utterance(span.user_id, span.transcribed_ms, span.transcribed_ms + longest_ms)
                span.transcribed_ms += longest_ms
            if span.end_ms is not None and span.transcribed_ms < span.end_ms <= until_ms:
                if span.end_ms - span.transcribed_ms >= _SHORTEST_UTTERANCE_MS:
                    yield Utterance(span.user_id, span.transcribed_ms, span.end_ms)
                span.transcribed_ms = span.end_ms

    def forget(self, before_ms: int) -> None:
        """Drop speech that has ended, is transcribed, and is older than this."""
        self._spans = [
            span
            for span in self._spans
            if span.end_ms is None or span.end_ms > before_ms or span.transcribed_ms < span.end_ms
        ]

    def _end_spans(self, now_ms: int, user_id: int | None = None) -> None:
        for span in self._spans:
            if span.end_ms is None and user_id in (None, span.user_id):
                span.end_ms = now_ms
