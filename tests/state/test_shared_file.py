"""One state file and several real processes: they take turns, and follow the file when it is written anew."""

import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from rtmsd.commands import Verdict
from rtmsd.errors import AlreadyRunningError, StorageError
from rtmsd.state.journal import LocalJournal
from tests.state.beside import AT_ONCE, Beside, open_beside
from tests.state.commands import start, stop

DONE = ("new", "duplicate", "late")


def copy(path: Path, to: Path) -> None:
    """Copy in another process: closing a file takes away the locks of this one on it."""
    subprocess.run(["cp", path, to], check=True)


def remove(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def replace(path: Path) -> None:
    """Put a copy of the file, as a backup has it, in its place."""
    copy(path, path.with_name("backup"))
    path.with_name("backup").replace(path)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name(f"elsewhere-{path.parent.stat().st_ino}"))


def streams_of(path: Path) -> set[str]:
    """What the next start will find."""
    with closing(sqlite3.connect(path)) as db:
        return {name for (name,) in db.execute("SELECT rtms_stream_id FROM stream")}


def listed(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


async def open_shared(directory: Path) -> LocalJournal:
    return await LocalJournal.open(directory / "state" / "state.sqlite", is_shared=True)


async def write_anew(journal: LocalJournal) -> None:
    await journal._transactions.in_turn(journal.database.write_anew)


# Joining


async def test_a_worker_reads_and_writes_what_its_parent_does(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    worker = await LocalJournal.join(parent.path, _inherited(parent))
    assert (parent.is_shared, worker.is_shared) == (True, True)
    assert await parent.record(start(1)) is Verdict.NEW
    assert await worker.record(start(1)) is Verdict.DUPLICATE
    assert await worker.record(stop(1)) is Verdict.NEW
    assert (await parent.known("stream-1")).row == (await worker.known("stream-1")).row
    await worker.aclose()
    assert await parent.record(start(2)) is Verdict.NEW
    await parent.aclose()


def _inherited(journal: LocalJournal) -> list[int]:
    """As after a fork: descriptors of the same open files."""
    return [os.dup(descriptor) for descriptor in journal.lock_descriptors]


@pytest.mark.parametrize("take_away", [remove, remove_log, move_directory])
async def test_a_worker_makes_no_file_of_its_own(tmp_path: Path, take_away: Callable[[Path], None]) -> None:
    parent = await open_shared(tmp_path)
    path = parent.path
    await parent.record(start(1))
    take_away(path)
    there = listed(tmp_path)
    with pytest.raises(StorageError, match=r"state\.file: "):
        await LocalJournal.join(path, _inherited(parent))
    assert listed(tmp_path) == there
    await write_anew(parent)
    worker = await LocalJournal.join(path, _inherited(parent))
    assert await worker.record(start(1)) is Verdict.DUPLICATE
    await worker.aclose()
    await parent.aclose()


async def test_a_worker_of_another_version_says_so(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    await parent.transact(lambda db: db.execute("PRAGMA user_version = 1"))
    with pytest.raises(StorageError, match=r"version 1, .* restart the daemon"):
        await LocalJournal.join(parent.path, _inherited(parent))
    await parent.aclose()


async def test_a_worker_keeps_another_daemon_out_when_its_parent_is_gone(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    async with open_beside(parent, "--name=a", "--streams=1"):
        await parent.aclose()
        with pytest.raises(AlreadyRunningError):
            await open_shared(tmp_path)
    await (await open_shared(tmp_path)).aclose()


# Taking turns


async def test_of_the_same_webhooks_to_several_processes_one_is_new(tmp_path: Path) -> None:
    streams = 100
    parent = await open_shared(tmp_path)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(open_beside(parent, f"--streams={streams}", f"--seed={number}"))
            for number in range(4)
        ]
        for worker in workers:
            await worker.until(streams, *DONE)
    verdicts = Counter((name, result) for worker in workers for name, result in worker.said if result in DONE)
    assert verdicts == {
        (f"stream-{number}", result): times
        for number in range(streams)
        for result, times in (("new", 1), ("duplicate", 3))
    }
    assert len(await parent.unfinished()) == streams
    await parent.aclose()


# Taken away, and written anew


async def test_what_any_process_acknowledged_is_in_the_file_that_was_written_anew(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    path = parent.path
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(open_beside(parent, f"--name={name}", "--streams=100000", "--pace=0.005"))
            for name in ("a", "b", "c")
        ]
        for take_away in (remove, remove_log, replace, move_directory):
            await _all(workers, 10, *DONE)
            take_away(path)
            await _all(workers, 3, "refused")  # starts: the next process would not know of them
            await _all(workers, 10, "new")  # stops
            await write_anew(parent)
            await _all(workers, 2 * AT_ONCE, *DONE)
            assert all("refused" not in dict(worker.said[-AT_ONCE:]).values() for worker in workers)
            if take_away is replace:
                killed = workers.pop()
                killed.process.kill()
    accepted = {name for worker in (*workers, killed) for name in worker.ids(*DONE)}
    assert accepted <= streams_of(path)
    assert not [name for worker in workers for name in worker.ids("refused_stop")]
    await parent.aclose()
    successor = await open_shared(tmp_path)
    assert successor.set_aside is None
    assert accepted <= streams_of(path)
    await successor.aclose()


async def _all(workers: list[Beside], number: int, *results: str) -> None:
    for worker in workers:
        await worker.more(number, *results)


async def test_processes_go_on_in_the_old_file_when_it_cannot_be_written_anew(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    path = parent.path
    worker = await LocalJournal.join(path, _inherited(parent))
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written anew"):
        await write_anew(parent)
    assert await worker.record(stop(1)) is Verdict.NEW
    path.parent.unlink()
    await write_anew(parent)
    assert await worker.record(stop(1)) is Verdict.DUPLICATE
    assert worker.database.loss() is None
    await worker.aclose()
    await parent.aclose()
    assert streams_of(path) == {"stream-1"}


async def test_a_worker_that_slept_follows_across_several_files_and_takes_no_backup_for_one(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    path = parent.path
    worker = await LocalJournal.join(path, _inherited(parent))
    await parent.record(start(1))
    copy(path, tmp_path / "backup")
    for _ in range(2):
        remove(path)
        await write_anew(parent)
    copy(path, tmp_path / "newest")
    (tmp_path / "backup").replace(path)
    assert "another" in (worker.database.loss() or "")
    (tmp_path / "newest").replace(path)
    await write_anew(parent)
    assert await worker.record(start(1)) is Verdict.DUPLICATE
    assert await worker.record(start(2)) is Verdict.NEW
    await worker.aclose()
    await parent.aclose()
    assert streams_of(path) == {"stream-1", "stream-2"}


async def test_a_file_that_was_left_behind_can_be_put_back(tmp_path: Path) -> None:
    parent = await open_shared(tmp_path)
    path = parent.path
    await parent.record(start(1))
    worker = await LocalJournal.join(path, _inherited(parent))
    path.rename(tmp_path / "moved")
    await write_anew(parent)
    assert await worker.record(start(2)) is Verdict.NEW
    await worker.aclose()
    await parent.aclose()
    (tmp_path / "moved").replace(path)
    again = await open_shared(tmp_path)
    worker = await LocalJournal.join(path, _inherited(again))
    assert await worker.record(start(2)) is Verdict.NEW
    await worker.aclose()
    await again.aclose()


async def test_a_worker_leaves_it_to_its_parent_to_write_the_file_anew(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def at_once(sync_fn: Callable[[], object]) -> object:
        await trio.lowlevel.checkpoint()
        return sync_fn()

    path = tmp_path / "state.sqlite"
    parent = await LocalJournal.open(path, is_shared=True, run_sync=at_once)
    worker = await LocalJournal.join(path, _inherited(parent), run_sync=at_once)
    nursery.start_soon(worker.look_after_file)
    path.unlink()
    await trio.sleep(60)
    assert not path.exists()
    assert "new streams are refused" in (worker.trouble or "")
    await write_anew(parent)
    await trio.sleep(2)
    assert worker.trouble is None, "although nothing was written"
    nursery.cancel_scope.cancel()
    worker.database.close()
    parent.database.close()
