"""The effects of streams on deliveries: their ends, revocations, lives after, and what keeps their recordings."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from rtmsd.config import ExecConfig
from rtmsd.recording.library.librarian import Librarian
from rtmsd.sinks.base import MANIFEST, Recording, Refused
from rtmsd.state.deliveries import DeliveryEvent, DeliveryState
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import T0, zoom_ms

REVOKED = 8
DYING_S = 1.0  # for a program to be gone
FINISHED = DeliveryEvent.FINISHED


class Watcher:
    """A sink that writes down what it is given.

    Attributes:
        given: event and state of the manifest.
        left: what was there when a delivery was cut short.
        hold: deliveries of finished recordings wait.
    """

    def __init__(self) -> None:
        self.config = ExecConfig(name="after", kind="exec", command=("/bin/true",))
        self.given: list[tuple[str, str]] = []
        self.left: list[set[str]] = []
        self.hold = False
        self.error: Exception | None = None

    async def deliver(self, recording: Recording) -> None:
        self.given.append((recording.event.value, json.loads(recording.manifest())["state"]))
        try:
            if self.hold and recording.event is FINISHED:
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(DYING_S if self.hold else 0)
            self.left.append({path.name for path in recording.directory.iterdir()})
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def delivering(directory: Path, monkeypatch: pytest.MonkeyPatch, watcher: Watcher) -> AsyncIterator[Bench]:
    async with open_bench(directory, monkeypatch) as bench, trio.open_nursery() as nursery:
        bench.supervisor.deliveries.configure({"after": watcher})
        nursery.start_soon(bench.supervisor.deliveries.run)
        yield bench
        nursery.cancel_scope.cancel()


@pytest.fixture
async def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watcher: Watcher) -> AsyncIterator[Bench]:
    async with delivering(tmp_path, monkeypatch, watcher) as bench:
        yield bench


async def end(bench: Bench, reason: int = 6) -> None:
    await bench.stop(reason)
    await bench.until_gone()


async def test_a_recording_is_delivered_when_its_files_are_finished(bench: Bench, watcher: Watcher) -> None:
    await bench.up()
    await trio.sleep(5)
    assert watcher.given == []
    await end(bench)
    await bench.until(lambda: watcher.given)
    assert watcher.given == [("finished", "ended")]


async def test_a_failed_stream_that_was_recorded_is_delivered_too(bench: Bench, watcher: Watcher) -> None:
    bench.zoom.always["signaling"] = 3  # our credentials
    await bench.start()
    await bench.until_gone()
    await bench.until(lambda: watcher.given)
    assert watcher.given == [("finished", "failed")]


async def test_a_stop_of_a_stream_that_was_never_recorded_delivers_nothing(bench: Bench, watcher: Watcher) -> None:
    await bench.stop()
    await bench.until(lambda: STREAM not in bench.supervisor.streams)
    assert await bench.supervisor.deliveries.listed() == []


async def test_a_revocation_kills_what_runs_before_anything_is_deleted(bench: Bench, watcher: Watcher) -> None:
    watcher.hold = True
    await bench.up()
    await end(bench)
    await bench.until(lambda: watcher.given)
    await bench.stop(REVOKED)
    await bench.until(lambda: len(watcher.left) == 2)
    assert watcher.given == [("finished", "ended"), ("revoked", "revoked")]
    assert "events.jsonl" in watcher.left[0]
    assert watcher.left[1] == {MANIFEST}


async def test_a_live_stream_that_is_revoked_was_never_delivered(bench: Bench, watcher: Watcher) -> None:
    await bench.up()
    await end(bench, REVOKED)
    await trio.sleep(1)
    assert (watcher.given, await bench.supervisor.deliveries.listed()) == ([], [])


async def test_a_revocation_leaves_no_word_of_a_program_in_the_state_file(
    bench: Bench, watcher: Watcher, tmp_path: Path
) -> None:
    watcher.error = Refused("no", "a name that it printed")
    await bench.up()
    await end(bench)
    await bench.until(lambda: watcher.given)
    watcher.error = None
    await end(bench, REVOKED)
    await bench.until(lambda: len(watcher.given) == 2)
    files = b"".join((tmp_path / name).read_bytes() for name in ("state.sqlite", "state.sqlite-wal"))
    (row,) = await bench.supervisor.deliveries.listed()
    assert row.event is DeliveryEvent.REVOKED
    assert b"a name that it printed" not in files


async def test_a_reopened_recording_is_delivered_again_when_it_ends(bench: Bench, watcher: Watcher) -> None:
    watcher.error = Refused("no")
    await bench.up()
    await end(bench)
    await bench.until(lambda: watcher.given)
    await bench.start(event_ts=zoom_ms() + 1000)
    await bench.until_up()
    await bench.supervisor.deliveries.replay(1)
    await trio.sleep(5)
    assert len(watcher.given) == 1  # held back: the stream lives
    watcher.error = None
    await end(bench)
    await bench.until(lambda: len(watcher.given) == 2)
    await trio.sleep(5)
    assert watcher.given == [("finished", "ended")] * 2
    (row,) = await bench.supervisor.deliveries.listed()
    assert row.state is DeliveryState.DONE


async def test_a_start_during_a_revocation_takes_nothing_from_it(bench: Bench, watcher: Watcher) -> None:
    await bench.up()
    await end(bench)
    await bench.until(lambda: watcher.given)
    watcher.hold = True
    await trio.sleep(5)
    await bench.start()
    await bench.until_up()
    await end(bench)
    await bench.until(lambda: len(watcher.given) == 2)
    await trio.sleep(5)
    await bench.stop(REVOKED)
    await trio.sleep(DYING_S / 2)
    await bench.start(event_ts=zoom_ms() + 1)
    await bench.until_up()
    await bench.until(lambda: len(watcher.given) == 3)
    watcher.hold = False
    await end(bench)
    await bench.until(lambda: len(watcher.given) == 4)
    assert [event for event, _ in watcher.given] == ["finished", "finished", "revoked", "finished"]


async def test_a_revocation_that_a_kill_cut_short_is_delivered_after_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watcher: Watcher
) -> None:
    watcher.hold = True
    async with delivering(tmp_path, monkeypatch, watcher) as bench:
        await bench.up()
        await end(bench)
        await bench.until(lambda: watcher.given)
        await bench.journal.revoke(STREAM, stopped_ms=zoom_ms(), event_ts=zoom_ms())
    async with delivering(tmp_path, monkeypatch, watcher) as bench:
        await bench.until(lambda: len(watcher.given) == 2)
    assert watcher.given == [("finished", "ended"), ("revoked", "revoked")]


async def test_no_limit_removes_what_is_still_to_be_delivered(tmp_path: Path) -> None:
    directory = tmp_path / "2026-01-01" / "a%2Bb"
    directory.mkdir(parents=True)
    manifest = {"version": 1, "rtms_stream_id": "a+b", "state": "ended", "started_ms": T0, "ended_ms": T0, "files": []}
    (directory / MANIFEST).write_text(json.dumps(manifest))
    wanted = {"a+b"}

    async def wanted_now() -> set[str]:
        return wanted

    class Rules:
        keep_days = 1
        keep_bytes = 1

    librarian = Librarian([tmp_path], lambda: (), wanted=wanted_now, now_ms=lambda: T0 + 10**12)
    await librarian.tidy(tmp_path, Rules)
    assert directory.exists()
    wanted.clear()
    await librarian.tidy(tmp_path, Rules)
    assert not directory.exists()
