"""The heart of a member: beats while the engine is up, hears the others, and keeps the table of who lives."""

from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Protocol

import attrs
import structlog
import trio

from rtmsd.cluster.engine import Away, Beats, Ear
from rtmsd.cluster.life.clocks import Clocks
from rtmsd.cluster.liveness import Change, Event, Liveness
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.records import Beat

log = structlog.get_logger(__name__)

SIGHTED: Final = 1000
"""Members that are remembered with what they last said. When there are more, who was silent for longest goes."""

BEGINNING_BEATS: Final = 10
"""After so many beats a member yields its name to nobody: whoever uses it, too, came later, or is to be found."""

SURE_BEATS: Final = 3
"""Own beats after each of which another process of the same name was heard. If that was an earlier life of this member,
its last beats come in one burst, however late.
"""

_CRASHED_S: Final = 1.0


class Pulse(Beats, Protocol):
    """An engine, as far as beats need it."""

    @property
    def is_up(self) -> bool:
        """Whether the engine is reachable, as far as is known."""


@attrs.frozen
class Sighting:
    """What a member last said.

    Attributes:
        at_s: when it was heard, by Trio's clock.
        fate: what became of it: APPEARED while it lives.
    """

    beat: Beat
    at_s: float
    fate: Change = Change.APPEARED


