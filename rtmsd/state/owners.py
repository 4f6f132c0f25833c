"""The statements on the ownership of streams, which the workers of one machine share. Synchronous, for `journal.py`.

Whoever claims a stream has read before what is known of it, and writes what becomes of that. The claim holds only if
nothing came between: no other claim, by the token; and no webhook, by the deliveries.
"""

import sqlite3
from collections.abc import Collection

import attrs

from rtmsd.state import ledger
from rtmsd.state.rows import Known


@attrs.frozen(kw_only=True)
class OwnRow:
    """An ownership record as it is stored; see `rtmsd.cluster.records.Own`.

    Attributes:
        more: JSON.
    """

    rtms_stream_id: str
    node: str
    incarnation: str
    epoch: int
    nonce: str
    why: str
    state: str
    version: int
    more: str


@attrs.frozen
class Owned:
    """A stream, and who owns it.

    Attributes:
        own: None: nobody.
        token: number of the record; 0: there is none.
    """

    own: OwnRow | None
    token: int
    known: Known


def read(db: sqlite3.Connection, rtms_stream_id: str) -> Owned:
    known = ledger.known(db, rtms_stream_id)
    for row in db.execute("SELECT * FROM own WHERE rtms_stream_id = ?", (rtms_stream_id,)):
        fields = dict(row)
        token = fields.pop("token")
        return Owned(OwnRow(**fields), token, known)
    return Owned(None, 0, known)


def claim(db: sqlite3.Connection, own: OwnRow, known: Known, *, seen: int, now_ms: int) -> int | Owned:
    """Write the record and what is known of the stream, if both are still as they were read; return the new token.

    Otherwise return what there is instead. A record with the same nonce is this claim, made before: it is no conflict.

    Args:
        known: what was read, with what becomes of it by the claim.
        seen: the token that was read.
        now_ms: local time, from which new deliveries and tombstones are kept for 90 minutes.
    """
    there = read(db, own.rtms_stream_id)
    if there.own is not None and there.own.nonce == own.nonce:
        return there.token
    if there.token != seen or not set(there.known.delivered) <= set(known.delivered):
        return there
    ledger.store(db, own.rtms_stream_id, there.known, known, now_ms)
    fields = attrs.asdict(own)
    written = db.execute(
        f"REPLACE INTO own ({', '.join(fields)}) VALUES ({', '.join(f':{name}' for name in fields)})", fields
    )
    assert written.lastrowid is not None
    return written.lastrowid


def orphans(db: sqlite3.Connection, living: Collection[str]) -> list[Owned]:
    """Return the unfinished streams whose owner is none of these, oldest first: of a dead one, or of nobody.

    Args:
        living: incarnations.
    """
    marks = ", ".join("?" * len(living))
    rows = db.execute(
        f"""SELECT rtms_stream_id FROM stream LEFT JOIN own USING (rtms_stream_id)
        WHERE closed_ms IS NULL AND (incarnation IS NULL OR incarnation NOT IN ({marks})) ORDER BY event_ts""",
        [*living],
    )
    return [read(db, rtms_stream_id) for (rtms_stream_id,) in rows.fetchall()]
