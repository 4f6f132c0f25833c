"""The gaps of a stream: what is missing, from when to when, of whom and why. Pure; `Timeline` knows the connections.

One loss is listed once: of one media type and person no two gaps overlap, and what is missing for everybody is not
listed for single people, too. The cause of an instant is the one that was named first.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from rtmsd.protocol.bounds import json_bytes
from rtmsd.protocol.causes import is_wider
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import GapEntry
from rtmsd.recording.timeline.intervals import IntervalSet, Part

CONTIGUOUS_MS: Final = 20
"""A deviation up to here is jitter, and nothing shorter is called missing."""

AT_ONCE_MS: Final = 200
"""So far from each other are the packets of people who speak at the same time, at most: as long as the longest."""

_MAX_GAPS: Final = 10_000
"""Past it the oldest that can be joined become one."""

_JOINED: Final = 1000
"""So many are joined at once: to look through all of them for each lost packet would hold up every stream."""

_MAX_LISTED: Final = 12_000
_MAX_LISTED_BYTES: Final = 1_300_000
"""Bounds of what a manifest lists, with what is within: 10 000 usual ones, and what pauses cut them into."""

_ENTRY_BYTES: Final = 85  # of one in the manifest, apart from media, person and cause

_MANY: Final = "unknown"

_RECENT: Final = 16
"""So many are looked at for one that goes on."""


@attrs.define
class Gap:
    """Media that were expected and are missing. `user_id` None: everybody's; `to_ms` is infinite while it goes on."""

    media: str
    user_id: int | str | None
    from_ms: int
    to_ms: float
    cause: str

    @classmethod
    def from_entry(cls, entry: GapEntry) -> "Gap":
        to_ms = math.inf if entry.to_ms is None else entry.to_ms
        return cls(entry.media, entry.user_id, entry.from_ms, to_ms, entry.cause)

    def entry(self) -> GapEntry:
        to_ms = None if self.to_ms == math.inf else int(self.to_ms)
        return GapEntry(self.media, self.user_id, self.from_ms, to_ms, self.cause)

    @property
    def kind(self) -> tuple[str, int | str | None, str]:
        """What two gaps have in common that can be one."""
        return self.media, self.user_id, self.cause


