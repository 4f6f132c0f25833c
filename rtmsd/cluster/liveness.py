"""The judgement on which members live, from their beats and from the echoes of this member's own. Pure.

A clock cannot tell a dead peer from an engine that is away, or from an own loop that stood still. An own beat that came
back through the same bus can: while it did, the peer's would have come, too. So a peer is dead when own beats came back
since its last one during `dead_after_beats` beats. Whenever the bus was late or lost, or this member stood still,
counting starts anew, and it takes as many beats more: others may need a while to connect again.
"""

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from rtmsd.cluster.records import Beat

MAX_PEERS: Final = 1000
"""A beat of one more is ignored: a cell has 50 members."""

REMEMBERED: Final = 4096
"""Incarnations that are gone. When there are more, the oldest are forgotten: their streams are orphaned later."""


class Change(enum.Enum):
    """What became of a member's incarnation."""

    APPEARED = "appeared"  # also one that was taken for dead
    DIED = "died"  # no beat of it came for too long
    REPLACED = "replaced"  # by a later life of the member
    NAMESAKE = "namesake"  # another process uses this member's name; said once of each life


@attrs.frozen
class Event:
    change: Change
    node: str
    incarnation: str


@attrs.define
class _Peer:
    """An incarnation that is taken for living.

    Attributes:
        beat: its latest; None: it is only known from a record.
        silent_beats: own beats that came back since, without the first, which may have been sent at the same moment;
            less than that after an outage.
    """

    node: str
    beat: Beat | None = None
    silent_beats: int = -1


class Liveness:
    """Which incarnations live. Times are of a clock that never jumps, in seconds.

    Args:
        node, incarnation: this member.
        beat_s: between two beats of a member.
    """

    def __init__(self, node: str, incarnation: str, *, beat_s: float = 1.0, dead_after_beats: int = 3) -> None:
        self._node = node
        self._incarnation = incarnation
        self._beat_s = beat_s
        self._dead_after_beats = dead_after_beats
        self._after_outage = -1 - dead_after_beats
        self._newest = -1  # own beat
        self._newest_s: float | None = None  # when it was sent; None: there was none
        self._awaited: int | None = None  # own beat whose echo counts
        self._peers: dict[str, _Peer] = {}  # by incarnation
        self._gone: dict[str, Change] = {}  # by incarnation, the latest last

    @property
    def living(self) -> Mapping[str, Beat]:
        """The latest beat of each living peer, by node."""
        return {peer.node: peer.beat for peer in self._peers.values() if peer.beat is not None}

    @property
    def incarnations(self) -> frozenset[str]:
        """All that are taken for living: this one, peers that were heard, and peers that are expected."""
        return frozenset({self._incarnation, *self._peers})

    def is_gone(self, incarnation: str) -> bool:
        """Whether it is known to be dead. One that is neither living nor gone was not heard yet: see `expect`."""
        return incarnation in self._gone

    def expect(self, node: str, incarnation: str) -> None:
        """Take one for living that a record names and that was not heard yet. From now on its silence counts as after
        an outage: it may be about to connect.
        """
        if incarnation not in self.incarnations and incarnation not in self._gone and len(self._peers) < MAX_PEERS:
            self._peers[incarnation] = _Peer(node, silent_beats=self._after_outage)

    def doubt(self, node: str, incarnation: str) -> None:
        """Expect one again that was taken for dead while the engine did not answer, which may have cut off this member:
        it must be silent once more.
        """
        if self._gone.get(incarnation) is Change.DIED and len(self._peers) < MAX_PEERS:
            del self._gone[incarnation]
            self._peers[incarnation] = _Peer(node)

    def sending(self, n: int, now_s: float) -> None:
        """Say that this member's beat of this number, greater than all before, goes out now."""
        if self._newest_s is not None and now_s - self._newest_s > 2 * self._beat_s:  # this loop stood still
            self.start_anew()
        self._newest, self._newest_s, self._awaited = n, now_s, n

    def start_anew(self) -> None:
        """Forget the silence so far: beats may have been missed, as the connection was lost."""
        self._awaited = None
        for peer in self._peers.values():
            peer.silent_beats = self._after_outage

    def hear(self, beat: Beat, now_s: float) -> list[Event]:
        """Take a beat, an echo of an own one included, and return what changed by it."""
        if beat.incarnation == self._incarnation:
            return self._hear_echo(beat.n, now_s)
        return self._hear_peer(beat)

    def _hear_echo(self, n: int, now_s: float) -> list[Event]:
        is_late = self._newest_s is None or now_s - self._newest_s > self._beat_s
        if n != self._newest or is_late:  # the bus is late, or this loop stood still
            self.start_anew()
        if n != self._awaited:
            return []
        self._awaited = None
        for peer in self._peers.values():
            peer.silent_beats += 1
        silent = [each for each, peer in self._peers.items() if peer.silent_beats >= self._dead_after_beats]
        return [self._forget(incarnation, Change.DIED) for incarnation in silent]

    def _hear_peer(self, beat: Beat) -> list[Event]:
        incarnation = beat.incarnation
        if self._gone.get(incarnation) is Change.REPLACED:  # it was on its way for long
            return []
        peer = self._peers.get(incarnation)
        if beat.node == self._node:
            return self._hear_namesake(incarnation, peer)
        if peer is not None and peer.beat is not None:
            peer.node, peer.beat, peer.silent_beats = beat.node, beat, -1
            return []
        replaced = [each for each, other in self._peers.items() if other.node == beat.node and other.beat is not None]
        events = [self._forget(each, Change.REPLACED) for each in replaced]
        if peer is None and len(self._peers) >= MAX_PEERS:
            return events
        self._gone.pop(incarnation, None)
        self._peers[incarnation] = _Peer(beat.node, beat)
        return [*events, Event(Change.APPEARED, beat.node, incarnation)]

    def _hear_namesake(self, incarnation: str, peer: _Peer | None) -> list[Event]:
        """Let it live, though not in the table: who took its streams would have them taken back by it, for ever."""
        if peer is not None:
            peer.silent_beats = -1
            return []
        if len(self._peers) < MAX_PEERS:
            self._gone.pop(incarnation, None)
            self._peers[incarnation] = _Peer(self._node)
        return [Event(Change.NAMESAKE, self._node, incarnation)]

    def _forget(self, incarnation: str, why: Change) -> Event:
        peer = self._peers.pop(incarnation)
        self._gone.pop(incarnation, None)
        self._gone[incarnation] = why
        while len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
        return Event(why, peer.node, incarnation)
