"""Streams that were not had, or not to their end, as the state file keeps them. Synchronous, for `journal.py`.

A start that is refused has no recording, and what the daemon remembers of an end goes with the process: without this
nobody who looks in the morning would learn what was missed at night.
"""

import enum
import sqlite3
from collections.abc import Iterable
from typing import Final

import attrs

from rtmsd.errors import StorageError

MAX_LOST: Final = 200  # the newest


class Loss(enum.StrEnum):
    """How a stream was lost."""

    REFUSED = "refused"  # its start was answered with 503
    GIVEN_UP = "given_up"  # Zoom could not be reached again in time
    CUT_OFF = "cut_off"  # Zoom ended it for a fault of its own or of the way to it
    FAILED = "failed"  # refused for good by Zoom, or a bug or a disk of ours


@attrs.frozen(kw_only=True)
class LostStream:
    """Attributes:
    event_ts: Zoom's time of the start.
    first_ms, last_ms: local time; a start that Zoom sent again was refused more than once.
    recorded: whether there is a directory, which tells more.
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


def read(db: sqlite3.Connection) -> list[LostStream]:
    """Return all, the oldest first. What a later version wrote and we do not know is left out."""
    known = {loss.value for loss in Loss}
    rows = (dict(row) for row in db.execute("SELECT * FROM lost_stream ORDER BY last_ms"))
    return [
        LostStream(**{**row, "loss": Loss(row["loss"]), "recorded": bool(row["recorded"])})
        for row in rows
        if row["loss"] in known
    ]


def replace(db: sqlite3.Connection, streams: Iterable[LostStream]) -> None:
    """Keep these, and no others."""
    names = [field.name for field in attrs.fields(LostStream)]
    db.execute("DELETE FROM lost_stream")
    try:
        db.executemany(
            f"INSERT INTO lost_stream ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})",
            (attrs.asdict(stream) for stream in streams),
        )
    except (OverflowError, UnicodeEncodeError) as exc:  # ids and times are what somebody sent
        raise StorageError(f"lost streams cannot be kept: {exc}") from exc
