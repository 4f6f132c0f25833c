"""The durable queue of deliveries, as the state file keeps it. Synchronous, within the journal's transactions.

One row for each sink and finished recording. A row is held back while its stream lives, as the recording is being
written or deleted then, and while an earlier row of the same sink and stream is waiting or running. A revocation is
queued when everything is deleted, and held back by earlier rows alone.
"""

import enum
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

DAY_MS: Final = 86_400_000
KEEP_DONE_MS: Final = 90 * DAY_MS
KEEP_DEAD_MS: Final = 365 * DAY_MS
MAX_ENDED: Final = 10_000  # rows of each of the two states that are kept; the newest
MAX_LISTED: Final = 1000
NUMBERS: Final = 1_000_000_000
"""So many numbers each worker has that shares no state file with the others, so that theirs differ."""
MAX_LOOKED_AT: Final = 200  # more than run at once, and than have their revocation under way
ORPHANED: Final = "its sink is not in the configuration"


class DeliveryState(enum.StrEnum):
    """waiting -> running -> done, dead, or waiting again; dead -> waiting by a replay."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"


class DeliveryEvent(enum.StrEnum):
    """The occasion of a delivery."""

    FINISHED = "finished"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class DeliveryRow:
    """A delivery. Times are local, in milliseconds since the Unix epoch.

    Attributes:
        directory: of the recording: below `recording.directory` relative to that, elsewhere the whole path.
        runs: how often it was begun, in all.
        tries: how often it failed, since the end of the stream or the latest replay.
        due_ms: not before; of a dead one, when it died, as the index has it; of no meaning once it is done.
        why: of the latest failure.
        output: the end of the sink's own report of it.
    """

    id: int
    sink: str
    rtms_stream_id: str
    event: DeliveryEvent = attrs.field(converter=DeliveryEvent)
    directory: str
    state: DeliveryState = attrs.field(converter=DeliveryState)
    runs: int
    tries: int
    created_ms: int
    due_ms: int
    began_ms: int | None
    ended_ms: int | None
    why: str | None
    output: str | None = attrs.field(repr=False)


@attrs.frozen
class Begun:
    """What `begin` found.

    Attributes:
        rows: running from now on.
        next_due_ms: when the next one is due, of those that only time holds back; None without any.
        orphaned: how many died as their sink is not configured, by its name.
        counts: rows that are not done, by sink and state.
        dead_ms: the end of the latest dead row of a configured sink, or of a revocation; None without any.
    """

    rows: Sequence[DeliveryRow]
    next_due_ms: int | None
    orphaned: Mapping[str, int]
    counts: Mapping[tuple[str, DeliveryState], int]
    dead_ms: int | None


def finished(
    db: sqlite3.Connection, *, sinks: Collection[str], rtms_stream_id: str, directory: str, now_ms: int
) -> None:
    """Queue the recording of a stream that ended for each sink; it takes the place of one that still waits."""
    for sink in sinks:
        again = db.execute(
            """UPDATE sink_delivery SET directory = ?, tries = 0, due_ms = ?
            WHERE sink = ? AND rtms_stream_id = ? AND event = 'finished' AND state = 'waiting'""",
            (directory, now_ms, sink, rtms_stream_id),
        )
        if again.rowcount == 0:
            _insert(db, (sink, rtms_stream_id, DeliveryEvent.FINISHED.value, directory, now_ms, now_ms))


def revoked(db: sqlite3.Connection, *, rtms_stream_id: str, now_ms: int) -> None:
    """Forget the deliveries of a stream, and queue its revocation for each sink that had begun one."""
    begun = db.execute(
        """SELECT sink, max(directory) FROM sink_delivery
        WHERE rtms_stream_id = ? AND event = 'finished' AND runs > 0 GROUP BY sink""",
        (rtms_stream_id,),
    ).fetchall()
    db.execute("DELETE FROM sink_delivery WHERE rtms_stream_id = ? AND event = 'finished'", (rtms_stream_id,))
    for sink, directory in begun:
        _insert(db, (sink, rtms_stream_id, DeliveryEvent.REVOKED.value, directory, now_ms, now_ms))


def _insert(db: sqlite3.Connection, values: tuple[str | int, ...]) -> None:
    db.execute(
        """INSERT INTO sink_delivery (sink, rtms_stream_id, event, directory, created_ms, due_ms)
        VALUES (?, ?, ?, ?, ?, ?)""",
        values,
    )


def number_from(db: sqlite3.Connection, worker: int) -> None:
    """Number what is queued from now on as this worker does, unless it has numbers already that are greater.

    Args:
        worker: counted from 1, whose numbers are those of a process alone.
    """
    before = (worker - 1) * NUMBERS
    db.execute(
        """INSERT INTO sqlite_sequence (name, seq) SELECT 'sink_delivery', 0
        WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'sink_delivery')"""
    )
    db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'sink_delivery'", (before,))


def reset(db: sqlite3.Connection) -> None:
    """Queue again what an earlier process was running."""
    db.execute("UPDATE sink_delivery SET state = 'waiting' WHERE state = 'running'")


def begin(db: sqlite3.Connection, *, room: Mapping[str, int], held: Collection[str], now_ms: int) -> Begun:
    """Mark as running what is due.

    Args:
        room: how many more each configured sink takes.
        held: streams of which nothing begins.
    """
    orphaned = _orphan(db, room, now_ms)
    numbers: list[int] = []
    next_due_ms: list[int] = []
    for sink, places in room.items():
        ready = [(number, due_ms) for number, due_ms, stream in _ready(db, sink, now_ms) if stream not in held]
        # What is due later than in a day comes from another clock: no retry waits longer.
        due = [number for number, due_ms in ready if not now_ms < due_ms <= now_ms + DAY_MS]
        numbers += due[:places]
        next_due_ms += [due_ms for number, due_ms in ready if number not in due][:1]
    db.executemany(
        "UPDATE sink_delivery SET state = 'running', runs = runs + 1, began_ms = ? WHERE id = ?",
        [(now_ms, number) for number in numbers],
    )
    rows = [row for number in numbers if (row := find(db, number)) is not None]
    return Begun(rows, min(next_due_ms, default=None), orphaned, _counts(db), _dead_ms(db, room))


def _ready(db: sqlite3.Connection, sink: str, now_ms: int) -> list[tuple[int, int, str]]:
    """Return what only time and room hold back, the earliest first, as id, time and stream.

    What was begun, or else queued, in the future is due: the clock was set back since.
    """
    rows = db.execute(
        """SELECT id, iif(coalesce(began_ms, created_ms) > :now_ms, :now_ms, due_ms) AS due, rtms_stream_id
        FROM sink_delivery AS this
        WHERE state = 'waiting' AND sink = :sink
            AND (event = 'revoked' OR NOT EXISTS (SELECT 1 FROM stream
                WHERE stream.rtms_stream_id = this.rtms_stream_id AND stream.closed_ms IS NULL))
            AND NOT EXISTS (SELECT 1 FROM sink_delivery AS other
                WHERE other.rtms_stream_id = this.rtms_stream_id AND other.sink = this.sink
                    AND other.id < this.id AND other.state IN ('waiting', 'running'))
        ORDER BY due_ms, id LIMIT :most""",
        {"sink": sink, "most": MAX_LOOKED_AT, "now_ms": now_ms},
    )
    return [(row["id"], row["due"], row["rtms_stream_id"]) for row in rows]


def _orphan(db: sqlite3.Connection, sinks: Collection[str], now_ms: int) -> dict[str, int]:
    waiting = db.execute("SELECT sink, count(*) FROM sink_delivery WHERE state = 'waiting' GROUP BY sink").fetchall()
    orphaned = {sink: number for sink, number in waiting if sink not in sinks}
    for sink in orphaned:
        db.execute(
            """UPDATE sink_delivery SET state = 'dead', due_ms = ?, ended_ms = ?, why = ?
            WHERE sink = ? AND state = 'waiting'""",
            (now_ms, now_ms, ORPHANED, sink),
        )
    return orphaned


def _counts(db: sqlite3.Connection) -> dict[tuple[str, DeliveryState], int]:
    rows = db.execute("SELECT sink, state, count(*) FROM sink_delivery WHERE state <> 'done' GROUP BY sink, state")
    return {(sink, DeliveryState(state)): number for sink, state, number in rows}


def _dead_ms(db: sqlite3.Connection, sinks: Collection[str]) -> int | None:
    rows = db.execute("SELECT sink, max(due_ms) FROM sink_delivery WHERE state = 'dead' GROUP BY sink")
    died_ms = [died_ms for sink, died_ms in rows if sink in sinks]
    # Whoever was given a recording that was revoked has to be asked by a person, also where the sink is gone.
    (revocation_ms,) = db.execute(
        "SELECT max(due_ms) FROM sink_delivery WHERE state = 'dead' AND event = 'revoked'"
    ).fetchone()
    return max(died_ms if revocation_ms is None else [*died_ms, revocation_ms], default=None)


def done(db: sqlite3.Connection, number: int, *, now_ms: int) -> None:
    db.execute(
        "UPDATE sink_delivery SET state = 'done', ended_ms = ?, why = NULL, output = NULL WHERE id = ?",
        (now_ms, number),
    )


def failed(db: sqlite3.Connection, number: int, *, retry_ms: int | None, why: str, output: str, now_ms: int) -> None:
    """Queue it again for `retry_ms` from now, or, with None, keep it as dead."""
    db.execute(
        """UPDATE sink_delivery SET state = ?, tries = tries + 1, due_ms = ?, ended_ms = ?, why = ?, output = ?
        WHERE id = ?""",
        (
            DeliveryState.DEAD.value if retry_ms is None else DeliveryState.WAITING.value,
            now_ms + (retry_ms or 0),
            now_ms if retry_ms is None else None,
            why,
            output,
            number,
        ),
    )


def replay(db: sqlite3.Connection, number: int, *, now_ms: int) -> bool:
    """Queue a dead delivery again, with all its retries. Returns False for any other."""
    again = db.execute(
        "UPDATE sink_delivery SET state = 'waiting', tries = 0, due_ms = ?, ended_ms = NULL "
        "WHERE id = ? AND state = 'dead'",
        (now_ms, number),
    )
    return again.rowcount == 1


def find(db: sqlite3.Connection, number: int) -> DeliveryRow | None:
    rows = db.execute("SELECT * FROM sink_delivery WHERE id = ?", (number,))
    return next((DeliveryRow(**dict(row)) for row in rows), None)


def listed(db: sqlite3.Connection) -> list[DeliveryRow]:
    """Return `MAX_LISTED` of them, by id: first of all dead and running ones, then waiting ones, the newest of each."""
    rows = db.execute(
        """SELECT * FROM sink_delivery WHERE id IN
            (SELECT id FROM sink_delivery ORDER BY state = 'done', state = 'waiting', id DESC LIMIT ?)
        ORDER BY id""",
        (MAX_LISTED,),
    )
    return [DeliveryRow(**dict(row)) for row in rows]


def unfinished(db: sqlite3.Connection) -> frozenset[str]:
    """Return the streams with a delivery that is neither done nor dead."""
    rows = db.execute("SELECT DISTINCT rtms_stream_id FROM sink_delivery WHERE state IN ('waiting', 'running')")
    return frozenset(stream for (stream,) in rows)


def below_root(db: sqlite3.Connection) -> list[str]:
    """Return the relative directories of deliveries that are not done."""
    rows = db.execute("SELECT DISTINCT directory FROM sink_delivery WHERE state != 'done' AND directory NOT LIKE '/%'")
    return [directory for (directory,) in rows]


def moved(db: sqlite3.Connection, *, places: Mapping[str, Path]) -> None:
    """Take note that these directories are elsewhere than below `recording.directory`."""
    changes = [(str(place), directory) for directory, place in places.items()]
    db.executemany("UPDATE sink_delivery SET directory = ? WHERE directory = ?", changes)


def prune(db: sqlite3.Connection, *, now_ms: int) -> None:
    """Delete done and dead rows that are too old or too many."""
    for state, keep_ms in ((DeliveryState.DONE, KEEP_DONE_MS), (DeliveryState.DEAD, KEEP_DEAD_MS)):
        db.execute("DELETE FROM sink_delivery WHERE state = ? AND ended_ms < ?", (state.value, now_ms - keep_ms))
        db.execute(
            """DELETE FROM sink_delivery WHERE state = :state AND id NOT IN
                (SELECT id FROM sink_delivery WHERE state = :state ORDER BY id DESC LIMIT :most)""",
            {"state": state.value, "most": MAX_ENDED},
        )
