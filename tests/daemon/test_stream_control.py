"""Control of a stream by an operator, and refusals when it is too late or too early."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rtmsd.admin.messages import AdminError, Code
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder
from rtmsd.sinks.hub import LiveHub
from rtmsd.streams import running
from rtmsd.zoom_api import ZoomApi
from tests.streams.harness import STREAM, Bench, open_bench


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch) as opened:
        yield opened


@pytest.fixture
def backend(bench: Bench) -> Backend:
    health = Health(bench.supervisor.config, bench.supervisor, bench.writers)
    return Backend(bench.directory / "config.toml", bench.supervisor, health, ZoomApi(), events=LiveHub(), stop=no_stop)


def no_stop(*, end_streams: bool) -> None:
    raise AssertionError("nobody asked for it")


async def is_refused(request: Any) -> bool:
    with pytest.raises(AdminError) as caught:
        await request(STREAM)
    return caught.value.code is Code.REFUSED_IN_STATE


async def test_a_live_stream_can_be_reconnected_and_ended(
    bench: Bench, backend: Backend, autojump_clock: MockClock
) -> None:
    await bench.up()
    await backend.reconnect(STREAM)
    await bench.until(lambda: len(bench.zoom.hellos("signaling")) == 2)
    await bench.until_up()
    await backend.stop(STREAM)
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 20


async def test_a_stream_can_be_ended_while_its_files_are_still_being_opened(
    bench: Bench, backend: Backend, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = trio.Event()

    async def open_slowly(*args: Any, **kwargs: Any) -> Recorder:
        await ready.wait()
        return await open_recorder(*args, **kwargs)

    monkeypatch.setattr(running, "open_recorder", open_slowly)
    await bench.start()
    await trio.sleep(1)
    assert await is_refused(backend.reconnect)  # there is no connection to be made afresh
    await backend.stop(STREAM)
    ready.set()
    await bench.until_gone()
    assert not bench.zoom.dialled
    assert bench.manifest()["stop_reason"] == 20


@pytest.mark.parametrize("ending", ["by Zoom", "by a bug of ours"])
async def test_a_stream_whose_files_are_being_finished_has_ended(
    bench: Bench, backend: Backend, autojump_clock: MockClock, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = trio.Event()
    finish = Recorder.finish

    async def finish_slowly(recorder: Recorder) -> None:
        await finished.wait()
        await finish(recorder)

    def stumble(stream: Any, message: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Recorder, "finish", finish_slowly)
    await bench.up()
    if ending == "by Zoom":
        await bench.stop()
    else:
        monkeypatch.setattr("rtmsd.streams.drivers.messages.MessageWriter.write", stumble)
    await bench.until(lambda: bench.supervisor.streams[STREAM].outcome)
    assert await is_refused(backend.stop)
    assert await is_refused(backend.reconnect)
    finished.set()
    await bench.until_gone()
