"""Streams that were lost, or not recorded to their end, as the state file keeps them. Synchronous, for `journal.py`.

A refused start has no recording, and the daemon's memory of an end dies with the process: without this table nobody
could see in the morning what was missed at night.
"""

import enum
import sqlite3
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from rtmsd.errors import StorageError

MAX_LOST: Final = 200  # the newest


class Loss(enum.StrEnum):
    """The ways to lose a stream."""

    REFUSED = "refused"  # its start was answered with 503
    GIVEN_UP = "given_up"  # Zoom could not be reached again in time
    CUT_OFF = "cut_off"  # Zoom ended it for a fault of its own or of the network
    FAILED = "failed"  # refused for good by Zoom, or ended by a bug or the disk here


@attrs.frozen(kw_only=True)
class LostStream:
    """Attributes:
    event_ts: Zoom's time of the start.
    first_ms, last_ms: local time; a start that Zoom sent again was refused more than once.
    recorded: whether there is a recording directory.
    """

    rtms_stream_id: str
    loss: Loss
    product: str
    session_id: str
    session_key: str | None
    app: str
    event_ts: int
    first_ms: int
    last_ms: int
    times: int
    why: str
    recorded: bool


Changes: TypeAlias = Mapping[tuple[str, Loss], LostStream | None]
"""Lost streams that are new or changed, by id and kind; None: it is none any more."""


def read(db: sqlite3.Connection) -> list[LostStream]:
    """Return all, the oldest first. Kinds that only a later version knows are left out."""
    known = {loss.value for loss in Loss}
    rows = (dict(row) for row in db.execute("SELECT * FROM lost_stream ORDER BY last_ms"))
    return [
        LostStream(**{**row, "loss": Loss(row["loss"]), "recorded": bool(row["recorded"])})
        for row in rows
        if row["loss"] in known
    ]


def change(db: sqlite3.Connection, changes: Changes) -> None:
    """Write what became of these, and leave all others as they are.

    Raises:
        StorageError: the network sent something that the file cannot hold.
    """
    names = [field.name for field in attrs.fields(LostStream)]
    try:
        db.executemany("DELETE FROM lost_stream WHERE rtms_stream_id = ? AND loss = ?", changes)
        db.executemany(
            f"INSERT INTO lost_stream ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})",
            (attrs.asdict(stream) for stream in changes.values() if stream is not None),
        )
    except (OverflowError, UnicodeEncodeError) as exc:  # ids and times are from the network
        raise StorageError(f"lost streams cannot be kept: {exc}") from exc
