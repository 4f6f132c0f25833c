"""A member as a whole: whatever is wrong with the engine, or with a part of the cluster, no stream ends by it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.memory import Fault, MemoryEngine
from rtmsd.cluster.engines.memory_tables import Tables
from rtmsd.cluster.records import Held
from rtmsd.commands import Verdict
from rtmsd.config.cluster import ClusterConfig
from rtmsd.simulator import open_simulator
from tests.faults.process import until
from tests.faults.test_changing_hands import more_audio, start_of
from tests.faults.test_handing_over import SETTINGS, open_node

QUICK = ClusterConfig(beat_s=0.05, gather="manual")


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _forget(tables: Tables, rtms_stream_id: str) -> None:
    tables._streams.pop(rtms_stream_id)


def _spoil(tables: Tables, rtms_stream_id: str) -> None:
    tables.put_own(rtms_stream_id, b"{")


@pytest.mark.parametrize("lose", [_forget, _spoil])
async def test_a_stream_whose_record_is_lost_goes_on_and_is_claimed_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Tables, str], None]
) -> None:
    """As when servers lose their disks. Nor is it let go while they do not say whose it is."""
    engine = MemoryEngine()
    async with open_node(engine, place / "a", "a", QUICK) as node, open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"])
        await node.begin(session)
        await more_audio(session)
        name = session.rtms_stream_id
        life = node.streams[name]
        read, silences = node.membership.ownership.read, [Away("no answer")]

        async def read_again(rtms_stream_id: str) -> Held:
            if silences:
                raise silences.pop()
            return await read(rtms_stream_id)

        monkeypatch.setattr(node.membership.ownership, "read", read_again)
        lose(engine.tables, name)
        await node.membership.journal.tell(name)
        node.membership.appender.write(name, "events", "{}")
        await until(lambda: node.membership.members.is_me(engine.tables.read(name).own))
        await until(lambda: node.membership.ownership.token(name) == engine.tables.read(name).token)
        assert node.streams[name] is life
        await more_audio(session)
        assert [each.kind for each in session.record.handshakes].count("signaling") == 1
        assert await node.has(name)


async def test_a_stream_begins_though_the_engine_takes_no_claim(place: Path) -> None:
    """As when the servers' disks are full: they say that nobody has it, and more cannot be done."""
    engine = MemoryEngine()
    async with open_node(engine, place / "a", "a", QUICK) as node, open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"])
        name = session.rtms_stream_id
        with engine.failing(Fault.FULL):
            assert await node.membership.router.accept(start_of(session)) is Verdict.NEW
            assert await node.membership.router.accept(start_of(session)) is Verdict.DUPLICATE
            await more_audio(session)
            life = node.streams[name]
        await until(lambda: node.membership.members.is_me(engine.tables.read(name).own))
        await until(lambda: node.membership.ownership.token(name) == engine.tables.read(name).token)
        await more_audio(session)
        assert node.streams[name] is life
        assert [each.kind for each in session.record.handshakes].count("signaling") == 1


async def test_takeovers_go_on_after_a_crash(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node(MemoryEngine(), place / "a", "a", QUICK) as node:
        takeover = node.membership.takeover
        await takeover.swept.wait()
        takeover.swept = trio.Event()
        crash, bugs = takeover._members.wait_death, [ValueError("a bug")]

        async def wait_death(seen: int) -> int:
            if bugs:
                raise bugs.pop()
            return await crash(seen)

        monkeypatch.setattr(takeover._members, "wait_death", wait_death)
        takeover._members._count_deaths(1)
        with trio.fail_after(60):
            await takeover.swept.wait()
            takeover.swept = trio.Event()
            await takeover.swept.wait()
        assert not bugs


async def test_an_engine_that_crashes_whenever_it_is_opened_keeps_no_stream_from_being_recorded(place: Path) -> None:
    class Broken(MemoryEngine):
        def join(self, node: str, incarnation: str) -> NoReturn:
            raise ValueError("a bug")

    async with open_node(Broken(), place / "a", "a", QUICK) as node, open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana"])
        assert await node.membership.router.accept(start_of(session)) is Verdict.NEW
        await more_audio(session)


async def test_a_gate_that_crashes_keeps_no_stream_from_being_recorded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_node(MemoryEngine(), place / "a", "a", QUICK) as node, open_simulator(SETTINGS) as simulator:
        monkeypatch.setattr(node.membership.ownership, "may_connect", None)
        session = await simulator.start_session(["Ana"])
        await node.begin(session)
        await more_audio(session)


async def test_a_line_that_cannot_be_copied_ends_no_stream(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ValueError("a bug")

    async with open_node(MemoryEngine(), place / "a", "a", QUICK) as node:
        member = node.membership
        member.ownership.hold("s", 1, 1)
        monkeypatch.setattr(member.appender, "write", crash)
        member._on_event({"rtms_stream_id": "s", "kind": "x"})
