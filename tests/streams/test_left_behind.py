"""A daemon was killed between the journal and the files: what becomes of streams that were over by then."""

from pathlib import Path

import attrs
import pytest

from rtmsd.commands import StartStream, StopStream
from rtmsd.state.journal import LocalJournal
from tests.streams.harness import SESSION, STREAM, Bench, at_once, config, open_bench
from tests.streams.zoom import HOST, T0, zoom_ms

REVOKED = 8
STARTED = StartStream(
    product="session",
    session=SESSION,
    rtms_stream_id=STREAM,
    server_urls=f"ws://{HOST}/signaling",
    app="main",
    event_ts=T0,
)


def stopped(reason: int) -> StopStream:
    return StopStream(
        product="session", session=SESSION, rtms_stream_id=STREAM, app="main", event_ts=T0 + 5000, stop_reason=reason
    )


async def leave(directory: Path, *commands: StartStream | StopStream) -> None:
    """Be killed when these were journalled, and nothing else was done."""
    journal = await LocalJournal.open(config(directory).state.file, run_sync=at_once, clock_ms=zoom_ms)
    for command in commands:
        await journal.record(command)
    await journal.aclose()


async def all_over(bench: Bench) -> None:
    await bench.until(lambda: not bench.supervisor.streams)
    assert not bench.zoom.dialled
    assert await bench.journal.unfinished() == []


async def test_a_stream_that_left_nothing_but_its_webhooks_is_shown_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave(tmp_path, STARTED, stopped(6))
    async with open_bench(tmp_path, monkeypatch) as bench:
        await all_over(bench)
        await bench.until_gone()  # with files that are explained
        manifest = bench.manifest()
        assert (manifest["state"], manifest["ended_ms"], manifest["stop_reason"]) == ("ended", T0 + 5000, 6)
        missing = {(gap["media"], gap["from_ms"], gap["to_ms"], gap["cause"]) for gap in manifest["gaps"]}
        assert missing == {(media, T0, T0 + 5000, "daemon_restart") for media in ("audio", "transcript")}


@pytest.mark.parametrize("commands", [(STARTED, stopped(REVOKED)), (stopped(6),), (stopped(REVOKED),)])
async def test_nothing_is_shown_of_one_that_was_revoked_or_never_taken_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: tuple[StartStream | StopStream, ...]
) -> None:
    await leave(tmp_path, *commands)
    async with open_bench(tmp_path, monkeypatch) as bench:
        await all_over(bench)
        assert list(bench.directory.glob("recordings/*/*")) == []


async def test_of_a_stream_that_was_started_again_only_the_time_since_then_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour_ms = 3_600_000
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.up()
        await bench.stop(6)
        await bench.until_gone()
        ended_ms = bench.manifest()["ended_ms"]
    again = attrs.evolve(STARTED, event_ts=T0 + hour_ms)
    stop = attrs.evolve(stopped(6), event_ts=T0 + hour_ms + 5000)
    await leave(tmp_path, again, stop)
    async with open_bench(tmp_path, monkeypatch) as bench:
        await all_over(bench)
        manifest = bench.manifest()
        missing = {(gap["media"], gap["from_ms"], gap["to_ms"]) for gap in manifest["gaps"]}
        assert missing == {(media, T0 + hour_ms, T0 + hour_ms + 5000) for media in ("audio", "transcript")}
        assert [(pause["from_ms"], pause["to_ms"]) for pause in manifest["pauses"]] == [(ended_ms, T0 + hour_ms)]
