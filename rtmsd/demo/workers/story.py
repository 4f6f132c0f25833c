"""The story of the demo of several workers: more streams than workers, while workers die, hang, and start again."""

import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

import attrs
import trio

from rtmsd.demo.performance import Cast
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.story import Played, Teller, until
from rtmsd.demo.workers.incidents import Incident, Limits, flows_again_ms
from rtmsd.demo.workers.processes import POLL_S, Workers
from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import Record, SimSession

ANNOUNCED_S: Final = 1.0
TALK_S: Final = 1.5  # between two incidents
RELOAD: Final = "reload"
COPIES: Final = 4  # of a webhook, each on a connection of its own, which any worker may accept
WATCHDOG_S: Final = 3.0  # the service manager's, by which a worker that hangs is killed
BEAT_S: Final = WATCHDOG_S / 8  # the parent asks so often
MEDIA_S: Final = 1.0
PEOPLE: Final = (("Ana", "Bo"), ("Cleo", "Dan"), ("Eva", "Fynn"), ("Gil", "Hana"))


@attrs.define
class Performance:
    """What came of the story, to be examined.

    Attributes:
        streams: in the order of their start.
        shares: how many of the streams that began at once each worker got.
        restarted: the worker that died. newcomer: the one that got the stream which began after that.
        statuses: of the daemon's ends.
        copies: of webhooks, by the worker that received them and the one that owned their stream.
        copy_statuses, copy_latencies_s: of the answers to them.
        reloaded: workers that use the changed configuration.
    """

    workers: int
    sync_interval_s: float
    streams: list[Played] = attrs.field(factory=list)
    incidents: list[Incident] = attrs.field(factory=list)
    shares: Counter[str] = attrs.field(factory=Counter)
    newcomer: str = ""
    restarted: str = ""
    statuses: list[int] = attrs.field(factory=list)
    copies: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    copy_statuses: Counter[int | None] = attrs.field(factory=Counter)
    copy_latencies_s: list[float] = attrs.field(factory=list)
    reloaded: set[str] = attrs.field(factory=set)


class Stuck(Exception):
    """Streams or workers did not come back: the story ends here, the report says FAILED."""


