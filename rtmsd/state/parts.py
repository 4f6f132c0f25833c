"""The statements on streams that this member of a cluster has, on what it has not told the engine yet, on what the
engine ordered to be deleted, and on the parts that others have joined with theirs.

The state file is what a member knows while the engine is away, and how it goes on after a restart. Synchronous, for the
journal.
"""

import secrets
import sqlite3
from typing import Final

import attrs

from rtmsd.errors import StorageError
from rtmsd.protocol.enums import StopReason
from rtmsd.state import ledger
from rtmsd.state.rows import Known

MAX_KEPT: Final = 10_000
"""Webhooks that wait for the owners of other members' streams. One more is refused: Zoom sends it again."""

KEEP_GATHERED_MS: Final = 30 * 86_400_000
"""Longer than parts are kept for gathering: see `recording.library.retention`."""


@attrs.frozen
class PartRow:
    """A stream that is this member's.

    Attributes:
        token: of its ownership record; 0: begun while the engine was away, and not claimed yet.
        nonce: of that record, or of the claim that is to be made.
        is_pending: the engine does not know yet what the file knows.
    """

    token: int
    nonce: str
    is_pending: bool


def read(db: sqlite3.Connection, rtms_stream_id: str) -> tuple[PartRow | None, Known]:
    """Return whether a stream is this member's, and what the file knows of it."""
    rows = db.execute("SELECT token, nonce, is_pending FROM part WHERE rtms_stream_id = ?", (rtms_stream_id,))
    part = next((PartRow(token, nonce, bool(is_pending)) for token, nonce, is_pending in rows), None)
    return part, ledger.known(db, rtms_stream_id)


def pending(db: sqlite3.Connection) -> list[str]:
    """Return the streams of which the engine does not know all, those first that began first."""
    rows = db.execute(
        "SELECT rtms_stream_id FROM part JOIN stream USING (rtms_stream_id) WHERE is_pending ORDER BY event_ts"
    )
    return [rtms_stream_id for (rtms_stream_id,) in rows]


def hold(db: sqlite3.Connection, rtms_stream_id: str, known: Known, *, token: int, nonce: str, now_ms: int) -> None:
    """Write down a tenure, with what the engine knows of the stream."""
    ledger.store(db, rtms_stream_id, ledger.known(db, rtms_stream_id), known, now_ms)
    db.execute("REPLACE INTO part VALUES (?, ?, ?, FALSE)", (rtms_stream_id, token, nonce))
    db.execute("DELETE FROM kept_command WHERE rtms_stream_id = ? AND is_judged", (rtms_stream_id,))


def change(
    db: sqlite3.Connection, rtms_stream_id: str, known: Known, *, command: bytes | None = None, now_ms: int
) -> None:
    """Write down what is known of a stream of this member now. The engine is to be told.

    A stream that was not this member's becomes its own, unclaimed.

    Args:
        command: the webhook that changed it: should the stream be another's by now, that one has to have it.
    """
    ledger.store(db, rtms_stream_id, ledger.known(db, rtms_stream_id), known, now_ms)
    db.execute(
        "INSERT INTO part VALUES (?, 0, ?, TRUE) ON CONFLICT DO UPDATE SET is_pending = TRUE",
        (rtms_stream_id, secrets.token_hex(8)),
    )
    if known.row is not None and known.row.stop_reason == StopReason.STREAM_REVOKED:  # nothing else is left of it
        db.execute("DELETE FROM kept_command WHERE rtms_stream_id = ?", (rtms_stream_id,))
    if command is not None:
        db.execute("INSERT INTO kept_command VALUES (NULL, ?, ?, TRUE)", (rtms_stream_id, command))


def told(db: sqlite3.Connection, rtms_stream_id: str) -> None:
    """Note that the engine knows all. A stream that has ended is this member's no more."""
    db.execute("DELETE FROM kept_command WHERE rtms_stream_id = ? AND is_judged", (rtms_stream_id,))
    db.execute("UPDATE part SET is_pending = FALSE WHERE rtms_stream_id = ?", (rtms_stream_id,))
    db.execute(
        """DELETE FROM part WHERE rtms_stream_id = ?
        AND EXISTS (SELECT 1 FROM stream WHERE rtms_stream_id = part.rtms_stream_id AND closed_ms IS NOT NULL)""",
        (rtms_stream_id,),
    )


