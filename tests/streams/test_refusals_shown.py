"""Media that were refused are seen from outside: in status, by the doctor, of ended streams and after a restart."""

from pathlib import Path

import pytest
import trio

from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health
from rtmsd.sinks.hub import LiveHub
from rtmsd.zoom_api import ZoomApi
from tests.streams.harness import STREAM, Bench, at_once, open_bench

NO_SCOPE = 12


def no_stop(*, end_streams: bool) -> None:
    raise AssertionError("nobody asked for it")


def desk(bench: Bench) -> Backend:
    """The daemon as somebody sees it from outside."""
    health = Health(bench.supervisor.config, bench.supervisor, bench.writers)
    return Backend(bench.directory / "c.toml", bench.supervisor, health, ZoomApi(), events=LiveHub(), stop=no_stop)


def trouble(backend: Backend) -> str:
    backend.health.look()
    return "".join(each["detail"] for each in backend.status()["degraded"] if each["code"] == "media_refused")


async def scopes(backend: Backend) -> tuple[bool | None, str]:
    [found] = [each for each in await backend.doctor() if each["check"] == "scopes"]
    return found["ok"], found["detail"]


async def test_status_is_degraded_until_the_medium_is_granted(bench: Bench) -> None:
    backend = desk(bench)
    bench.zoom.always["transcript"] = NO_SCOPE
    await bench.start("one")
    await bench.until_up(1, "one")
    assert trouble(backend).startswith("asked for and not granted: transcript of app 'main', latest in one: status 12")
    [described] = backend.streams(include_ended=False)
    assert described["media"]["transcript"]["refused"]["status"] == NO_SCOPE
    await bench.stop(rtms_stream_id="one")
    await bench.until_gone("one")
    assert "transcript" in trouble(backend)
    [described] = backend.streams(include_ended=True)
    assert described["media"]["transcript"]["refused"]["status"] == NO_SCOPE
    assert backend.stream("one")["media"]["transcript"]["granted"] is None
    bench.zoom.always.clear()
    await bench.start("two")
    await bench.until_up(2, "two")
    assert trouble(backend) == ""


async def test_the_doctor_knows_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recordings show it: no process lives for ever."""
    async with open_bench(tmp_path, monkeypatch) as first:
        first.zoom.always["transcript"] = NO_SCOPE
        await first.start()
        await first.until_up(1)
        await trio.sleep(5)
        await first.stop()
        await first.until_gone()
    async with open_bench(tmp_path, monkeypatch) as second:
        monkeypatch.setattr(second.supervisor.librarian, "_run_sync", {tmp_path / "recordings": at_once})
        ok, detail = await scopes(desk(second))
        assert ok is False
        assert f"transcript of app 'main', in {STREAM}: status 12" in detail
