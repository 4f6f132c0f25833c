"""Streams that members hand over to each other: supervisors, journals and files are real, and so is each socket."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from rtmsd.cluster.engines.memory import MemoryEngine, MemoryMember
from rtmsd.cluster.handover.passages import Fate
from rtmsd.cluster.keeping.spool import Spool
from rtmsd.commands import Verdict
from rtmsd.config.cluster import ClusterConfig
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.node.membership import Membership
from rtmsd.recording.writers import Writers
from rtmsd.simulator import ARRIVED, SimSession, SimulatorSettings, Tone, open_simulator
from rtmsd.state.journal import LocalJournal
from rtmsd.streams.restart import Restarter
from rtmsd.system.worker_thread import WorkerThread
from rtmsd.zoom_api import ZoomApi
from tests.faults.process import until
from tests.faults.test_changing_hands import Part, config_of, more_audio, nothing, start_of

SETTINGS = SimulatorSettings(tone=Tone.MARKED)
MANUAL = ClusterConfig(gather="manual")


@attrs.frozen
class Ends:
    """See `Ends` of `rtmsd.node.engine`."""

    owners: MemoryMember
    log: MemoryMember
    bus: MemoryMember
    beats: MemoryMember


@attrs.frozen
class Node:
    """A member with directories and journal of its own."""

    place: Path
    membership: Membership

    @property
    def streams(self) -> Mapping[str, object]:
        return self.membership.supervisor.streams

    async def begin(self, session: SimSession) -> None:
        assert await self.membership.ownership.accept(start_of(session)) is Verdict.NEW

    async def has(self, rtms_stream_id: str) -> bool:
        """Whether its next life would go on with the stream, as far as its own state file says."""
        return await self.membership.journal.token(rtms_stream_id) is not None


@asynccontextmanager
async def open_node(
    engine: MemoryEngine, place: Path, node: str, settings: ClusterConfig = MANUAL
) -> AsyncIterator[Node]:
    config = config_of(place)
    config.recording.directory.mkdir(parents=True)
    thread = WorkerThread("spool")

    @asynccontextmanager
    async def open_engine() -> AsyncIterator[Ends]:
        async with engine.join(node, membership.incarnation) as member:
            yield Ends(member, member, member, member)

    async with (
        aclosing(await LocalJournal.open(config.state.file)) as journal,
        aclosing(await Spool.open(place / "spool", thread.run_sync, limit_bytes=2**20)) as spool,
        trio.open_nursery() as nursery,
    ):
        writers = Writers.open(config.recording, config.directories)
        await nursery.start(writers.run)
        needs = SupervisorNeeds(config, journal, writers, Restarter(ZoomApi(), lambda: config), lambda _: None)
        membership = Membership(needs, settings, node=node, open_engine=open_engine, spool=spool)
        await nursery.start(membership.supervisor.run, nothing)
        await nursery.start(membership.run)
        yield Node(place, membership)
        nursery.cancel_scope.cancel()
    thread.close()


@pytest.fixture
async def nodes(place: Path) -> AsyncIterator[tuple[Node, Node]]:
    engine = MemoryEngine()
    async with open_node(engine, place / "a", "a") as one, open_node(engine, place / "b", "b") as other:
        await until(lambda: all(len(node.membership.members.living()) == 2 for node in (one, other)))
        yield one, other


def recorded(nodes: tuple[Node, ...], session: SimSession) -> Counter[int]:
    """Return the numbers of the packets in the parts, and how often each is there."""
    parts = [Part.read(node.place / "recordings", session) for node in nodes]
    return sum((part.numbers for part in parts), Counter[int]())


def sent(session: SimSession) -> Counter[int]:
    [log] = session.record.audio.values()
    return Counter(packet.number for packet in log if packet.fate in ARRIVED)


async def test_no_packet_is_lost_or_doubled_when_nodes_hand_streams_over(
    nodes: tuple[Node, Node], show: Callable[..., None]
) -> None:
    one, other = nodes
    async with open_simulator(SETTINGS) as simulator:
        sessions = [await simulator.start_session(["Ana"]) for _ in range(6)]
        for session in sessions:
            await one.begin(session)
        for session in sessions:
            await more_audio(session)
        began_s = trio.current_time()
        result = await one.membership.handover.drain(30)
        took_s = trio.current_time() - began_s
        assert {passage.fate for passage in result.passages.values()} == {Fate.HANDED_OVER}
        assert not one.streams
        for session in sessions:
            await more_audio(session)
            assert not await one.has(session.rtms_stream_id)
            assert await other.has(session.rtms_stream_id)
        back, *stay = sessions
        assert await other.membership.handover.move(back.rtms_stream_id, "a") == "a"
        await more_audio(back)
        for session in sessions:
            await session.stop()
        await until(lambda: not one.streams and not other.streams)
    show(f"{len(sessions)} streams handed over in {took_s:.2f} s")
    for session in sessions:
        assert recorded(nodes, session) == sent(session)
        assert session.record.refusals() == []
        assert not session.record.violations
    for session in stay:
        gaps = Part.read(other.place / "recordings", session).manifest["gaps"]
        assert isinstance(gaps, list)
        assert {gap["cause"] for gap in gaps} <= {"node_takeover"}
