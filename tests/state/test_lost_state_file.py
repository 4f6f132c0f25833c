"""A state file that is removed, replaced or damaged: it is noticed, starts are refused, and records are kept."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.commands import Verdict
from rtmsd.errors import AlreadyRunningError, StorageError
from rtmsd.state.journal import WRITE_ANEW_AFTER_S, LocalJournal
from rtmsd.state.lost import Loss, LostStream
from rtmsd.system.lock import LockFile
from tests.state.commands import start, stop


async def run_at_once(sync_fn: Callable[[], object]) -> object:
    await trio.lowlevel.checkpoint()
    return sync_fn()


def names(directory: Path, pattern: str) -> list[str]:
    return [path.name for path in directory.glob(pattern)]


def remove(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"somebody's")
    other.replace(path)


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("take_away", [remove, remove_log, replace, remove_directory, move_directory])
async def test_a_file_that_is_taken_away_is_noticed_and_written_anew(
    tmp_path: Path, take_away: Callable[[Path], None], autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    path = tmp_path / "state" / "state.sqlite"
    journal = await LocalJournal.open(path, run_sync=run_at_once)
    nursery.start_soon(journal.look_after_file)
    for number in (1, 2):
        await journal.record(start(number))
    take_away(path)
    with pytest.raises(StorageError, match=r"removed|replaced"):
        await journal.record(start(3))
    assert await journal.record(stop(2)) is Verdict.NEW  # never refused, and in the new file too
    await trio.sleep(2.5)
    assert "new streams are refused" in (journal.trouble or "")
    await trio.sleep(WRITE_ANEW_AFTER_S)
    assert journal.trouble is None
    assert await journal.record(start(3)) is Verdict.NEW
    if take_away is replace:
        (aside,) = names(path.parent, "state.sqlite.replaced-*")
        assert (path.parent / aside).read_bytes() == b"somebody's"

    with sqlite3.connect(path) as other:  # as the next start will find it
        rows = dict(other.execute("SELECT rtms_stream_id, stopped_ms FROM stream"))
    other.close()
    assert rows == {"stream-1": None, "stream-2": 1002, "stream-3": None}
    assert path.stat().st_mode & 0o007 == 0
    nursery.cancel_scope.cancel()
    await journal.aclose()
    successor = await LocalJournal.open(path, run_sync=run_at_once)
    assert [row.rtms_stream_id for row in await successor.unfinished()] == ["stream-1", "stream-3", "stream-2"]
    await successor.aclose()


async def test_a_file_that_comes_back_is_accepted(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path, run_sync=run_at_once)
    nursery.start_soon(journal.look_after_file)
    path.rename(tmp_path / "moved")
    await trio.sleep(3)
    assert "removed" in (journal.trouble or "")
    (tmp_path / "moved").rename(path)
    await trio.sleep(2)
    assert journal.trouble is None
    assert await journal.record(start()) is Verdict.NEW
    nursery.cancel_scope.cancel()
    journal.database.close()


async def test_an_unwritable_directory_is_retried(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    path = tmp_path / "state" / "state.sqlite"
    journal = await LocalJournal.open(path, run_sync=run_at_once)
    nursery.start_soon(journal.look_after_file)
    await journal.record(start(1))
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    await trio.sleep(WRITE_ANEW_AFTER_S + 5)
    assert "state file" in (journal.trouble or "")
    path.parent.unlink()
    await trio.sleep(3)
    assert journal.trouble is None
    assert await journal.record(start(1)) is Verdict.DUPLICATE
    nursery.cancel_scope.cancel()
    journal.database.close()


async def test_a_damaged_page_costs_only_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    for number in range(200):
        await journal.record(start(number))
    await journal.aclose()
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xff" * 4096
    path.write_bytes(content)
    journal = await LocalJournal.open(path)
    assert journal.set_aside is not None
    assert journal.set_aside.read_bytes() == content
    assert {row.rtms_stream_id for row in await journal.unfinished()} <= {f"stream-{number}" for number in range(200)}
    await journal.aclose()
    assert not names(tmp_path, "*.copy*")


@pytest.mark.parametrize("details", ['{"sess', "[1]", "1", "[" * 100_000, b"\xff{"])
async def test_damaged_details_cost_nothing_else(tmp_path: Path, details: str | bytes) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    await journal.record(start(1))
    await journal.aclose()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE stream SET details = ?", [details])
    journal = await LocalJournal.open(path)
    (row,) = await journal.unfinished()
    assert (row.rtms_stream_id, row.server_urls, row.details) == ("stream-1", "wss://x", {})
    assert journal.set_aside is None
    await journal.aclose()


async def test_salvaged_streams_keep_their_details(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    await journal.record(attrs.evolve(start(1), details={"topic": "Budget"}))
    await journal.aclose()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE delivery")
    journal = await LocalJournal.open(path)
    assert journal.set_aside is not None
    (row,) = await journal.unfinished()
    assert row.details == {"topic": "Budget"}
    await journal.aclose()


@pytest.mark.parametrize("table", ["stream", "delivery"])
async def test_a_file_without_a_table_is_set_aside_and_its_streams_go_on(tmp_path: Path, table: str) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    await journal.record(start(1))
    await journal.aclose()
    with sqlite3.connect(path) as db:
        db.execute(f"DROP TABLE {table}")
    db.close()
    journal = await LocalJournal.open(path)
    assert journal.set_aside is not None
    found = [row.rtms_stream_id for row in await journal.unfinished()]
    assert found == (["stream-1"] if table == "delivery" else [])
    await journal.aclose()


async def test_a_refusal_is_reported_until_the_disk_recovers(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    journal = await LocalJournal.open(tmp_path / "state.sqlite", run_sync=run_at_once)
    nursery.start_soon(journal.look_after_file)
    journal.database._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StorageError, match="readonly"):
        await journal.record(start())
    await trio.sleep(3)
    assert "readonly" in (journal.trouble or "")
    journal.database._connection.execute("PRAGMA query_only = 0")
    await trio.sleep(2)
    assert journal.trouble is None
    nursery.cancel_scope.cancel()
    journal.database.close()


@pytest.mark.parametrize("take_away", [remove, replace])
async def test_no_daemon_takes_the_lock_while_a_file_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take_away: Callable[[Path], None]
) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    await journal.record(start(1))
    take_away(path)
    tries = knock_whenever_something_is_let_go(monkeypatch, path)
    journal.database.write_anew()
    assert tries
    assert "in" not in tries
    with pytest.raises(AlreadyRunningError):
        await LocalJournal.open(path)
    (tmp_path / "state.sqlite.lock").unlink()
    with pytest.raises(AlreadyRunningError):
        await LocalJournal.open(path)
    await journal.aclose()


async def test_no_daemon_takes_the_lock_while_a_damaged_file_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"no state file" * 1000)
    tries = knock_whenever_something_is_let_go(monkeypatch, path)
    journal = await LocalJournal.open(path)
    assert tries
    assert "in" not in tries
    await journal.aclose()


def knock_whenever_something_is_let_go(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    """Start another daemon each time that a descriptor is closed. Returns the outcomes."""
    tries: list[str] = []
    really_close = os.close

    def close(descriptor: int) -> None:
        really_close(descriptor)
        monkeypatch.setattr(os, "close", really_close)
        try:
            LockFile.acquire(path.with_name(f"{path.name}.lock"), "it", itself=path).release()
            tries.append("in")
        except AlreadyRunningError:
            tries.append("out")
        monkeypatch.setattr(os, "close", close)

    monkeypatch.setattr(os, "close", close)
    return tries


async def test_nothing_of_a_revoked_stream_is_left_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    await journal.record(start(1))
    await journal.aclose()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE delivery")
    journal = await LocalJournal.open(path)
    assert journal.set_aside is not None
    revoked = attrs.evolve(start(2), rtms_stream_id="gone", details={"topic": "Secret"})
    await journal.record(revoked)
    await journal.change_lost_streams({(name, Loss.REFUSED): lost(name) for name in ("gone", "stream-1")})
    assert holders(tmp_path, b"Secret")
    for id_, reason in (("gone", 8), ("stream-1", 6)):
        await journal.record(attrs.evolve(stop(5), rtms_stream_id=id_, stop_reason=reason))
        await journal.close_stream(id_, reason=reason, ended_ms=1005)
    assert holders(tmp_path, b"Secret") == []
    assert [each.rtms_stream_id for each in await journal.lost_streams()] == ["stream-1"]
    assert journal.set_aside.exists()  # that one is not in it
    await journal.record(attrs.evolve(stop(6), stop_reason=8))
    await journal.close_stream("stream-1", reason=8, ended_ms=1006)
    assert not journal.set_aside.exists()
    assert not names(tmp_path, "*damaged*")
    await journal.aclose()


def lost(rtms_stream_id: str) -> LostStream:
    return LostStream(
        rtms_stream_id=rtms_stream_id,
        loss=Loss.REFUSED,
        product="session",
        session_id="s",
        session_key="Secret" if rtms_stream_id == "gone" else None,
        app="main",
        event_ts=1,
        first_ms=1,
        last_ms=1,
        times=1,
        why="full",
        recorded=False,
    )


def holders(directory: Path, needle: bytes) -> list[str]:
    return [path.name for path in directory.iterdir() if needle in path.read_bytes()]
