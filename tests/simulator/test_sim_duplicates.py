"""A second signaling connection of a stream, refused or evicting the first, and the record of who held it when."""

import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE

import attrs
import pytest
import trio
import trio.testing

from rtmsd.protocol.enums import MsgType
from rtmsd.simulator import (
    DuplicateSignaling,
    SimSession,
    Timing,
    contests,
    open_simulator,
    play,
    tenures,
    two_at_once,
)
from rtmsd.simulator.scenario.scenario import parse
from tests.simulator.conftest import SETTINGS, Client, ask, eventually, send

EVICTING = attrs.evolve(SETTINGS, duplicate_signaling="evict")
CLAIMANT = Path(__file__).with_name("claimant.py")


async def test_a_newer_connection_evicts_the_older_with_its_media_and_nothing_is_lost() -> None:
    async with open_simulator(EVICTING) as simulator:
        session = await simulator.start_session(["Ana", "Bo"])
        first, second = Client(session, EVICTING), Client(session, EVICTING)
        async with first.signaling() as signaling, first.media(signaling):
            await first.until(lambda: len(first.packets) > 20)
            async with second.signaling() as newer, second.media(newer):
                await first.closed(2)
                await second.until(lambda: len(second.packets) > 20)
                await session.stop()
                await second.closed(2)
        arrived = [
            (packet.user_id, packet.timestamp_ms, packet.data)
            for log in session.record.audio.values()
            for packet in log.arrived()
        ]
    assert sorted(first.packets + second.packets) == sorted(arrived)
    assert session.record.violations == []
    assert [webhook.event for webhook in session.record.webhooks] == ["session.rtms_started", "session.rtms_stopped"]
    [contest] = contests(session.record)
    assert (contest.status_code, contest.rival) == (0, session.record.connections[0].connection)
    assert two_at_once(session.record) == []
    assert next(message["state"] for message in second.of_type(8)) == 1  # "active": it was interrupted in between


async def test_what_waits_for_an_evicted_client_comes_to_the_newer_one_first() -> None:
    async with open_simulator(EVICTING) as simulator:
        session = await simulator.start_session(["Ana"])
        first, second = Client(session, EVICTING), Client(session, EVICTING)
        async with first.signaling() as signaling, first.media(signaling):
            await first.until(lambda: first.packets)
            [media] = session.connections("media")
            media.wire.stall()  # as full buffers do
            await eventually(lambda: media.wire.queued_bytes > 10_000)
            async with second.signaling() as newer, second.media(newer):
                await second.until(lambda: len(second.packets) > 100)
    times = [timestamp_ms for _, timestamp_ms, _ in first.packets + second.packets]
    assert times == list(range(session.started_ms, session.started_ms + 20 * len(times), 20))


@pytest.mark.parametrize(
    ("wrong", "status"), [({"signature": "0" * 64}, 3), ({"rtms_stream_id": "another"}, 2), ({"sequence": "1"}, 4)]
)
async def test_a_wrong_handshake_evicts_nobody(wrong: dict[str, str], status: int) -> None:
    async with open_simulator(EVICTING) as simulator:
        session = await simulator.start_session()
        client = Client(session, EVICTING)
        async with client.signaling(), client.socket(session.signaling_url) as second:
            assert (await ask(second, {"msg_type": 1, **client.who, **wrong}))["status_code"] == status
            assert session.signaling is not None
    assert list(contests(session.record)) == []


async def test_an_evicted_client_cannot_end_the_stream() -> None:
    async with open_simulator(EVICTING) as simulator:
        session = await simulator.start_session()
        client = Client(session, EVICTING)
        async with client.socket(session.signaling_url) as first, client.socket(session.signaling_url) as second:
            assert (await ask(first, {"msg_type": 1, **client.who}))["status_code"] == 0
            evicted = session.signaling
            assert evicted is not None
            for _ in range(6000):  # it reads nothing, so that it can speak for as long as its close frame waits
                evicted.post({"msg_type": 6, "padding": "x" * 4096})
            await trio.testing.wait_all_tasks_blocked()
            assert evicted.wire.queued_bytes > 0
            assert (await ask(second, {"msg_type": 1, **client.who}))["status_code"] == 0
            await send(first, {"msg_type": 21, "rtms_stream_id": session.rtms_stream_id})
            await eventually(lambda: session.record.messages(MsgType.STREAM_CLOSE_REQ))
            await trio.testing.wait_all_tasks_blocked()
            assert session.stop_reason is None
            assert session.signaling not in (None, evicted)


@pytest.mark.parametrize("mode", ["refuse", "evict"])
async def test_a_session_may_differ_from_the_settings(mode: DuplicateSignaling) -> None:
    other: DuplicateSignaling = "evict" if mode == "refuse" else "refuse"
    async with open_simulator(attrs.evolve(SETTINGS, duplicate_signaling=other)) as simulator:
        scenario = parse("contested", f'people = ["Ana"]\nduplicate_signaling = "{mode}"')
        session = await play(simulator, scenario)
        assert session.duplicate_signaling == mode
        assert (await simulator.start_session()).duplicate_signaling == other


@attrs.frozen
class Claimant:
    """A client in a process of its own, from `claimant.py`."""

    process: trio.Process

    async def begin(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")

    async def says(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        line = b""
        with trio.fail_after(60):
            while not line.endswith(b"\n"):
                piece = await self.process.stdout.receive_some(1)
                assert piece, "it died"
                line += piece
        return line.decode().strip()

    async def says_at_last(self, wanted: str) -> list[str]:
        """Return what it says before a line, which it must say in the end."""
        lines: list[str] = []
        while (line := await self.says()) != wanted:
            lines.append(line)
        return lines


@asynccontextmanager
async def claimant(session: SimSession) -> AsyncIterator[Claimant]:
    handshake = json.dumps({"msg_type": 1, **Client(session, SETTINGS).who})
    command = [sys.executable, str(CLAIMANT), session.signaling_url, handshake]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, check=False))
        try:
            started = Claimant(process)
            assert await started.says() == "ready"
            yield started
        finally:
            process.kill()


@pytest.mark.parametrize("mode", ["refuse", "evict"])
async def test_a_stream_of_a_frozen_client_goes_to_another(mode: DuplicateSignaling) -> None:
    patient = Timing(attach_window_s=1e9, signaling_window_s=1e9)
    settings = attrs.evolve(SETTINGS, speed=10, timing=patient, name_processes=True, duplicate_signaling=mode)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session()
        async with claimant(session) as frozen, claimant(session) as taker:
            await frozen.begin()
            assert await frozen.says() == "0"
            frozen.process.send_signal(signal.SIGSTOP)
            await taker.begin()
            refused = await taker.says_at_last("0")
            frozen.process.send_signal(signal.SIGCONT)
            assert await frozen.says() == "closed"
        record = session.record
    # Refused until Zoom's keep-alives gave the frozen one up, and never the fault of the one that waits.
    assert set(refused) == ({"8"} if mode == "refuse" else set())
    assert set(record.violation_names()) == ({"keep_alives_unanswered"} if mode == "refuse" else set())
    assert [tenure.peer.pid for tenure in tenures(record)] == [frozen.process.pid, taker.process.pid]
    assert {contest.peer.pid for contest in contests(record)} == {taker.process.pid}
    assert len(list(contests(record))) == len(refused) + (mode == "evict")
    assert all(a.to_ms is not None and a.to_ms <= b.from_ms for a, b in itertools.pairwise(tenures(record)))
    assert two_at_once(record) == []
