"""The journal on a real file: durability, sharing of transactions, and its errors when the disk refuses."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.commands import Verdict
from rtmsd.errors import AlreadyRunningError, StorageError
from rtmsd.state.file import transactions
from rtmsd.state.file.schema import MIGRATIONS
from rtmsd.state.journal import KEEP_MS, PRUNE_EVERY_S, LocalJournal
from tests.state.commands import start, stop

# The tables of version 1, written out a second time: a file that an older rtmsd left must open for ever.
VERSION_1 = """
CREATE TABLE delivery (event TEXT NOT NULL, event_ts INTEGER NOT NULL, session_id TEXT NOT NULL,
    rtms_stream_id TEXT NOT NULL, received_ms INTEGER NOT NULL,
    PRIMARY KEY (rtms_stream_id, event, event_ts, session_id)) WITHOUT ROWID;
CREATE TABLE stream (rtms_stream_id TEXT PRIMARY KEY, product TEXT NOT NULL, id_key TEXT NOT NULL,
    session_id TEXT NOT NULL, app TEXT NOT NULL, server_urls TEXT, started_ms INTEGER, event_ts INTEGER NOT NULL,
    stop_reason INTEGER, stopped_ms INTEGER, closed_ms INTEGER) WITHOUT ROWID;
CREATE INDEX delivery_received ON delivery (received_ms);
INSERT INTO delivery VALUES ('session.rtms_started', 1, 's', 'stream-1', 9999999999999);
INSERT INTO stream VALUES ('stream-1', 'session', 'session_id', 's', 'main', 'wss://x', 1, 1, NULL, NULL, NULL);
PRAGMA user_version = 1;
"""


@attrs.define
class Disk:
    """Runs in place; counts, and can hang."""

    runs: int = 0
    works: trio.Event = attrs.field(factory=trio.Event)

    async def run_sync(self, sync_fn: Callable[[], Any]) -> Any:
        self.runs += 1
        await self.works.wait()
        return sync_fn()


async def test_records_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "made" / "too" / "state.sqlite"
    journal = await LocalJournal.open(path)
    assert await journal.record(start(1)) is Verdict.NEW
    assert await journal.record(start(2)) is Verdict.NEW
    assert await journal.record(stop(2)) is Verdict.NEW
    rows = await journal.unfinished()
    await journal.aclose()
    journal = await LocalJournal.open(path)
    assert await journal.unfinished() == rows
    assert await journal.record(start(1)) is Verdict.DUPLICATE
    await journal.close_stream("stream-2", reason=6, ended_ms=1002)
    assert [row.rtms_stream_id for row in await journal.unfinished()] == ["stream-1"]
    await journal.aclose()


async def test_records_survive_sigkill_and_the_lock_does_not(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    program = f"""
import trio
from pathlib import Path
from rtmsd.state.journal import LocalJournal
from tests.state.commands import start

async def main():
    journal = await LocalJournal.open(Path({str(path)!r}))
    for number in range(20):
        await journal.record(start(number))
    print("recorded\\n", end="", flush=True)
    await trio.sleep_forever()

