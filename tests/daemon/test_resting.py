"""The rest of media sockets while nobody listens."""

from pathlib import Path

import attrs
import pytest
import trio

from rtmsd.config import RecordingConfig, StreamsConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.root import Daemon
from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import SimSession, Simulator, open_simulator
from rtmsd.sinks.hub import LiveHub
from rtmsd.sinks.taps import EventTap, NdjsonTap
from rtmsd.streams.resting import let_rest
from rtmsd.transport.network import SocketSet, socket_set
from tests.daemon.whole import (
    HURRIED,
    LIMIT_S,
    assert_all_of_it_once,
    config,
    directory_of,
    manifest,
    until_ended,
    zoom_and_daemon,
)


def sockets() -> SocketSet:
    found = socket_set()
    assert found is not None
    return found


async def test_only_who_hears_media_ends_the_rest(tmp_path: Path) -> None:
    hub, settings = LiveHub(), config(tmp_path, recording=RecordingConfig(directory=tmp_path))
    let_rest(hub, lambda: settings)
    assert hub.on_media_sink == sockets().wake
    woken: list[float] = []
    hub.on_media_sink = lambda: woken.append(sockets().longest_rest_s())
    assert sockets().longest_rest_s() == 0.02
    with hub.attached(EventTap()):
        assert sockets().longest_rest_s() == 0.02
    tap = NdjsonTap("stream", frozenset({"audio"}), None)
    with hub.attached_to([], tap):
        assert woken == [0.0]
        with hub.attached_to([], tap):
            pass
        assert sockets().longest_rest_s() == 0.0
    assert sockets().longest_rest_s() == 0.02


@pytest.mark.parametrize(
    ("rest_ms", "sync_s", "longest_s"), [(20, 0.5, 0.02), (0, 0.5, 0.0), (5, 0.5, 0.005), (20, 0.1, 0.004)]
)
async def test_the_configuration_in_force_bounds_a_rest(
    rest_ms: int, sync_s: float, longest_s: float, tmp_path: Path
) -> None:
    settings = config(tmp_path)
    let_rest(LiveHub(), lambda: settings)
    settings = config(
        tmp_path,
        streams=StreamsConfig(max_rest_ms=rest_ms),
        recording=RecordingConfig(directory=tmp_path, sync_interval_s=sync_s),
    )
    assert sockets().longest_rest_s() == pytest.approx(longest_s)


async def test_a_rest_delays_no_handshake_and_a_stop_loses_nothing(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        sockets().longest_rest_s = lambda: 3600.0
        first = await sim.start_session(["Ana"])
        await first.wait_reconnected()
        await sim.clock.sleep(2)
        second = await sim.start_session(["Bo"])
        await second.wait_reconnected()
        await until_behind(backend, first, second)
        first.hush("Ana")  # what a busy simulator sends behind the end would not be read in a rest without end
        second.hush("Bo")
        await sim.clock.sleep(2)
        for session in (first, second):
            await session.stop()
            await until_ended(backend, session.rtms_stream_id)
            assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


async def until_behind(backend: Backend, *sessions: SimSession) -> None:
    """Wait until more audio was sent than was read: on a busy machine the only turn of the sockets comes late."""
    with trio.fail_after(LIMIT_S):
        while True:
            received = backend.status()["totals"]["messages"].get("audio", 0)
            if received < sum(len(each) for session in sessions for each in session.record.audio.values()):
                return
            await trio.sleep(0.01)


async def unread(sim: Simulator, backend: Backend) -> SimSession:
    """A session whose media arrive, in a rest without end, and are not read. Nobody speaks any more."""
    sockets().longest_rest_s = lambda: 3600.0
    session = await sim.start_session(["Ana"])
    await session.wait_reconnected()
    await sim.clock.sleep(2)
    await until_behind(backend, session)
    session.hush("Ana")
    await sim.clock.sleep(2)
    await until_behind(backend, session)
    return session


async def test_a_stop_of_the_daemon_ends_the_rest_and_records_what_has_arrived(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "config.toml", config(tmp_path), end_streams=False)
    stopped = trio.Event()

    async def run(*, task_status: trio.TaskStatus[Backend]) -> None:
        await daemon.run(task_status=task_status)
        stopped.set()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            backend: Backend = await nursery.start(run)
            url = f"http://{backend.listening['webhook'][0]}/webhook"
            async with open_simulator(attrs.evolve(HURRIED, webhook_url=url)) as sim:
                session = await unread(sim, backend)
                daemon.stop()
                await stopped.wait()
    assert manifest(backend, session.rtms_stream_id)["state"] == "recovering"
    assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


async def test_a_revocation_ends_the_rest_and_deletes_what_has_arrived(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await unread(sim, backend)
        await session.stop(StopReason.STREAM_REVOKED)
        assert (await until_ended(backend, session.rtms_stream_id))["state"] == "revoked"
        directory = directory_of(backend, session.rtms_stream_id)
        assert [path.name for path in directory.iterdir()] == ["stream.json"]
