"""The end of a stream: announced or expected by Zoom's word, perhaps called off, and at last decided."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import attrs

from rtmsd.streams.core.outcome import Outcome

LAST_SESSION_GRACE_S: Final = 5.0  # for another sub-session to start after the last one stopped
READING_ON_S: Final = 30.0  # after an end by Zoom, at most, however much still comes
FLOWING_S: Final = 1.0  # media that came so lately are cut off when we close now
LOOK_S: Final = 0.25  # while media wait for room


class Recording(Protocol):
    """What decisions need to know of the recording. Nothing here changes it."""

    @property
    def zoom_ms(self) -> int:
        """The latest time heard from Zoom."""

    @property
    def heard_in_pause_ms(self) -> int | None:
        """Where the audio ends that is from a time at which the stream was paused; None: there is none."""

    @property
    def messages(self) -> Counter[str]:
        """How many messages were received, by media."""

    @property
    def is_short(self) -> bool:
        """Whether sockets are left unread for want of room."""

    def heard_after(self, zoom_ms: int) -> bool:
        """Whether media came that are from after a time of Zoom's."""


@attrs.frozen
class Announced:
    """Zoom, or we, announced the end: `reason` holds if nothing better comes until `until_s`."""

    reason: int | None
    until_s: float


@attrs.frozen
class LastStopped:
    """The last sub-session that we know of stopped, at Zoom's `stopped_ms`: the end, unless another starts by then."""

    stopped_ms: int
    until_s: float


@attrs.define
class Ending:
    """The knowledge of the end.

    Attributes:
        outcome: set when it is decided that the stream ends; sockets may be read a little longer.
        is_ours: we asked Zoom for it: once it has come, `streams.stop_grace_s` is all that is left to read.
        end_s: when reading ends at the latest.
        look_s: when to look next whether media still come.
    """

    grace_s: float
    outcome: Outcome | None = None
    announced: Announced | None = None
    last_stopped: LastStopped | None = None
    is_ours: bool = False
    end_s: float = math.inf
    look_s: float = math.inf
    _seen: Counter[str] = attrs.field(factory=Counter)
    _seen_s: float = -math.inf
    _came_s: dict[str, float] = attrs.field(factory=dict)  # by media, when the latest of it came since the decision

    @property
    def announced_reason(self) -> int | None:
        return None if self.announced is None else self.announced.reason

    @property
    def due_s(self) -> float:
        """When something is to be done."""
        expected = (each.until_s for each in (self.announced, self.last_stopped) if each is not None)
        return min(self.end_s, self.look_s, *expected)

    def take(self, outcome: Outcome) -> bool:
        """Take an outcome over, unless there is a better one: a later word replaces a guess at the most.

        No end by itself comes any more. Returns whether it was taken.
        """
        self.announced, self.last_stopped = None, None
        is_better = self.outcome is None or (self.outcome.is_guess and outcome.zoom_ms is not None)
        if is_better or outcome.state == "revoked":
            self.outcome = outcome
            return True
        return False

    def read_on(self, now_s: float, outcome: Outcome, received: Counter[str], *, is_short: bool) -> None:
        """Read what still comes: after an end by Zoom until none has come for `grace_s`; when we end it, for no longer
        than that. Args as for `look`.
        """
        is_patient = outcome.is_zooms and not self.is_ours
        if math.isinf(self.look_s):
            self.end_s = now_s + (READING_ON_S if is_patient else self.grace_s)
            self._seen, self._seen_s = received, now_s
            self.look_s = now_s + (LOOK_S if is_short else self.grace_s)
        elif not is_patient:
            self.cut_short(now_s, self.grace_s)

    def cut_short(self, now_s: float, within_s: float) -> None:
        """Read no longer than this."""
        self.end_s = min(self.end_s, now_s + within_s)

    def look(self, now_s: float, received: Counter[str], heard_s: Mapping[str, float], *, is_short: bool) -> None:
        """See what came since, and plan to look again when it may have been the last: once, where nothing came.

        Args:
            received: how many messages, by media.
            heard_s: when the connection of each of these media brought something last, be it a keep-alive.
            is_short: there is no room for media: they still come, but wait in the sockets.
        """
        fresh = received - self._seen
        self._seen = received
        for name, at_s in heard_s.items():
            if is_short or name in fresh:
                self._came_s[name] = now_s if is_short else at_s
        self._seen_s = max(self._seen_s, *self._came_s.values(), -math.inf)
        quiet_s = self._seen_s + self.grace_s
        if now_s >= quiet_s:
            self.end_s = min(self.end_s, now_s)
        self.look_s = min(quiet_s, now_s + LOOK_S) if is_short else quiet_s

    def cuts_off(self, now_s: float, media: Iterable[str]) -> bool:
        """Whether these media still come, after the end: who closes their connection now cuts them off."""
        since_s = now_s - min(FLOWING_S, self.grace_s / 2)
        return any(self._came_s.get(name, -math.inf) >= since_s for name in media)