class Gaps:
    """All gaps that have an end, in the order in which they became known. They may overlap; see `list_gaps`.

    Attributes:
        changes: notes every change, but not that a gap of single packets becomes longer.
    """

    def __init__(self, known: Iterable[Gap] = (), changes: ChangeCounter | None = None) -> None:
        self.changes = changes or ChangeCounter()
        self._gaps = list(known)
        self._ends: dict[str, float] = {}  # by media, where it was asked for since a gap became shorter

    def __iter__(self) -> Iterator[Gap]:
        return iter(self._gaps)

    def add(self, gap: Gap) -> None:
        """Take in a gap; what is shorter than a packet is none."""
        if gap.to_ms - gap.from_ms >= CONTIGUOUS_MS:
            self._append(gap)

    def missing(self, missing: Gap) -> None:
        """A packet is missing, however short: it makes the gap before it longer, or is one if another came between."""
        kind = missing.kind
        for gap in reversed(self._gaps[-_RECENT:]):
            if gap.kind == kind:
                if gap.from_ms <= missing.from_ms <= gap.to_ms + CONTIGUOUS_MS // 2:
                    gap.to_ms = max(gap.to_ms, missing.to_ms)
                    self._reaches(gap)
                    return
                break
        self._append(missing)

    def prolong(self, media: str, from_ms: int, to_ms: int, cause: str) -> None:
        """Let everybody's gap that ends at `from_ms`, or a new one, end at `to_ms`."""
        for gap in reversed(self._gaps):
            if gap.media == media and gap.user_id is None and gap.to_ms == from_ms:
                gap.to_ms = to_ms
                self._reaches(gap)
                self.changes.note()
                return
        self.add(Gap(media, None, from_ms, to_ms, cause))

    def cut_off(self, media: str, since_ms: int, at_ms: int) -> None:
        """Everybody's gaps of an outage that began at `since_ms` end at `at_ms`."""
        for gap in self._gaps:
            if gap.media == media and gap.user_id is None and gap.from_ms >= since_ms:
                gap.to_ms = min(gap.to_ms, at_ms)
        self._drop_empty()

    def fill(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> list[int]:
        """A packet came after all. Returns where those of everybody's gaps began that became shorter."""
        touched = [
            gap
            for gap in self._gaps
            if gap.from_ms < to_ms and from_ms < gap.to_ms and gap.media == media and gap.user_id in {None, user_id}
        ]
        shortened = [gap.from_ms for gap in touched if gap.user_id is None]
        is_shorter_at_end = False
        for gap in touched:
            end_ms = gap.to_ms
            if from_ms - gap.from_ms >= CONTIGUOUS_MS:
                gap.to_ms, is_shorter_at_end = from_ms, True
                self.add(attrs.evolve(gap, from_ms=to_ms, to_ms=end_ms))
            elif end_ms - to_ms >= CONTIGUOUS_MS:  # most packets: what was buffered comes from its beginning on
                gap.from_ms = to_ms
            else:
                gap.to_ms, is_shorter_at_end = gap.from_ms, True
            self.changes.note()
        if is_shorter_at_end:
            self._drop_empty()
        return shortened

    def call_off(self, media: str, until_ms: int, cause: str) -> None:
        """Nothing is missing of single people, for this cause, of the time up to `until_ms`."""
        kept = [
            gap
            for gap in self._gaps
            if gap.user_id is None or (gap.media, gap.to_ms, gap.cause) != (media, until_ms, cause)
        ]
        if len(kept) < len(self._gaps):
            self._gaps = kept
            self._ends.clear()
            self.changes.note()

    def began_ms(self, media: str, at_ms: int) -> int:
        """Return where everybody's gap began that a time lies in; that time where it is in none."""
        all_miss = (gap for gap in self._gaps if gap.media == media and gap.user_id is None)
        return min((gap.from_ms for gap in all_miss if gap.from_ms <= at_ms < gap.to_ms), default=at_ms)

    def missed(self, media: str, until_ms: int) -> dict[int | str, int]:
        """Return of whom something is missing up to a time, and the end of that."""
        ends: dict[int | str, int] = {}
        for gap in self._gaps:
            if gap.media == media and gap.user_id is not None and gap.to_ms <= until_ms:
                ends[gap.user_id] = max(int(gap.to_ms), ends.get(gap.user_id, 0))
        return ends

    def end_ms(self, media: str) -> float:
        """End of the last gap: a packet from before it may fill one."""
        if media not in self._ends:
            self._ends[media] = max((gap.to_ms for gap in self._gaps if gap.media == media), default=-math.inf)
        return self._ends[media]

    def close(self, end_ms: int) -> None:
        """Nothing is missing after the end."""
        for gap in self._gaps:
            gap.to_ms = min(gap.to_ms, end_ms)
        self._gaps = [gap for gap in self._gaps if gap.from_ms < end_ms]
        self._ends.clear()
        self.changes.note()

    def _append(self, gap: Gap) -> None:
        self._gaps.append(gap)
        self._reaches(gap)
        self.changes.note()
        if len(self._gaps) > _MAX_GAPS:
            self._join_oldest(_MAX_GAPS - _JOINED)

    def _reaches(self, gap: Gap) -> None:
        """A gap is new or became longer."""
        if gap.to_ms > self._ends.get(gap.media, math.inf):
            self._ends[gap.media] = gap.to_ms

    def _drop_empty(self) -> None:
        self._gaps = [gap for gap in self._gaps if gap.to_ms > gap.from_ms]
        self._ends.clear()

    def listed(self, going_on: Iterable[Gap], pauses: Iterable[Part] = ()) -> tuple[list[Gap], list[Gap]]:
        """See `list_gaps`. Where that would be too much for a manifest, the oldest gaps are joined for good."""
        going_on, pauses = list(going_on), list(pauses)
        while (listed := list_gaps([*self._gaps, *going_on], pauses)) is None or _bytes(*listed) > _MAX_LISTED_BYTES:
            before = len(self._gaps)
            self._join_oldest(before // 2)
            if len(self._gaps) == before:  # of a manifest that others wrote, with thousands of causes
                self._gaps = [Gap(gap.media, None, gap.from_ms, gap.to_ms, _MANY) for gap in self._gaps]
        return listed

    def _join_oldest(self, left: int) -> None:
        """Join the oldest gaps with the next ones alike, until so many are left: a little too much is called missing,
        never too little.
        """
        gaps = deque(self._gaps)
        alike: defaultdict[tuple[str, int | str | None, str], deque[Gap]] = defaultdict(deque)
        for gap in gaps:
            alike[gap.kind].append(gap)
        for _ in range(len(gaps)):  # at most: where each is of another kind there is nothing to join
            if len(gaps) <= left:
                break
            oldest = gaps.popleft()
            alike[oldest.kind].popleft()
            if not alike[oldest.kind]:  # no other is like it: keep the fact, drop the detail
                oldest.user_id = None
            others = alike[oldest.kind]
            if others:
                others[0].from_ms = min(others[0].from_ms, oldest.from_ms)
                others[0].to_ms = max(others[0].to_ms, oldest.to_ms)
            else:
                others.append(oldest)
                gaps.append(oldest)
        self._gaps = list(gaps)


def list_gaps(gaps: Iterable[Gap], pauses: Iterable[Part] = ()) -> tuple[list[Gap], list[Gap]] | None:
    """Return gaps as a manifest lists them, each loss once and in order, without the time that was paused. One person's
    that everybody's goes on from is part of that outage, and has its cause.

    Returns:
        The gaps, and apart from them what lies within a pause or, of single people, within everybody's: it counts when
        that becomes shorter. None: there are too many, and to find all of them would take too long.
    """
    paused = IntervalSet(pauses)
    named: defaultdict[tuple[str, int | str | None], IntervalSet] = defaultdict(IntervalSet)
    outages: dict[tuple[str, float], str] = {}  # everybody's causes, by media and beginning
    covers: defaultdict[str, IntervalSet] = defaultdict(lambda: IntervalSet(paused))
    listed: list[Gap] = []
    within: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: gap.user_id is not None):  # everybody's first, else as they came
        media, user_id, cause = gap.kind
        cover = covers[media]
        if is_wider(outage := outages.get((media, gap.to_ms), cause), cause):
            cause = outage
        for start, end in named[media, user_id].add(gap.from_ms, gap.to_ms):
            listed += [Gap(media, user_id, *part, cause) for part in cover.uncovered(start, end)]
            within += [Gap(media, user_id, *part, cause) for part in cover.intersect(start, end)]
            if user_id is None:
                cover.add(start, end)
                outages[media, start] = cause
            if len(listed) + len(within) > _MAX_LISTED:
                return None
    return _joined(listed), _joined(within)


def _bytes(*lists: list[Gap]) -> int:
    """Return how long gaps are in a manifest."""
    ids = {gap.user_id for gaps in lists for gap in gaps}
    sizes = {user_id: json_bytes(user_id) for user_id in ids}
    return sum(_ENTRY_BYTES + len(gap.media) + len(gap.cause) + sizes[gap.user_id] for gaps in lists for gap in gaps)


def _joined(gaps: list[Gap]) -> list[Gap]:
    """Return gaps in order, those as one that continue each other."""
    joined: list[Gap] = []
    last: dict[tuple[str, int | str | None, str], Gap] = {}
    for gap in sorted(gaps, key=lambda gap: (gap.from_ms, gap.media, str(gap.user_id))):
        before = last.get(gap.kind)
        if before is not None and before.to_ms == gap.from_ms:
            before.to_ms = gap.to_ms
        else:
            joined.append(gap)
            last[gap.kind] = gap
    return joined