class Heart:
    """Tells the others that this member lives, and `members` who of them does.

    Args:
        liveness: the judge; `members` has the same.
        describe: this member's own beat: number and time are filled in.
        beat_s: between two beats.
        dead_after_beats: as `liveness` has it.
        clock_ms: local time in milliseconds since the Unix epoch.

    Attributes:
        has_listened: set when own beats came back for so long that each member which lives was heard. Before that, who
            was not heard is no orphan's owner: `Members` expects it. A takeover may as well wait for this.
        namesake: the incarnation of another process with this member's name; None: there was none.
        has_elder: set when this member begins, and another process of its name lives for longer.
        clocks: which members' clocks differ from this one's.
        sightings: by node, also of members that are gone; the latest heard last.
        deaths: of incarnations, by reason: DIED or REPLACED.
        rtt_s: how long the latest own beat took to come back; None: none has.
    """

    def __init__(
        self,
        engine: Pulse,
        members: Members,
        liveness: Liveness,
        *,
        describe: Callable[[], Beat],
        beat_s: float = 1.0,
        dead_after_beats: int = 3,
        clock_ms: Callable[[], int],
    ) -> None:
        self.has_listened, self.has_elder = trio.Event(), trio.Event()
        self.namesake: str | None = None
        self.rtt_s: float | None = None
        self.clocks = Clocks(2 * beat_s)
        self.sightings: dict[str, Sighting] = {}
        self.deaths = {Change.DIED: 0, Change.REPLACED: 0}
        self._engine, self._members, self._liveness = engine, members, liveness
        self._describe, self._clock_ms = describe, clock_ms
        self._beat_s = beat_s
        self._to_listen = dead_after_beats  # own beats that are still to come back
        self._me = describe()
        self._n = self._echoed = 0
        self._elder_heard: set[int] = set()  # after these own beats
        self._changed = trio.Event()
        self._sent_s = -float("inf")

    @property
    def is_alone(self) -> bool:
        """Whether no other member is heard."""
        return not self._liveness.living

    async def run(self) -> None:
        """Beat and listen, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            nursery.start_soon(self._listen)

    def changed(self) -> None:
        """Say at once what this member says of itself now, as it is about to be given streams, or none any more."""
        self._changed.set()

    # This member

    async def _beat(self) -> NoReturn:
        """Beat at even times. Those that were missed, as this process stood still, are not made up for."""
        due_s = trio.current_time()
        while True:
            try:
                await self._beat_once()
            except Exception:
                log.exception("beat crashed")
                self._liveness.start_anew()
            due_s = max(due_s + self._beat_s, trio.current_time())
            with trio.move_on_at(due_s):
                await self._say_changes()

    async def _say_changes(self) -> None:
        """Beat whenever something changes, under the number of the last beat: how long others are silent is counted by
        the beats that come at even times.
        """
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            try:
                self._look_at_myself(self._n)
                if self._n and self._engine.is_up:
                    await self._engine.beat(self._me)
            except Away:
                pass
            except Exception:
                log.exception("beat crashed")

    async def _beat_once(self) -> None:
        self._look_at_myself(self._n + 1)
        if not self._engine.is_up:
            self._liveness.start_anew()
            return
        self._n += 1
        self._sent_s = trio.current_time()
        self._liveness.sending(self._n, self._sent_s)
        try:
            with trio.fail_after(self._beat_s):
                await self._engine.beat(self._me)
        except (Away, trio.TooSlowError):
            self._liveness.start_anew()

    def _look_at_myself(self, n: int) -> None:
        self._me = attrs.evolve(self._describe(), n=n, at_ms=self._clock_ms())
        self._tell()

    # The others

    async def _listen(self) -> NoReturn:
        while True:
            try:
                heard = await self._engine.hear()
                if isinstance(heard, Ear):
                    self._liveness.start_anew()
                else:
                    self._hear(heard)
            except Exception:
                log.exception("beat not understood")
                self._liveness.start_anew()
                await trio.sleep(_CRASHED_S)

    def _hear(self, beat: Beat) -> None:
        now_s = trio.current_time()
        if beat.incarnation == self._me.incarnation:
            self._hear_echo(beat, now_s)
        elif beat.node == self._me.node:
            self._hear_namesake(beat)
        events = self._liveness.hear(beat, now_s)
        if self._liveness.living.get(beat.node) == beat:
            self.clocks.hear(beat, now_s)
            self._see(Sighting(beat, now_s))
        for event in events:
            self._note(event, beat)
        if events or beat.incarnation != self._me.incarnation:
            self._tell()

    def _hear_echo(self, beat: Beat, now_s: float) -> None:
        if beat.n == self._echoed or beat.n != self._n or now_s - self._sent_s > self._beat_s:
            return  # the bus was late: it says nothing of the others
        self.rtt_s = now_s - self._sent_s
        self._echoed = beat.n
        self._to_listen -= 1
        if self._to_listen == 0:
            self.has_listened.set()
        for node, off_s in self.clocks.echo(beat, now_s).items():
            log.warning("clock of a member differs; set both by NTP", node=node, ahead_s=off_s)

    def _hear_namesake(self, beat: Beat) -> None:
        is_older = (beat.n, beat.incarnation) > (self._n, self._me.incarnation)
        if is_older and self._n <= BEGINNING_BEATS:
            self._elder_heard.add(self._n)
        if len(self._elder_heard) >= SURE_BEATS:
            self.has_elder.set()

    def _see(self, sighting: Sighting) -> None:
        self.sightings.pop(sighting.beat.node, None)
        self.sightings[sighting.beat.node] = sighting
        while len(self.sightings) > SIGHTED:
            del self.sightings[next(iter(self.sightings))]

    def _note(self, event: Event, beat: Beat) -> None:
        node, incarnation = event.node, event.incarnation
        match event.change:
            case Change.APPEARED:
                log.info("member heard", node=node, incarnation=incarnation, release=beat.release)
            case Change.NAMESAKE:
                self.namesake = incarnation
                log.error("another process has this member's name; give each a node of its own", node=node)
            case Change.DIED | Change.REPLACED:
                self._note_end(event)

    def _note_end(self, event: Event) -> None:
        self.deaths[event.change] += 1
        sighting = self.sightings.get(event.node)
        if sighting is not None and sighting.beat.incarnation == event.incarnation:
            self.sightings[event.node] = attrs.evolve(sighting, fate=event.change)
        if event.change is Change.DIED:
            self.clocks.forget(event.node)
        log.warning("member is gone", node=event.node, incarnation=event.incarnation, why=event.change.value)
        self._members.died(event.incarnation)

    def _tell(self) -> None:
        """Bring the table up to date: it has who was heard, and this member."""
        self._members.update(_members([self._me, *self._liveness.living.values()]))


def _members(beats: Iterable[Beat]) -> Iterable[Member]:
    return [
        Member(
            node=beat.node,
            incarnation=beat.incarnation,
            streams=beat.streams,
            capacity=beat.capacity,
            is_draining=beat.is_draining,
            is_ready=beat.is_ready,
        )
        for beat in beats
    ]
