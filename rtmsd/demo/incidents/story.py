"""A story of several streams, and of incidents that hit some of them."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final

import attrs
import trio

from rtmsd.demo.incidents.incidents import Incident, Limits, flows_again_ms
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.story import Played, Stuck, Teller, until
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import Record, SimSession, Simulator
from rtmsd.simulator.model.record import WebhookDelivery

ANNOUNCED_S: Final = 1.0
TALK_S: Final = 1.5  # between two incidents
COPIES: Final = 4  # of a webhook
PEOPLE: Final = (("Ana", "Bo"), ("Cleo", "Dan"), ("Eva", "Fynn"), ("Gil", "Hana"))


@attrs.define(kw_only=True)
class Performance:
    """What came of the story, to be examined.

    Attributes:
        streams: in the order of their start.
        shares: how many of the streams that began at once each process got.
        statuses: of the daemons' ends.
        copies: of webhooks, by the process that received them and the one that owned their stream.
        copy_statuses, copy_latencies_s: of the answers to them.
    """

    sync_interval_s: float
    streams: list[Played] = attrs.field(factory=list)
    incidents: list[Incident] = attrs.field(factory=list)
    shares: Counter[str] = attrs.field(factory=Counter)
    statuses: list[int] = attrs.field(factory=list)
    copies: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    copy_statuses: Counter[int | None] = attrs.field(factory=Counter)
    copy_latencies_s: list[float] = attrs.field(factory=list)

    @property
    def copies_elsewhere(self) -> int:
        """How many copies were received by a process that did not own their stream."""
        return sum(number for (receiver, owner), number in self.copies.items() if receiver != owner)


class StreamsStory(Teller, ABC):
    """Plays acts, which a subclass has.

    Args:
        cause: of the gaps that an incident may leave in the streams it hits.
        performance: filled in act by act, so that an early end can be reported, too.

    Attributes:
        noun: what a process that records streams is called.
    """

    noun = "process"

    def __init__(self, simulator: Simulator, scene: Scene, performance: Performance, cause: GapCause) -> None:
        super().__init__(simulator.clock, scene, ANNOUNCED_S)
        self._simulator = simulator
        self._course = performance
        self._cause = cause

    @abstractmethod
    def _acts(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Return them in their order."""

    @abstractmethod
    async def _end(self) -> None:
        """End all sessions, and the processes."""

    @abstractmethod
    async def _owners(self, streams: Collection[str]) -> dict[str, str]:
        """Return who has each of these streams, once all have an owner."""

    async def play(self) -> None:
        """Play all acts in turn, then end all sessions, also after a failure."""
        acts = self._acts()
        self._scene.acts = len(acts) + 1  # and the end
        try:
            for act in acts:
                await act()
                await trio.sleep(TALK_S)
        except Stuck:
            self._scene.log(Kind.BAD, "No recovery in time: the story ends here.")
        await self._end()

    # Parts of acts

    @property
    def _now_ms(self) -> int:
        return self._clock.now_ms()

    def _sessions(self) -> list[SimSession]:
        return [played.session for played in self._course.streams]

    def _ids(self) -> list[str]:
        return [session.rtms_stream_id for session in self._sessions()]

    def _record(self, rtms_stream_id: str) -> Record:
        return self._simulator.sessions[rtms_stream_id].record

    async def _begin(self, number: int) -> None:
        """Start a session; what it is called is its number."""
        session = await self._simulator.start_session(PEOPLE[number % len(PEOPLE)])
        self._course.streams.append(Played(session, connected_ms=session.started_ms))

    async def _begin_all(self, count: int) -> None:
        """Start sessions at once, and see how they are shared out."""
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(self._begin, number)
        await self._all_flow(self._ids(), 0)
        for played in self._course.streams:
            played.connected_ms = self._now_ms
        owners = await self._owners(self._ids())
        self._course.shares = Counter(owners.values())
        self._scene.log(Kind.GOOD, f"All are recorded: {self._shares(owners.values())}.")

    async def _another(self) -> SimSession:
        """Start one more, and return it when it is recorded."""
        await self._begin(len(self._course.streams))
        played = self._course.streams[-1]
        await self._all_flow([played.session.rtms_stream_id], played.session.started_ms)
        played.connected_ms = self._now_ms
        return played.session

    async def _send_copies(self) -> dict[str, list[WebhookDelivery]]:
        """Have Zoom send the first webhook of each stream again and again; return the deliveries by stream."""
        known = {each: len(self._record(each).webhooks) for each in self._ids()}
        for _ in range(COPIES):
            async with trio.open_nursery() as nursery:
                for session in self._sessions():
                    nursery.start_soon(session.duplicate_webhook)
        sent = {each: self._record(each).webhooks[number:] for each, number in known.items()}
        for deliveries in sent.values():
            self._course.copy_statuses.update(delivery.status for delivery in deliveries)
            self._course.copy_latencies_s += [delivery.latency_s for delivery in deliveries]
        return sent

    async def _busiest(self) -> tuple[str, list[str]]:
        """Return the process with most streams, and which those are."""
        owners = await self._owners(self._ids())
        [(busiest, _)] = Counter(owners.values()).most_common(1)
        return busiest, [rtms_stream_id for rtms_stream_id, owner in owners.items() if owner == busiest]

    def _begin_incident(self, name: str, hit: Iterable[str] = (), limits: Limits | None = None) -> Incident:
        incident = Incident(
            name=name, from_ms=self._now_ms, hit=frozenset(hit), limits=limits or Limits(), cause=self._cause
        )
        self._course.incidents.append(incident)
        return incident

    def _settled(self, incident: Incident, outcome: str) -> None:
        incident.over_ms, incident.outcome = self._now_ms, outcome
        self._scene.log(Kind.GOOD, f"{incident.name}: {outcome}.")

    async def _recovered(self, incident: Incident) -> None:
        """Wait until the streams that were hit are back.

        Raises:
            Stuck: they are not.
        """
        await self._all_flow(incident.hit, incident.from_ms)
        flowed_ms = self._now_ms
        owners = await self._owners(incident.hit)
        now = self._shares(owner for stream, owner in owners.items() if stream in incident.hit)
        self._settled(incident, f"all flow again after {(flowed_ms - incident.from_ms) / 1000:.1f} s, {now}")

    async def _all_flow(self, streams: Iterable[str], since_ms: int) -> None:
        """Wait until all media of these flow, on connections opened since then.

        Raises:
            Stuck: they do not.
        """
        for rtms_stream_id in streams:
            if not await until(partial(_flow, self._record(rtms_stream_id), since_ms)):
                raise Stuck

    async def _stop_sessions(self) -> None:
        """End all sessions, once Zoom has sent all that it kept."""
        sessions = self._sessions()
        await until(lambda: not any(session.feed.is_behind(session.now_ms) for session in sessions))
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(session.stop, StopReason.MEETING_ENDED)
        for played in self._course.streams:
            played.ended_ms = self._now_ms

    def _shares(self, owners: Iterable[str]) -> str:
        """Return how many streams each process has."""
        shares = sorted(Counter(owners).items())
        return ", ".join(f"{count_streams(number)} at {self.noun} {owner}" for owner, number in shares)


def _flow(record: Record, since_ms: int) -> bool:
    return flows_again_ms(record, since_ms) is not None


def count_streams(number: int) -> str:
    return f"{number} stream{'s' * (number != 1)}"