trio.run(main)
"""
    process = await trio.lowlevel.open_process([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with process.stdout as output:
        assert await output.receive_some() == b"recorded\n"
        with pytest.raises(AlreadyRunningError, match=str(process.pid)):
            await LocalJournal.open(path)
        process.kill()
        await process.wait()
    journal = await LocalJournal.open(path)
    assert len(await journal.unfinished()) == 20
    await journal.aclose()


async def test_every_commit_is_synced(tmp_path: Path) -> None:
    journal = await LocalJournal.open(tmp_path / "state.sqlite")
    settings = await journal.transact(
        lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    )
    assert settings == ["wal", 2]
    await journal.aclose()


async def test_callers_that_come_while_the_disk_is_busy_share_a_transaction(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    disk = Disk()
    disk.works.set()
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=disk.run_sync)
    disk.works, disk.runs = trio.Event(), 0
    verdicts: list[Verdict] = []

    async def record(number: int) -> None:
        verdicts.append(await journal.record(start(number % 50)))

    for number in range(100):
        nursery.start_soon(record, number)
    await wait_all_tasks_blocked()
    disk.works.set()
    await wait_all_tasks_blocked()
    assert disk.runs <= 2
    assert (verdicts.count(Verdict.NEW), verdicts.count(Verdict.DUPLICATE)) == (50, 50)
    await journal.aclose()


@pytest.mark.parametrize("cancelled", [1, 2, 4], ids=["the first", "one between", "the last"])
async def test_cancelling_one_caller_leaves_the_others_alone(
    tmp_path: Path, nursery: trio.Nursery, cancelled: int
) -> None:
    disk = Disk()
    disk.works.set()
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=disk.run_sync)
    disk.works = trio.Event()
    scopes = [trio.CancelScope() for _ in range(5)]
    verdicts: list[int] = []

    async def record(number: int) -> None:
        with scopes[number]:
            await journal.record(start(number))
            verdicts.append(number)

    for number in range(5):
        nursery.start_soon(record, number)
        await wait_all_tasks_blocked()
    scopes[0].cancel()  # its transaction runs
    scopes[cancelled].cancel()  # waits for the next
    await wait_all_tasks_blocked()
    disk.works.set()
    await wait_all_tasks_blocked()
    left = [number for number in range(5) if number != cancelled]
    assert sorted(verdicts) == left
    assert [row.rtms_stream_id for row in await journal.unfinished()] == [f"stream-{number}" for number in left]
    await journal.aclose()


async def test_a_hung_disk_does_not_fill_memory(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "MAX_WAITING", 3)
    disk = Disk()
    disk.works.set()
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=disk.run_sync)
    disk.works = trio.Event()
    for number in range(4):  # one in the transaction, three waiting
        nursery.start_soon(journal.record, start(number))
        await wait_all_tasks_blocked()
    with pytest.raises(StorageError, match="too many"):
        await journal.record(start(9))
    disk.works.set()
    await wait_all_tasks_blocked()
    assert await journal.record(start(9)) is Verdict.NEW
    await journal.aclose()


async def test_a_full_disk_is_reported_and_recovers(tmp_path: Path, nursery: trio.Nursery) -> None:
    journal = await LocalJournal.open(tmp_path / "state.sqlite")
    pages = await journal.transact(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await journal.transact(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    big = attrs.evolve(start(1), server_urls="wss://" + "x" * 100_000)
    with pytest.raises(StorageError, match="full"):
        await journal.record(big)
    await journal.transact(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    assert await journal.record(big) is Verdict.NEW  # nothing of the first try stayed
    await journal.aclose()


async def test_a_bug_in_one_work_fails_that_one_alone(tmp_path: Path, nursery: trio.Nursery) -> None:
    disk = Disk()
    disk.works.set()
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=disk.run_sync)
    disk.works = trio.Event()
    verdicts: list[Verdict] = []

    async def record(number: int) -> None:
        verdicts.append(await journal.record(start(number)))

    async def fail() -> None:
        with pytest.raises(ZeroDivisionError):
            await journal.transact(lambda db: 1 // 0)

    for task in (partial(record, 1), partial(record, 2), fail, partial(record, 3)):
        nursery.start_soon(task)
        await wait_all_tasks_blocked()
    disk.works.set()
    await wait_all_tasks_blocked()
    assert verdicts == [Verdict.NEW] * 3
    assert len(await journal.unfinished()) == 3
    await journal.aclose()


async def test_a_failing_thread_is_an_error_for_each_caller(tmp_path: Path, nursery: trio.Nursery) -> None:
    async def no_threads(sync_fn: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    journal = await LocalJournal.open(tmp_path / "state.sqlite")
    journal._transactions._run_sync = no_threads
    errors: list[RuntimeError] = []

    async def record(number: int) -> None:
        try:
            await journal.record(start(number))
        except RuntimeError as exc:
            errors.append(exc)

    for number in range(3):
        nursery.start_soon(record, number)
    with trio.fail_after(60):
        while len(errors) < 3:
            await trio.lowlevel.checkpoint()
    journal.database.close()


async def test_nothing_is_recorded_after_closing(tmp_path: Path) -> None:
    journal = await LocalJournal.open(tmp_path / "state.sqlite")
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(StorageError, match="closed"):
        await journal.record(start())


async def test_the_second_daemon_is_refused_with_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    with pytest.raises(AlreadyRunningError, match=rf"state\.sqlite.* process {os.getpid()}\b"):
        await LocalJournal.open(path)
    assert await journal.record(start()) is Verdict.NEW  # the first is not disturbed
    await journal.aclose()
    await (await LocalJournal.open(path)).aclose()


async def test_the_file_cannot_be_read_by_others(tmp_path: Path) -> None:
    journal = await LocalJournal.open(tmp_path / "state" / "state.sqlite")
    await journal.record(start())
    assert not any(path.stat().st_mode & 0o007 for path in (tmp_path / "state").iterdir())
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o750
    await journal.aclose()


async def test_another_kind_of_file_is_set_aside_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    kept = set()
    for _ in range(2):
        path.write_bytes(b"my diary " * 1000)
        journal = await LocalJournal.open(path)
        aside = journal.set_aside
        assert aside is not None
        kept.add(aside)
        assert aside.name.startswith("state.sqlite.damaged-")
        assert aside.read_bytes() == b"my diary " * 1000
        assert await journal.record(start()) is Verdict.NEW
        await journal.aclose()
    assert len(kept) == 2


async def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        await LocalJournal.open(tmp_path / "file" / "state.sqlite")
    (tmp_path / "state.sqlite").mkdir()
    with pytest.raises(StorageError, match="unable to open"):
        await LocalJournal.open(tmp_path / "state.sqlite")


async def test_a_file_of_version_1_opens(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(VERSION_1)
    db.close()
    journal = await LocalJournal.open(path)
    assert [row.rtms_stream_id for row in await journal.unfinished()] == ["stream-1"]
    assert await journal.record(start(1)) is Verdict.DUPLICATE
    assert await journal.record(start(2)) is Verdict.NEW
    await journal.aclose()


async def test_a_file_of_a_newer_version_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    await (await LocalJournal.open(path)).aclose()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StorageError, match="newer"):
        await LocalJournal.open(path)


async def test_deliveries_and_tombstones_are_kept_for_90_minutes(tmp_path: Path) -> None:
    now_ms = 1_000_000_000
    journal = await LocalJournal.open(tmp_path / "state.sqlite", clock_ms=lambda: now_ms)
    await journal.record(start(1))
    await journal.close_stream("stream-1", reason=6, ended_ms=2)
    await journal.prune(now_ms + KEEP_MS)
    assert await journal.record(start(1)) is Verdict.DUPLICATE
    await journal.prune(now_ms + KEEP_MS + 1)
    assert await journal.record(start(1)) is Verdict.NEW
    await journal.aclose()


async def test_pruning_goes_on_although_the_disk_refuses(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    disk = Disk()
    disk.works.set()
    now_ms = 1_000_000_000
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=disk.run_sync, clock_ms=lambda: now_ms)
    await journal.record(stop(1))
    nursery.start_soon(journal.prune_regularly)
    run_sync = journal._transactions._run_sync

    async def refuse(sync_fn: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        raise StorageError("no")

    journal._transactions._run_sync = refuse
    await trio.sleep(1.5 * PRUNE_EVERY_S)
    journal._transactions._run_sync = run_sync
    now_ms += KEEP_MS + 1
    await trio.sleep(PRUNE_EVERY_S)
    assert await journal.record(stop(1)) is Verdict.NEW
    nursery.cancel_scope.cancel()
    journal.database.close()
