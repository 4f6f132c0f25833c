"""Recordings that several processes share: none is deleted while it is open in one of them, whoever comes first."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.config.model import RecordingConfig
from rtmsd.errors import StorageError
from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.library import librarian as librarian_module
from rtmsd.recording.library import sharing
from rtmsd.recording.library.catalog import erase, set_aside
from rtmsd.recording.library.librarian import Librarian, RecordingInUse
from rtmsd.recording.library.sharing import SharedRecordings
from rtmsd.state.file.transactions import RunSync
from rtmsd.state.journal import LocalJournal
from tests.recording.test_librarian import NOW_MS, record
from tests.state.commands import start, stop
from tests.streams.harness import at_once

STREAM = "stream-1"


@attrs.frozen
class Process:
    """The part of one process: its journal, its librarian, and the streams that live in it."""

    journal: LocalJournal
    librarian: Librarian
    sharing: SharedRecordings
    live: list[str]


def process(root: Path, journal: LocalJournal, name: str) -> Process:
    live: list[str] = []
    shared = SharedRecordings(journal, name)
    return Process(journal, Librarian([root], lambda: live, sharing=shared, now_ms=lambda: NOW_MS), shared, live)


@asynccontextmanager
async def open_processes(root: Path, run_sync: RunSync | None = None) -> AsyncIterator[tuple[Process, Process]]:
    """A parent and a worker, each with a connection of its own to the state file."""
    path = root / "state.sqlite"
    parent = await LocalJournal.open(path, is_shared=True, run_sync=run_sync)
    descriptors = [os.dup(each) for each in parent.lock_descriptors]
    worker = await LocalJournal.join(path, descriptors, run_sync=run_sync)
    try:
        yield process(root, parent, "parent"), process(root, worker, "worker")
    finally:
        worker.database.close()
        parent.database.close()


def there(root: Path) -> bool:
    return stream_directory(root, NOW_MS, STREAM).is_dir()


async def test_what_another_process_records_is_not_deleted(tmp_path: Path) -> None:
    record(tmp_path, STREAM, age_days=0)
    async with open_processes(tmp_path) as (parent, worker):
        await worker.journal.record(start(1))
        with pytest.raises(RecordingInUse, match="another process"):
            await parent.librarian.remove(STREAM)
        await worker.journal.record(stop(1))
        with pytest.raises(RecordingInUse):  # its files are not finished
            await parent.librarian.remove(STREAM)
        await worker.journal.close_stream(STREAM, reason=6, ended_ms=2)
        await parent.librarian.remove(STREAM)
    assert not there(tmp_path)


async def test_open_streams_count_as_used_and_stay_when_others_have_to_go(tmp_path: Path) -> None:
    for number, days in ((1, 3), (2, 2), (3, 1)):
        record(tmp_path, f"stream-{number}", age_days=days)
    async with open_processes(tmp_path) as (parent, worker):
        await worker.journal.record(start(1))
        one = max(each.bytes for each in await parent.librarian.recordings())
        await parent.librarian.tidy(tmp_path, RecordingConfig(keep_bytes=2 * one))
        assert [each.name for each in await parent.librarian.recordings()] == ["stream-1", "stream-3"]


async def test_a_stream_waits_in_another_process_until_the_recording_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path, STREAM)
    opened: list[bool] = []
    async with open_processes(tmp_path) as (parent, worker):

        async def comes_back() -> None:
            assert (await worker.journal.record(start(1))).value == "new"
            begun.set()
            await worker.librarian.wait_free(STREAM)
            opened.append(there(tmp_path))

        begun = trio.Event()

        def set_aside_late(directory: Path) -> Path:
            trio.from_thread.run_sync(nursery.start_soon, comes_back)
            trio.from_thread.run(begun.wait)
            trio.from_thread.run(trio.sleep, 3 * sharing._LOOK_EVERY_S)
            assert opened == []
            return set_aside(directory)

        monkeypatch.setattr(librarian_module, "set_aside", set_aside_late)
        async with trio.open_nursery() as nursery:
            await parent.librarian.remove(STREAM)
        assert opened == [False]


@pytest.mark.parametrize("how", ["its parent says so", "all start anew"])
async def test_the_deletion_of_a_dead_process_blocks_nobody(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock, how: str
) -> None:
    async with open_processes(tmp_path, run_sync=at_once) as (parent, worker):
        assert await worker.sharing.begin(STREAM)  # and not a step further
        assert not await parent.sharing.begin(STREAM), "two processes do not delete the same"
        waits = trio.Event()

        async def wait() -> None:
            await parent.librarian.wait_free(STREAM)
            waits.set()

        nursery.start_soon(wait)
        await trio.sleep(60)
        assert not waits.is_set()
        await parent.sharing.forget("another")
        await trio.sleep(1)
        assert not waits.is_set()
        if how == "its parent says so":
            await parent.sharing.forget("worker")
            await waits.wait()
    if how == "all start anew":
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            async with open_processes(tmp_path, run_sync=at_once) as (parent, worker):
                await worker.librarian.wait_free(STREAM)


async def test_a_deletion_that_fails_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, STREAM)

    def refuse(directory: Path) -> Path:
        raise OSError(30, "Read-only file system")

    async with open_processes(tmp_path) as (parent, worker):
        monkeypatch.setattr(librarian_module, "set_aside", refuse)
        with pytest.raises(StorageError, match="Read-only"):
            await parent.librarian.remove(STREAM)
        await worker.librarian.wait_free(STREAM)
    assert there(tmp_path)


async def test_a_state_file_that_refuses_is_told_later_of_the_end_and_holds_up_no_stream(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with open_processes(tmp_path, run_sync=at_once) as (parent, worker):
        assert await worker.sharing.begin(STREAM)
        for process in (parent, worker):
            process.journal.database._connection.execute("PRAGMA query_only = 1")
        nursery.start_soon(worker.sharing.end, STREAM)
        await trio.sleep(30)
        with pytest.raises(StorageError):
            await parent.sharing.begin("another")
        worker.journal.database._connection.execute("PRAGMA query_only = 0")
        await trio.sleep(2)
        await worker.librarian.wait_free(STREAM)
        await wait_all_tasks_blocked()
        worker.journal.database._connection.close()
        await worker.librarian.wait_free(STREAM)  # cannot be read: go on


async def test_streams_and_deletions_in_any_order_never_meet(tmp_path: Path) -> None:
    """A worker opens and closes the recording again and again, while its parent deletes what it can."""
    directory = stream_directory(tmp_path, NOW_MS, STREAM)
    deleted = kept = 0
    async with open_processes(tmp_path) as (parent, worker):

        async def stream() -> None:
            for number in range(1, 60):
                at_ms = 10_000 * number
                await worker.journal.record(attrs.evolve(start(1), event_ts=at_ms))
                worker.live.append(STREAM)
                await worker.librarian.wait_free(STREAM)
                await trio.to_thread.run_sync(record, tmp_path, STREAM) if not there(tmp_path) else None
                (directory / "open").touch()
                await trio.sleep(0.002)
                assert (directory / "open").exists(), "it was deleted while it was open"
                (directory / "open").unlink()
                await worker.journal.close_stream(STREAM, reason=6, ended_ms=at_ms + 1)
                worker.live.clear()
                await trio.sleep(0.002)
            nursery.cancel_scope.cancel()

        async def delete() -> None:
            nonlocal deleted, kept
            while True:
                try:
                    await parent.librarian.remove(STREAM)
                    deleted += 1
                except RecordingInUse:
                    kept += 1
                except librarian_module.NoSuchRecording:
                    await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream)
            nursery.start_soon(delete)
    assert deleted
    assert kept


def test_two_that_erase_the_same_are_both_done(tmp_path: Path) -> None:
    errors: list[OSError] = []

    def run(leftover: Path) -> None:
        try:
            erase(leftover)
        except OSError as error:
            errors.append(error)

    for _ in range(20):
        directory = record(tmp_path, STREAM, size_bytes=10)
        for number in range(50):
            (directory / "audio" / f"{number}.wav").touch()
        leftover = set_aside(directory)
        threads = [threading.Thread(target=run, args=[leftover]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not leftover.exists()
    assert errors == []
