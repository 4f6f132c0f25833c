"""One fault on a running cluster, and its figures: by the simulator's record and the joined recordings."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import trio

from rtmsd.demo.incidents.incidents import down_ms, flows_again_ms
from rtmsd.protocol.enums import MediaType
from rtmsd.simulator import SimSession, two_at_once
from tests.benchmarks.cluster.samples import WRONG
from tests.faults.cluster import NODES, ClusterStage
from tests.faults.process import until
from tests.faults.reckoning import Reckoning, lines_of, recording_of

TALK_S: Final = 1.5  # before a fault, so that it can lose something
STREAMS: Final = 6


@attrs.define
class Trial:
    """One run of a fault.

    Attributes:
        number: of the run.
        sessions: all of this run. hit: those whose connections the fault ends; others may lose nothing.
        at_ms: when it happens. since_ms: by stream, when it let go of its connection, if media are counted from then.
        figures: in seconds, by name; see `samples.Values`.
        wrong: in words.
    """

    stage: ClusterStage
    number: int
    sessions: list[SimSession] = attrs.field(factory=list)
    hit: list[SimSession] = attrs.field(factory=list)
    at_ms: int = 0
    since_ms: dict[str, int] = attrs.field(factory=dict)
    figures: dict[str, list[float | None]] = attrs.field(factory=lambda: defaultdict(list))
    wrong: list[str] = attrs.field(factory=list)

    @property
    def now_ms(self) -> int:
        return self.stage.zoom.clock.now_ms()

    # Before, and the fault

    async def begin(self, count: int = STREAMS) -> None:
        """Start sessions at once, and return when all of them have been recorded for a while."""
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self.another)
        await trio.sleep(TALK_S)

    async def another(self, rtms_stream_id: str | None = None) -> SimSession:
        """Start one more, and return it when it is recorded."""
        session = await self.stage.zoom.start_session(rtms_stream_id=rtms_stream_id)
        self.sessions.append(session)
        await until(lambda: flows_again_ms(session.record, 0) is not None)
        return session

    def strike(self, node: str = "") -> str:
        """Say that the fault happens now, to a member or to the one with most streams; return which."""
        node = node or self.stage.busiest(self.sessions)[0]
        self.hit = [session for session in self.sessions if self.stage.owner(session) == node]
        self.at_ms = self.now_ms
        return node

    async def back(self) -> None:
        """Wait until the media of all that were hit flow again."""
        await until(lambda: all(self._flows_ms(session) is not None for session in self.hit))

    async def until_up(self) -> None:
        """Wait until each member hears that all are up, and none is draining."""
        for node in NODES:
            await self._until(node, "/v1/cluster", lambda cluster: [*_states(cluster)] == ["up"] * len(NODES))

    async def until_claimed(self) -> None:
        """Wait until there is nothing to be said of any stream, such as that it is not claimed yet."""
        await self._until(NODES[0], "/v1/cluster/streams", lambda listed: not any(map(_flags, listed["streams"])))

    async def _until(self, node: str, path: str, condition: Callable[[Any], bool]) -> None:
        admin = self.stage.members[node].admin
        while not condition(await trio.to_thread.run_sync(admin.get, path)):  # noqa: ASYNC110 another process
            await trio.sleep(0.05)

    def took(self, figure: str, since_s: float) -> None:
        self.figures[figure].append(trio.current_time() - since_s)

    # After

    def watch(self) -> None:
        """Take the figures that the simulator's record has."""
        for session in self.hit:
            flows_ms = self._flows_ms(session)
            since_ms = self.since_ms.get(session.rtms_stream_id, self.at_ms)
            self.figures["media up"].append(None if flows_ms is None else max(0, flows_ms - since_ms) / 1000)
            deaf_ms = down_ms(session.record, MediaType.TRANSCRIPT, self.at_ms, self.now_ms)
            self.figures["without transcripts"].append(deaf_ms / 1000)
        for session in self.sessions:
            self.wrong += [f"{session.rtms_stream_id}: {violation}" for violation in session.record.violations]
            if two_at_once(session.record):
                self.wrong.append(f"{session.rtms_stream_id}: two connections at once")
            if session not in self.hit and session.started_ms < self.at_ms:
                opened = sum(span.opened_ms >= self.at_ms for span in session.record.connections)
                if opened:
                    self.wrong.append(f"{session.rtms_stream_id}: {opened} new connections, and it was not hit")

    def read(self, reckonings: Sequence[Reckoning]) -> None:
        """Take the figures that the joined recordings have."""
        for session, reckoning in zip(self.sessions, reckonings, strict=True):
            lost_s = max((sum(each.duration_ms for each in lost) for lost in _by_speaker(reckoning)), default=0) / 1000
            self.wrong += [f"{session.rtms_stream_id}: {what}: {value}" for what, value in reckoning.faults.items()]
            if session in self.hit:
                self.figures["claimed"].append(self._claimed_s(session))
                self.figures["audio lost"].append(lost_s)
            elif lost_s:
                self.wrong.append(f"{session.rtms_stream_id}: {lost_s:g} s of audio lost, and it was not hit")

    def close(self) -> None:
        self.figures[WRONG].append(len(self.wrong))

    def _flows_ms(self, session: SimSession) -> int | None:
        return flows_again_ms(session.record, self.at_ms)

    def _claimed_s(self, session: SimSession) -> float | None:
        events = lines_of(recording_of(self.stage.place / "joined", session) / "events.jsonl")
        claims_ms = (event["at_ms"] for event in events if "epoch" in event and event["at_ms"] >= self.at_ms)
        claimed_ms = next(claims_ms, None)
        return None if claimed_ms is None else (claimed_ms - self.at_ms) / 1000


def _states(cluster: Mapping[str, Any]) -> Iterator[str]:
    return (member["state"] for member in cluster["members"])


def _flags(stream: Mapping[str, Any]) -> list[str]:
    flags: list[str] = stream["flags"]
    return flags


def _by_speaker(reckoning: Reckoning) -> list[list[Any]]:
    found = defaultdict(list)
    for packet in reckoning.lost:
        found[packet.user_id].append(packet)
    return list(found.values())


async def repair(trial: Trial) -> None:
    """Bring everybody back, whatever state a failed run left them in."""
    stage = trial.stage
    stage.servers.start()
    await trio.to_thread.run_sync(stage.servers.wait)
    for node, member in stage.members.items():
        if not member.is_running:
            await member.start()
        await stage.order(f"/v1/cluster/nodes/{node}/undrain", by=node)
    await stage.until_well()
    await trial.until_up()
