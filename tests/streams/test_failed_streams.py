"""Streams that fail are seen: in status, in the metrics, by the doctor, and in the list of those that ended."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from rtmsd.config import AppConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health
from rtmsd.errors import StorageError
from rtmsd.sinks.hub import LiveHub
from rtmsd.streams import running
from rtmsd.streams.lost import RECENT_MS
from rtmsd.streams.running import local_ms
from rtmsd.zoom_api import ZoomApi
from tests.streams.harness import Bench, open_bench
from tests.streams.zoom import HOST

APPS = tuple(
    AppConfig(name=name, client_id=name, client_secret=name, webhook_secrets=(name,)) for name in ("main", "other")
)
EVIL = "rtms.evil.test"
BAD_SIGNATURE = 3


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch, apps=APPS) as opened:
        yield opened


@attrs.frozen
class Desk:
    """The daemon as somebody sees it from outside."""

    backend: Backend

    def trouble(self) -> str:
        """The words of status on failed streams; "" for nothing."""
        self.backend.health.look()
        found = [each["detail"] for each in self.backend.status()["degraded"] if each["code"] == "streams_failed"]
        return "".join(found)

    def counted(self) -> dict[str, int]:
        lines = self.backend.metrics().decode().splitlines()
        ended = (line for line in lines if line.startswith("rtmsd_streams_ended_total"))
        return {
            f"{parts[3]} {parts[1]}": int(float(line.split()[-1]))
            for line in ended
            for parts in [line.split('"')]
            if not line.endswith(" 0.0")
        }


def no_stop(*, end_streams: bool) -> None:
    raise AssertionError("nobody asked for it")


@pytest.fixture
def desk(bench: Bench) -> Desk:
    health = Health(bench.supervisor.config, bench.supervisor, bench.writers)
    return Desk(
        Backend(bench.directory / "c.toml", bench.supervisor, health, ZoomApi(), events=LiveHub(), stop=no_stop)
    )


async def fail(bench: Bench, rtms_stream_id: str, app: str = "main", host: str = EVIL) -> None:
    await bench.start(rtms_stream_id, host=host, app=app)
    await bench.until_gone(rtms_stream_id)


async def test_a_stream_that_failed_degrades_for_an_hour_and_until_another_one_connects(
    bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.trouble() == ""
    await fail(bench, "one")
    await fail(bench, "two")
    trouble = desk.trouble()
    assert "2 of app 'main'" in trouble
    assert "two" in trouble
    assert EVIL in trouble
    await bench.start("three", app="other")
    await bench.until_up(rtms_stream_id="three")
    assert desk.trouble() == trouble, "another app's success says nothing"
    await bench.start("four", app="main")
    await bench.until_up(rtms_stream_id="four")
    assert "since one last connected" not in desk.trouble()
    assert "2 failed in the last hour, the latest (two)" in desk.trouble()
    monkeypatch.setattr(bench.supervisor.lost, "_local_ms", lambda: local_ms() + RECENT_MS + 1)
    assert desk.trouble() == ""


async def test_a_stream_that_connects_again_says_nothing_of_new_ones(bench: Bench, desk: Desk) -> None:
    await bench.start("old", app="main")
    await bench.until_up(rtms_stream_id="old")
    await fail(bench, "new")
    bench.stream("old").reconnect()
    await bench.until(lambda: len(bench.zoom.hellos("signaling")) == 2)
    await bench.until_up(rtms_stream_id="old")
    assert "new" in desk.trouble()


async def test_streams_that_never_connect_are_seen_although_zoom_ends_them(bench: Bench, desk: Desk) -> None:
    bench.zoom.down.add(HOST)
    await fail(bench, "one", host=HOST)
    assert bench.manifest("one")["state"] == "ended"
    assert "one" in desk.trouble()


async def test_a_wrong_secret_is_seen(bench: Bench, desk: Desk) -> None:
    bench.zoom.always["signaling"] = BAD_SIGNATURE
    await fail(bench, "one", host=HOST)
    assert f"status {BAD_SIGNATURE}" in desk.trouble()
    (found,) = [each for each in await desk.backend.doctor() if each["check"] == "streams"]
    assert found["ok"] is False
    assert "rtmsctl inspect" in found["mend"]


async def test_ends_are_counted_by_state(bench: Bench, desk: Desk) -> None:
    assert desk.counted() == {}
    await fail(bench, "one")
    for name, reason in (("two", 6), ("three", 8)):
        await bench.start(name, app="main")
        await bench.until_up(rtms_stream_id=name)
        await bench.stop(reason, name)
        await bench.until_gone(name)
    assert desk.counted() == {"failed none": 1, "ended meeting_ended": 1, "revoked stream_revoked": 1}
    assert desk.backend.status()["totals"]["ended"] == {"failed": 1, "ended": 1, "revoked": 1}


async def test_a_stream_whose_files_cannot_be_opened_is_listed_as_failed(
    bench: Bench, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise StorageError("the directory cannot be read")

    monkeypatch.setattr(running, "open_recorder", refuse)
    await bench.start("one", app="main")
    await bench.until(lambda: not bench.supervisor.streams)
    (listed,) = desk.backend.streams(include_ended=True)
    assert (listed["rtms_stream_id"], listed["state"], listed["why"]) == (
        "one",
        "failed",
        "the directory cannot be read",
    )
