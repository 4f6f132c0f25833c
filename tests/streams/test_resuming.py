"""The order in which a daemon that was killed takes its streams up again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.commands import StartStream
from rtmsd.state.rows import StreamRow
from rtmsd.streams.beginning import row_of
from rtmsd.streams.resuming import longest_out_first
from tests.streams.harness import SESSION, at_once, open_bench
from tests.streams.zoom import T0

NAMES = ("a", "b", "c", "d", "e", "f")


def row(name: str, event_ts: int) -> StreamRow:
    return row_of(
        StartStream(
            product="session",
            session=SESSION,
            rtms_stream_id=name,
            server_urls="ws://rtms1.zoom.test",
            app="main",
            event_ts=event_ts,
        )
    )


def written(root: Path, name: str, at_ms: int) -> None:
    manifest = root / "2026-09-21" / name / "stream.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("{}")
    os.utime(manifest, ns=(at_ms * 10**6, at_ms * 10**6))


async def test_who_has_been_without_media_longest_comes_first(tmp_path: Path) -> None:
    written(tmp_path, "lost", T0 + 10_000)
    written(tmp_path, "live", T0 + 60_000)
    written(tmp_path, "moved", T0 + 5_000)
    rows = [row("live", T0), row("lost", T0 + 1000), row("new", T0 + 30_000), row("moved", T0 + 40_000)]
    ordered = await longest_out_first([tmp_path], rows, at_once)
    assert [each.rtms_stream_id for each in ordered] == ["lost", "new", "moved", "live"]


async def test_a_stuck_disk_holds_up_nobody(tmp_path: Path, autojump_clock: Any) -> None:
    async def stuck(work: Callable[[], Any], **_: Any) -> Any:
        await trio.sleep_forever()

    rows = [row("b", T0), row("a", T0 + 1000)]
    assert await longest_out_first([tmp_path], rows, stuck) == rows


async def test_they_connect_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        for name in NAMES:
            await bench.start(name, host=f"rtms-{name}.zoom.test")
            await bench.until_up(rtms_stream_id=name)
        directories = {name: bench.recording(name) for name in NAMES}
    order = ("d", "a", "f", "b", "e", "c")
    for number, name in enumerate(order):
        at_ns = (T0 + 10**8 + number * 1000) * 10**6
        os.utime(directories[name] / "stream.json", ns=(at_ns, at_ns))
    async with open_bench(tmp_path, monkeypatch) as bench:
        for name in NAMES:
            await bench.until_up(rtms_stream_id=name)
        dialled = [peer.host for peer in bench.zoom.peers if peer.kind == "signaling"]
    assert dialled == [f"rtms-{name}.zoom.test" for name in order]
