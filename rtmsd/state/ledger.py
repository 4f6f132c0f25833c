"""The statements on the streams in the state file; the rules are in `verdicts.py`. Synchronous, for `journal.py`."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Final

from rtmsd.commands import StreamCommand, Verdict
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.state import verdicts
from rtmsd.state.rows import Delivery, Known, StreamRow

_COLUMNS: Final = """rtms_stream_id, product, id_key, session_id, app, server_urls, started_ms, event_ts, stop_reason,
    stopped_ms, closed_ms, details"""
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.replace(",", " ").split())


def record(
    db: sqlite3.Connection, command: StreamCommand, received_ms: int, other_apps: Set[str] = frozenset()
) -> Verdict:
    """Judge a command, and store what changes by it. See `verdicts.judge`.

    Args:
        received_ms: local time, from which the delivery is remembered for 90 minutes.
    """
    before = known(db, command.rtms_stream_id)
    verdict, after = verdicts.judge(before, command, other_apps=other_apps, received_ms=received_ms)
    if after is not before:
        store(db, command.rtms_stream_id, before, after, received_ms)
    return verdict


def store(db: sqlite3.Connection, rtms_stream_id: str, before: Known, after: Known, now_ms: int) -> None:
    """Store what is known of a stream.

    Args:
        before: what the file has of it.
        now_ms: local time, from which new deliveries and tombstones are kept for 90 minutes.
    """
    stored = set(before.delivered)
    for each in after.delivered:
        if each not in stored:
            delivery = (each.event, each.event_ts, each.session_id, rtms_stream_id, now_ms)
            db.execute("INSERT INTO delivery VALUES (?, ?, ?, ?, ?)", delivery)
    if after.row is not None and after.row is not before.row:
        _put(db, after.row, now_ms)


def revoke(db: sqlite3.Connection, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
    """Mark a stream as to be deleted, unless there was a newer start. See `verdicts.revoke`."""
    row = find(db, rtms_stream_id)
    revoked = None if row is None else verdicts.revoke(row, stopped_ms=stopped_ms, event_ts=event_ts)
    if revoked is not None:
        _put(db, revoked, closed_ms=None)


def close_stream(
    db: sqlite3.Connection, rtms_stream_id: str, *, reason: int, ended_ms: int, event_ts: int | None, closed_ms: int
) -> bool:
    """Make a tombstone of a stream, and say whether it became one now. See `verdicts.close`.

    Args:
        closed_ms: local time, from which the tombstone is kept for 90 minutes.
    """
    row = find(db, rtms_stream_id)
    closed = None if row is None else verdicts.close(row, reason=reason, ended_ms=ended_ms, event_ts=event_ts)
    if closed is not None:
        _put(db, closed, closed_ms)
    if reason == StopReason.STREAM_REVOKED:
        db.execute("DELETE FROM lost_stream WHERE rtms_stream_id = ?", (rtms_stream_id,))
    return closed is not None


def known(db: sqlite3.Connection, rtms_stream_id: str) -> Known:
    """Return what the file has of a stream."""
    delivered = db.execute(
        "SELECT event, event_ts, session_id FROM delivery WHERE rtms_stream_id = ? ORDER BY received_ms, event_ts",
        (rtms_stream_id,),
    )
    return Known(find(db, rtms_stream_id), tuple(Delivery(*values) for values in delivered))


def find(db: sqlite3.Connection, rtms_stream_id: str) -> StreamRow | None:
    rows = db.execute(f"SELECT {_COLUMNS} FROM stream WHERE rtms_stream_id = ?", (rtms_stream_id,))
    return next((_row(row) for row in rows), None)


def unfinished(db: sqlite3.Connection) -> list[StreamRow]:
    """Return the streams that are not closed: live ones, and stopped ones whose files were not finished yet."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM stream WHERE closed_ms IS NULL ORDER BY event_ts")
    return [_row(row) for row in rows]


def adopt(db: sqlite3.Connection, rows: Iterable[StreamRow], closed_ms: int) -> None:
    """Add streams from elsewhere, except those that are known.

    Args:
        closed_ms: local time, for tombstones.
    """
    for row in rows:
        if find(db, row.rtms_stream_id) is None:
            _put(db, row, closed_ms)


def rows(db: sqlite3.Connection) -> Iterator[StreamRow]:
    """Yield all streams. Of a damaged file, whatever stands in the columns.

    Raises:
        sqlite3.Error: the rest cannot be read.
    """
    for values in db.execute(f"SELECT {_COLUMNS} FROM stream"):
        yield _row(values)


def prune(db: sqlite3.Connection, before_ms: int) -> None:
    """Forget deliveries received, and streams closed, before a local time."""
    db.execute("DELETE FROM delivery WHERE received_ms < ?", (before_ms,))
    db.execute("DELETE FROM stream WHERE closed_ms < ?", (before_ms,))


def _put(db: sqlite3.Connection, row: StreamRow, closed_ms: int | None) -> None:
    """Store a row whole.

    Args:
        closed_ms: local time, of a tombstone.
    """
    db.execute(
        f"""INSERT INTO stream ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET {_CHANGES}""",
        (
            *(row.rtms_stream_id, row.product, row.session.key, row.session.id, row.app, row.server_urls),
            *(row.started_ms, row.event_ts, row.stop_reason, row.stopped_ms, closed_ms if row.closed else None),
            json.dumps(dict(row.details)) if row.details else None,
        ),
    )


def _row(values: Sequence[Any]) -> StreamRow:
    rtms_stream_id, product, id_key, session_id, app, server_urls, *times, closed_ms, details = values
    started_ms, event_ts, stop_reason, stopped_ms = times
    return StreamRow(
        rtms_stream_id=rtms_stream_id,
        product=product,
        session=SessionRef(id_key, session_id),
        app=app,
        server_urls=server_urls,
        started_ms=started_ms,
        event_ts=event_ts,
        stop_reason=stop_reason,
        stopped_ms=stopped_ms,
        closed=closed_ms is not None,
        details=_details(details) if details else {},
    )


def _details(text: Any) -> dict[str, Any]:
    """Return the stored details; none where they are damaged, since the rest of the row is worth more."""
    try:
        details = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {}