def lose(db: sqlite3.Connection, rtms_stream_id: str) -> None:
    """Forget a stream that is another's by now. Webhooks that the engine does not know of are kept for that one."""
    db.execute("UPDATE kept_command SET is_judged = FALSE WHERE rtms_stream_id = ?", (rtms_stream_id,))
    db.execute("DELETE FROM part WHERE rtms_stream_id = ?", (rtms_stream_id,))
    db.execute("DELETE FROM stream WHERE rtms_stream_id = ?", (rtms_stream_id,))


def keep(db: sqlite3.Connection, rtms_stream_id: str, command: bytes) -> bool:
    """Keep a webhook for another member, and say whether it was not kept before.

    Raises:
        StorageError: there are `MAX_KEPT`.
    """
    same = (rtms_stream_id, command)
    if db.execute("SELECT 1 FROM kept_command WHERE rtms_stream_id = ? AND command = ?", same).fetchone() is not None:
        return False
    (count,) = db.execute("SELECT count(*) FROM kept_command").fetchone()
    if count >= MAX_KEPT:
        raise StorageError(f"{count} webhooks wait for members that do not answer; start those, or the engine")
    db.execute("INSERT INTO kept_command VALUES (NULL, ?, ?, FALSE)", same)
    return True


def kept(db: sqlite3.Connection) -> list[bytes]:
    """Return the webhooks that are for other members, as JSON, in the order in which they came."""
    rows = db.execute("SELECT command FROM kept_command WHERE NOT is_judged ORDER BY number")
    return [command for (command,) in rows]


def forget_kept(db: sqlite3.Connection, rtms_stream_id: str, command: bytes) -> None:
    """Forget a webhook that was handed on."""
    same = (rtms_stream_id, command)
    db.execute("DELETE FROM kept_command WHERE rtms_stream_id = ? AND command = ? AND NOT is_judged", same)


# Revocations


def revocation_place(db: sqlite3.Connection) -> int:
    """Return the place of the last order that was carried out; 0: none was."""
    return int(db.execute("SELECT coalesce(max(place), 0) FROM revocation_place").fetchone()[0])


def revocations_done(db: sqlite3.Connection, place: int) -> None:
    """Note that all orders up to this place are carried out."""
    db.execute("DELETE FROM revocation_place")
    db.execute("INSERT INTO revocation_place VALUES (?)", (place,))


def has_traces(db: sqlite3.Connection, rtms_stream_id: str) -> bool:
    """Whether the file has anything of a stream but that it was revoked."""
    (found,) = db.execute(
        """SELECT EXISTS (SELECT 1 FROM stream
                WHERE rtms_stream_id = :id AND (closed_ms IS NULL OR stop_reason IS NOT :revoked))
            OR EXISTS (SELECT 1 FROM lost_stream WHERE rtms_stream_id = :id)
            OR EXISTS (SELECT 1 FROM kept_command WHERE rtms_stream_id = :id)
            OR EXISTS (SELECT 1 FROM sink_delivery WHERE rtms_stream_id = :id AND event = 'finished')""",
        {"id": rtms_stream_id, "revoked": int(StopReason.STREAM_REVOKED)},
    ).fetchone()
    return bool(found)


def forget_commands(db: sqlite3.Connection, rtms_stream_id: str) -> None:
    """Forget the webhooks of a stream that wait for other members."""
    db.execute("DELETE FROM kept_command WHERE rtms_stream_id = ?", (rtms_stream_id,))


# Gathering


def note_gathered(db: sqlite3.Connection, rtms_stream_id: str, *, now_ms: int) -> None:
    """Note that a part is in a joined recording of another member's, and forget what is long past."""
    db.execute("REPLACE INTO gathered VALUES (?, ?)", (rtms_stream_id, now_ms))
    db.execute("DELETE FROM gathered WHERE at_ms < ?", (now_ms - KEEP_GATHERED_MS,))


def gathered(db: sqlite3.Connection) -> dict[str, int]:
    """Return when parts were gathered, by stream."""
    return dict(db.execute("SELECT rtms_stream_id, at_ms FROM gathered").fetchall())
