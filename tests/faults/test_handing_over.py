"""Streams that members hand over to each other: supervisors, journals and files are real, and so is each socket."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from rtmsd.cluster.engines.memory import MemoryEngine
from rtmsd.cluster.handover.handover import Handover
from rtmsd.cluster.handover.passages import Fate
from rtmsd.cluster.handover.taker import Taker
from rtmsd.cluster.keeping.journal import ClusterJournal
from rtmsd.cluster.keeping.store import KeptStore
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Why
from rtmsd.commands import Verdict
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.writers import Writers
from rtmsd.simulator import ARRIVED, SimSession, SimulatorSettings, Tone, open_simulator
from rtmsd.state.journal import LocalJournal
from rtmsd.streams.restart import Restarter
from rtmsd.streams.running import local_ms
from rtmsd.streams.supervisor import Supervisor
from rtmsd.zoom_api import ZoomApi
from tests.faults.process import until
from tests.faults.test_changing_hands import Part, config_of, more_audio, nothing, start_of

SETTINGS = SimulatorSettings(tone=Tone.MARKED)
APPS = ("main",)


@attrs.frozen
class Node:
    """A member with directories of its own."""

    place: Path
    members: Members
    supervisor: Supervisor
    ownership: Ownership
    handover: Handover

    async def begin(self, session: SimSession) -> None:
        assert await self.ownership.accept(start_of(session)) is Verdict.NEW


@asynccontextmanager
async def open_node(engine: MemoryEngine, place: Path, node: str) -> AsyncIterator[Node]:
    config = config_of(place / node)
    config.recording.directory.mkdir(parents=True)
    incarnation = f"life-of-{node}"
    async with (
        engine.join(node, incarnation) as member,
        aclosing(await LocalJournal.open(config.state.file)) as local,
        trio.open_nursery() as nursery,
    ):
        writers = Writers.open(config.recording, config.directories)
        await nursery.start(writers.run)
        members = Members(Member(node=node, incarnation=incarnation), lambda: len(supervisor.streams))
        journal = ClusterJournal(
            local,
            member,
            node=node,
            incarnation=incarnation,
            on_claimed=lambda key, token, epoch: ownership.hold(key, token=token, epoch=epoch),
            on_lost=lambda rtms_stream_id, why: nursery.start_soon(ownership.lost, rtms_stream_id, why),
            clock_ms=local_ms,
        )
        nursery.start_soon(journal.run)
        supervisor = Supervisor(
            config,
            journal,
            writers,
            restarter=Restarter(ZoomApi(), lambda: config),
            on_event=lambda _: None,
            on_let_go=lambda rtms_stream_id, _why: ownership.let_go(rtms_stream_id),
        )
        ownership = Ownership(
            members,
            KeptStore(member, journal),
            supervisor,
            apps=lambda: APPS,
            cause=lambda why: GapCause.NODE_TAKEOVER if why is Why.HANDED_OVER else GapCause.DAEMON_RESTART,
            patience_s=20,
            clock_ms=local_ms,
        )
        Taker(members, member, ownership, supervisor, apps=lambda: APPS)
        await nursery.start(supervisor.run, nothing)
        nursery.start_soon(ownership.run)
        yield Node(place / node, members, supervisor, ownership, Handover(members, member, ownership, supervisor))
        nursery.cancel_scope.cancel()


@pytest.fixture
async def nodes(place: Path) -> AsyncIterator[tuple[Node, Node]]:
    engine = MemoryEngine()
    async with open_node(engine, place, "a") as one, open_node(engine, place, "b") as other:
        for node in (one, other):
            node.members.update([one.members.me, other.members.me])
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
        result = await one.handover.drain(30)
        took_s = trio.current_time() - began_s
        assert {passage.fate for passage in result.passages.values()} == {Fate.HANDED_OVER}
        assert not one.supervisor.streams
        for session in sessions:
            await more_audio(session)
        back, *stay = sessions
        assert await other.handover.move(back.rtms_stream_id, "a") == "a"
        await more_audio(back)
        for session in sessions:
            await session.stop()
        await until(lambda: not one.supervisor.streams and not other.supervisor.streams)
    show(f"{len(sessions)} streams handed over in {took_s:.2f} s")
    for session in sessions:
        assert recorded(nodes, session) == sent(session)
        assert session.record.refusals() == []
        assert not session.record.violations
    for session in stay:
        gaps = Part.read(other.place / "recordings", session).manifest["gaps"]
        assert isinstance(gaps, list)
        assert {gap["cause"] for gap in gaps} <= {"node_takeover"}
