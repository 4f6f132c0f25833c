"""Log lines that wait on disk for the engine: in a file of their own, bounded, the oldest go when there are more."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import attrs
import structlog
import trio

from rtmsd.errors import StorageError
from rtmsd.state.file.transactions import RunSync

T = TypeVar("T")

Lines: TypeAlias = Mapping[str, tuple[str, ...]]
"""Lines by the name of their file, as in `records.Log`."""

log = structlog.get_logger(__name__)

IN_MEMORY_BYTES: Final = 16 * 2**20
"""Lines that wait where the file cannot be used; more go, as always."""

_MODE: Final = 0o640
_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS batch (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        rtms_stream_id TEXT NOT NULL,
        lines TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        count INTEGER NOT NULL,
        token INTEGER,
        n INTEGER
    )""",
    "CREATE INDEX IF NOT EXISTS batch_stream ON batch (rtms_stream_id, number)",
)


@attrs.frozen
class Batch:
    """The oldest lines of a stream that wait.

    Attributes:
        last: number of the newest of them.
        sent_as: token and number under which they were appended, perhaps: the answer did not come.
    """

    rtms_stream_id: str
    last: int
    lines: Lines
    sent_as: tuple[int, int] | None


class Spool:
    """The file. Methods raise StorageError when the disk refuses.

    Attributes:
        limit_bytes: of lines that wait.
        waiting_bytes: of lines.
    """

    def __init__(self, db: sqlite3.Connection, run_sync: RunSync, limit_bytes: int) -> None:
        self._db, self._run_sync, self.limit_bytes = db, run_sync, limit_bytes
        self._adding = trio.Lock()  # else two would make room for the same excess
        (self.waiting_bytes,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM batch").fetchone()

    @classmethod
    async def open(cls, path: Path, run_sync: RunSync, *, limit_bytes: int) -> "Spool":
        """Open the file, or make it. Where that fails, lines wait in memory until the next start: they are copies of
        what is in the streams' own files, and no reason not to record.

        Args:
            run_sync: runs what blocks, one at a time.
        """

        def connect() -> Spool:
            try:
                path.touch(mode=_MODE)
                return cls(_connect(path), run_sync, limit_bytes)
            except (OSError, sqlite3.Error) as error:
                log.error("spool cannot be used; if it is damaged, remove it", path=str(path), error=str(error))  # noqa: TRY400
                return cls(_connect(":memory:"), run_sync, min(limit_bytes, IN_MEMORY_BYTES))

        spool: Spool = await run_sync(connect)
        return spool

    async def aclose(self) -> None:
        await self._run_sync(self._db.close)

    async def streams(self) -> list[str]:
        """Return the streams of which lines wait."""
        rows = await self._do(lambda db: db.execute("SELECT DISTINCT rtms_stream_id FROM batch").fetchall())
        return [rtms_stream_id for (rtms_stream_id,) in rows]

    async def add(self, rtms_stream_id: str, lines: Lines, sent_as: tuple[int, int] | None = None) -> int:
        """Keep lines behind those of the stream that wait already; the oldest of all go where there is no room. Returns
        how many went.
        """
        text = json.dumps(lines)
        token, n = sent_as or (None, None)
        values = (rtms_stream_id, text, len(text), sum(map(len, lines.values())), token, n)

        def insert(db: sqlite3.Connection, excess_bytes: int) -> tuple[int, int]:
            db.execute("BEGIN IMMEDIATE")
            with db:  # both or neither: who is told that it failed keeps the lines
                db.execute("INSERT INTO batch VALUES (NULL, ?, ?, ?, ?, ?, ?)", values)
                return _make_room(db, excess_bytes)

        async with self._adding:
            excess_bytes = self.waiting_bytes + len(text) - self.limit_bytes
            freed_bytes, dropped = await self._do(partial(insert, excess_bytes=excess_bytes))
            self.waiting_bytes += len(text) - freed_bytes
            return dropped

    async def head(self, rtms_stream_id: str, join_bytes: int) -> Batch | None:
        """Return the oldest lines of a stream, joined to about so much; None: none wait.

        What was sent together stays together, and alone.
        """
        return await self._do(partial(_head, rtms_stream_id=rtms_stream_id, join_bytes=join_bytes))

    async def mark(self, batch: Batch, token: int, n: int) -> None:
        """Write down as what lines are about to be appended."""
        values = (token, n, batch.rtms_stream_id, batch.last)
        mark = "UPDATE batch SET token = ?, n = ? WHERE rtms_stream_id = ? AND number <= ?"
        await self._do(lambda db: db.execute(mark, values))

    async def remove(self, batch: Batch) -> int:
        """Forget lines that the engine has. Returns how many there still were."""
        return await self._delete("rtms_stream_id = ? AND number <= ?", batch.rtms_stream_id, batch.last)

    async def drop(self, rtms_stream_id: str) -> int:
        """Forget all lines of a stream. Returns how many."""
        return await self._delete("rtms_stream_id = ?", rtms_stream_id)

    async def drop_oldest(self, rtms_stream_id: str, join_bytes: int) -> int:
        """Forget what `head` returns, or would return if it could be read. Returns how many lines."""
        rows = await self._do(partial(_oldest, rtms_stream_id=rtms_stream_id, join_bytes=join_bytes))
        last = rows[-1].number if rows else 0
        return await self._delete("rtms_stream_id = ? AND number <= ?", rtms_stream_id, last)

    async def forget(self, rtms_stream_id: str) -> None:
        """Forget all lines of a stream, and overwrite them."""
        await self.drop(rtms_stream_id)
        await self._do(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())

    async def _delete(self, which: str, *values: object) -> int:
        def delete(db: sqlite3.Connection) -> tuple[int, int]:
            sums = f"SELECT coalesce(sum(bytes), 0), coalesce(sum(count), 0) FROM batch WHERE {which}"
            size_bytes, count = db.execute(sums, values).fetchone()
            db.execute(f"DELETE FROM batch WHERE {which}", values)
            return size_bytes, count

        size_bytes, count = await self._do(delete)
        self.waiting_bytes -= size_bytes
        return count

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result: T = await self._run_sync(partial(work, self._db))
        except sqlite3.Error as error:
            raise StorageError(f"spool: {error}") from error
        return result


def _connect(path: Path | str) -> sqlite3.Connection:
    """Raises sqlite3.Error: it is damaged, or cannot be written."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # what is lost with the machine is in the stream's own files
        db.execute("PRAGMA secure_delete = ON")
        for table in _TABLES:
            db.execute(table)
        db.execute("SELECT count(lines) FROM batch").fetchone()  # reads all of it
    except BaseException:
        db.close()
        raise
    return db


def _make_room(db: sqlite3.Connection, excess_bytes: int) -> tuple[int, int]:
    """Delete the oldest lines, so many bytes or a little more; return bytes and lines."""
    freed_bytes = dropped = last = 0
    for number, size_bytes, count in db.execute("SELECT number, bytes, count FROM batch ORDER BY number"):
        if freed_bytes >= excess_bytes:
            break
        freed_bytes, dropped, last = freed_bytes + size_bytes, dropped + count, number
    db.execute("DELETE FROM batch WHERE number <= ?", (last,))
    return freed_bytes, dropped


@attrs.frozen
class _Row:
    number: int
    text: str
    sent_as: tuple[int, int] | None


def _oldest(db: sqlite3.Connection, rtms_stream_id: str, join_bytes: int) -> list[_Row]:
    """Return the oldest rows of a stream that are sent together."""
    joined: list[_Row] = []
    size_bytes = 0
    rows = db.execute(
        "SELECT number, lines, bytes, token, n FROM batch WHERE rtms_stream_id = ? ORDER BY number", (rtms_stream_id,)
    )
    for number, text, row_bytes, token, n in rows:
        row = _Row(number, text, None if token is None else (token, n))
        is_too_much = row.sent_as is None and size_bytes + row_bytes > join_bytes
        if joined and (row.sent_as != joined[0].sent_as or is_too_much):
            break
        joined.append(row)
        size_bytes += row_bytes
    return joined


def _head(db: sqlite3.Connection, rtms_stream_id: str, join_bytes: int) -> Batch | None:
    rows = _oldest(db, rtms_stream_id, join_bytes)
    if not rows:
        return None
    lines: dict[str, tuple[str, ...]] = {}
    for row in rows:
        for stem, each in json.loads(row.text).items():
            lines[stem] = (*lines.get(stem, ()), *each)
    return Batch(rtms_stream_id, rows[-1].number, lines, rows[0].sent_as)
