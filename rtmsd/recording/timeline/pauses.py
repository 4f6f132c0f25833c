"""The pauses of a stream: time in which no media are expected. Pure."""

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Final

from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import PauseEntry
from rtmsd.recording.timeline.intervals import Part

_MAX_PAUSES: Final = 1000
_ENDED: Final = "ended"


class Pauses:
    """All pauses, in order."""

    def __init__(self, known: Iterable[PauseEntry] = (), changes: ChangeCounter | None = None) -> None:
        self._changes = changes or ChangeCounter()
        self._pauses = list(known)
        self._is_end_guessed = False  # of the last one

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
            self._append(PauseEntry(time_ms, None, "paused"))
            self._is_end_guessed = False
        self._pauses[-1].sure_until_ms = None

    def doubt(self, from_ms: int) -> None:
        """Nobody hears Zoom's word from now on: if the next says that nothing is paused, it may be so since now."""
        if self.since_ms is not None and self._pauses[-1].sure_until_ms is None:
            self._pauses[-1].sure_until_ms = max(from_ms, self.since_ms)
            self._changes.note()

    def end(self, time_ms: int, *, is_exact: bool, by_now: bool = False) -> None:
        """The pause ended.

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
        self._append(PauseEntry(from_ms, to_ms, _ENDED))

    def stays_ended(self, to_ms: int) -> None:
        """The stream was started again, and never connected before it ended again."""
        if self._pauses and self._pauses[-1].why == _ENDED:
            self._pauses[-1].to_ms = to_ms

    def entries(self) -> list[PauseEntry]:
        """Return all as they are now."""
        return [copy.copy(pause) for pause in self._pauses]

    def _append(self, pause: PauseEntry) -> None:
        self._pauses.append(pause)
        self._changes.note()
        if len(self._pauses) > _MAX_PAUSES:
            first, second = self._pauses[:2]
            self._pauses[:2] = [PauseEntry(first.from_ms, second.to_ms, first.why)]
