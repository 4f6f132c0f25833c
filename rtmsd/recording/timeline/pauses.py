"""The pauses of a stream: time in which no media are expected. Pure."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.entry import Entry
from rtmsd.recording.timeline.intervals import Part

_MAX_PAUSES: Final = 1000
_ENDED: Final = "ended"


@attrs.define
class Pause(Entry):
    """Paused by the host, or between an end and a new start.

    Attributes:
        to_ms: None while it goes on.
        sure_until_ms: nobody has heard Zoom's word since: the pause may have been over from here on.
    """

    from_ms: int
    to_ms: int | None
    why: str = "paused"
    sure_until_ms: int | None = None

    def to_manifest(self) -> dict[str, Any]:
        entry = super().to_manifest()
        if self.sure_until_ms is None:
            del entry["sure_until_ms"]
        return entry


class Pauses:
    """All pauses, in order."""

    def __init__(self, known: Iterable[Pause] = (), changes: ChangeCounter | None = None) -> None:
        self._changes = changes or ChangeCounter()
        self._pauses = list(known)
        self._is_end_guessed = False  # of the last one

    def __iter__(self) -> Iterator[Pause]:
        return iter(self._pauses)

    @property
    def spans(self) -> Iterator[Part]:
        return ((pause.from_ms, math.inf if pause.to_ms is None else pause.to_ms) for pause in self._pauses)

    @property
    def since_ms(self) -> int | None:
        """When the pause that is on began; None when none is."""
        return self._pauses[-1].from_ms if self._pauses and self._pauses[-1].to_ms is None else None

    def begin(self, time_ms: int) -> None:
        """The stream is paused, since now or still."""
        if self.since_ms is None:
            self._append(Pause(time_ms, None))
            self._is_end_guessed = False
        self._pauses[-1].sure_until_ms = None

    def doubt(self, from_ms: int) -> None:
        """Nobody hears Zoom's word from now on: if the next says that nothing is paused, it may be so since now."""
        if self.since_ms is not None and self._pauses[-1].sure_until_ms is None:
            self._pauses[-1].sure_until_ms = max(from_ms, self.since_ms)
            self._changes.note()

    def end(self, time_ms: int, *, is_exact: bool, by_now: bool = False) -> None:
        """The pause is over.

        Args:
            is_exact: Zoom said when; its word also corrects an end that was only known to be no later.
            by_now: at `time_ms` or earlier.
        """
        if not self._pauses:
            return
        pause = self._pauses[-1]
        if pause.sure_until_ms is not None:
            time_ms, by_now, pause.sure_until_ms = min(time_ms, pause.sure_until_ms), False, None
        if pause.to_ms is None or (self._is_end_guessed and is_exact):
            end_ms = max(time_ms, pause.from_ms)
            pause.to_ms = end_ms if pause.to_ms is None else min(end_ms, pause.to_ms)
            self._is_end_guessed = by_now
            self._changes.note()

    def ended(self, from_ms: int, to_ms: int) -> None:
        """The stream had ended, and was started again."""
        self._append(Pause(from_ms, to_ms, _ENDED))

    def stays_ended(self, to_ms: int) -> None:
        """The stream was started again, and never connected before it ended again."""
        if self._pauses and self._pauses[-1].why == _ENDED:
            self._pauses[-1].to_ms = to_ms

    def to_manifest(self) -> list[dict[str, Any]]:
        return [pause.to_manifest() for pause in self._pauses]

    def _append(self, pause: Pause) -> None:
        self._pauses.append(pause)
        self._changes.note()
        if len(self._pauses) > _MAX_PAUSES:
            first, second = self._pauses[:2]
            self._pauses[:2] = [Pause(first.from_ms, second.to_ms, first.why)]