class Story(Teller):
    """Plays all acts once.

    Args:
        reconfigure: writes another configuration, by which audio of new streams comes in other packets.
        performance: filled in act by act, so that an early end can be reported, too.
    """

    def __init__(
        self, cast: Cast, workers: Workers, reconfigure: Callable[[], None], scene: Scene, performance: Performance
    ) -> None:
        super().__init__(cast.simulator.clock, scene, ANNOUNCED_S)
        self._simulator, self._daemon = cast.simulator, cast.daemon
        self._workers = workers
        self._reconfigure = reconfigure
        self._performance = performance

    async def play(self) -> None:
        """Play all acts in turn, then end all sessions, also after a failure."""
        acts = (self._start, self._copies, self._reload, self._kill, self._newcomer, self._hang, self._restart)
        self._scene.acts = len(acts) + 1  # and the end
        try:
            for act in acts:
                await act()
                await trio.sleep(TALK_S)
        except Stuck:
            self._scene.log(Kind.BAD, "No recovery in time: the story ends here.")
        await self._end()

    # The acts

    async def _start(self) -> None:
        count = 3 * self._performance.workers
        self._act(
            f"{count} sessions start at once; Zoom's webhooks come to any of {self._performance.workers} workers."
        )
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(self._begin, number)
        await self._all_flow(self._ids(), 0)
        for played in self._performance.streams:
            played.connected_ms = self._now_ms
        owners = await self._workers.owners(self._ids())
        self._performance.shares = Counter(owners.values())
        self._scene.log(Kind.GOOD, f"All are recorded: {_shares(owners.values())}.")

    async def _copies(self) -> None:
        self._act("Webhooks arrive again.")
        await self._announce(f"Zoom sends each session.rtms_started {COPIES} times more, whoever owns the stream.")
        incident = self._begin_incident("duplicate webhooks")
        owners, known = (
            await self._workers.owners(self._ids()),
            {name: len(self._record(name).webhooks) for name in self._ids()},
        )
        for _ in range(COPIES):
            async with trio.open_nursery() as nursery:
                for session in self._sessions():
                    nursery.start_soon(session.duplicate_webhook)
        for rtms_stream_id, number in known.items():
            for delivery in self._record(rtms_stream_id).webhooks[number:]:
                self._performance.copy_statuses[delivery.status] += 1
                self._performance.copy_latencies_s.append(delivery.latency_s)
        count = COPIES * len(owners)
        for line in await self._workers.logged("webhook event", incident.from_ms, count=count, verdict="duplicate"):
            self._performance.copies[line.fields["worker"], owners[line.fields["rtms_stream_id"]]] += 1
        elsewhere = sum(number for (receiver, owner), number in self._performance.copies.items() if receiver != owner)
        self._settled(incident, f"{elsewhere} of {self._performance.copies.total()} came to another worker")

    async def _reload(self) -> None:
        self._act("The configuration changes.")
        await self._announce("A key is changed, and the daemon told to read its configuration again (SIGHUP).")
        incident = self._begin_incident(RELOAD)
        self._reconfigure()
        self._daemon.reload()
        said = await self._workers.logged(
            "configuration reloaded", incident.from_ms, count=self._performance.workers + 1
        )
        self._performance.reloaded = {line.fields["worker"] for line in said if "worker" in line.fields}
        await self._another()
        self._settled(incident, f"{len(self._performance.reloaded)} workers use it, for a new session")

    async def _kill(self) -> None:
        self._act("A worker dies.")
        worker, hit = await self._busiest()
        await self._announce(f"kill -9 for worker {worker}, the busiest, with {_streams(hit)}.")
        incident = self._begin_incident(
            f"kill -9 of worker {worker}", hit, Limits(media_s=MEDIA_S, audio_s=self._performance.sync_interval_s)
        )
        incident.dead_ms = incident.from_ms
        self._workers.signal(worker, signal.SIGKILL)
        self._performance.restarted = worker
        await self._recovered(incident)

    async def _newcomer(self) -> None:
        self._act("Another session starts: the worker that was started again has none yet.")
        session = await self._another()
        self._performance.newcomer = (await self._workers.owners(self._ids()))[session.rtms_stream_id]
        self._scene.log(Kind.GOOD, f"Worker {self._performance.newcomer} has it.")

    async def _hang(self) -> None:
        self._act("A worker hangs.")
        worker, hit = await self._busiest()
        await self._announce(
            f"Worker {worker}, with {_streams(hit)}, is stopped (SIGSTOP): it keeps its connections, but reads "
            f"nothing. The parent kills it when it has not answered for {WATCHDOG_S:g} s."
        )
        limits = Limits(dead_s=WATCHDOG_S + 3 * BEAT_S, media_s=MEDIA_S, audio_s=self._performance.sync_interval_s)
        incident = self._begin_incident(f"worker {worker} hangs", hit, limits)
        self._workers.signal(worker, signal.SIGSTOP)
        killed = await self._workers.logged("worker killed", incident.from_ms, worker=worker)
        if not killed:
            raise Stuck
        incident.dead_ms = killed[0].at_ms
        await self._recovered(incident)

    async def _restart(self) -> None:
        self._act("The daemon stops and starts, as in an upgrade.")
        hit = self._ids()
        await self._announce("The daemon is stopped (SIGTERM), with all streams, and started again.")
        incident = self._begin_incident("stop and start", hit, Limits(audio_s=self._performance.sync_interval_s))
        self._performance.statuses.append(await self._daemon.stop())
        incident.dead_ms = self._now_ms
        self._scene.log(Kind.NOTE, f"The daemon has ended after {(self._now_ms - incident.from_ms) / 1000:.1f} s.")
        await self._daemon.start()
        await self._recovered(incident)

    async def _end(self) -> None:
        self._act("The sessions end.")
        sessions = self._sessions()
        await until(lambda: not any(session.feed.is_behind(session.now_ms) for session in sessions))
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(session.stop, StopReason.MEETING_ENDED)
        for played in self._performance.streams:
            played.ended_ms = self._now_ms
        with trio.move_on_after(10):
            while await self._workers.owners():  # noqa: ASYNC110 another process
                await trio.sleep(POLL_S)
        self._performance.statuses.append(await self._daemon.stop())

    # Parts of acts

    @property
    def _now_ms(self) -> int:
        return self._clock.now_ms()

    def _sessions(self) -> list[SimSession]:
        return [played.session for played in self._performance.streams]

    def _ids(self) -> list[str]:
        return [session.rtms_stream_id for session in self._sessions()]

    def _record(self, rtms_stream_id: str) -> Record:
        return self._simulator.sessions[rtms_stream_id].record

    async def _begin(self, number: int) -> None:
        """Start a session; what it is called is its number."""
        session = await self._simulator.start_session(PEOPLE[number % len(PEOPLE)])
        self._performance.streams.append(Played(session, connected_ms=session.started_ms))

    async def _another(self) -> SimSession:
        """Start one more, and return it when it is recorded."""
        await self._begin(len(self._performance.streams))
        played = self._performance.streams[-1]
        await self._all_flow([played.session.rtms_stream_id], played.session.started_ms)
        played.connected_ms = self._now_ms
        return played.session

    async def _busiest(self) -> tuple[str, list[str]]:
        """Return the worker with most streams, and which those are."""
        owners = await self._workers.owners(self._ids())
        [(worker, _)] = Counter(owners.values()).most_common(1)
        return worker, [rtms_stream_id for rtms_stream_id, owner in owners.items() if owner == worker]

    def _begin_incident(self, name: str, hit: Iterable[str] = (), limits: Limits | None = None) -> Incident:
        incident = Incident(name=name, from_ms=self._now_ms, hit=frozenset(hit), limits=limits or Limits())
        self._performance.incidents.append(incident)
        return incident

    def _settled(self, incident: Incident, outcome: str) -> None:
        incident.over_ms, incident.outcome = self._now_ms, outcome
        self._scene.log(Kind.GOOD, f"{incident.name}: {outcome}.")

    async def _recovered(self, incident: Incident) -> None:
        """Wait until the streams that were hit, and all workers, are back.

        Raises:
            Stuck: they are not.
        """
        await self._all_flow(incident.hit, incident.from_ms)
        flowed_ms = self._now_ms
        owners = await self._workers.owners(incident.hit)
        now = _shares(owner for stream, owner in owners.items() if stream in incident.hit)
        self._settled(incident, f"all flow again after {(flowed_ms - incident.from_ms) / 1000:.1f} s, {now}")
        if not await self._workers.wait_ready():
            raise Stuck

    async def _all_flow(self, streams: Iterable[str], since_ms: int) -> None:
        """Wait until all media of these flow, on connections opened since then.

        Raises:
            Stuck: they do not.
        """
        for rtms_stream_id in streams:
            if not await until(partial(_flow, self._record(rtms_stream_id), since_ms)):
                raise Stuck


def _flow(record: Record, since_ms: int) -> bool:
    return flows_again_ms(record, since_ms) is not None


def _shares(owners: Iterable[str]) -> str:
    """Return how many streams each worker has."""
    shares = sorted(Counter(owners).items())
    return ", ".join(f"{_streams(range(number))} at worker {worker}" for worker, number in shares)


def _streams(streams: Collection[object]) -> str:
    return f"{len(streams)} stream{'s' * (len(streams) != 1)}"
