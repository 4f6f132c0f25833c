"""Commands for tests of the state file, and a state file in memory."""

import sqlite3

from rtmsd.commands import StartStream, StopStream
from rtmsd.protocol.messages import SessionRef
from rtmsd.state.file.schema import migrate


def open_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    migrate(db)
    return db


def start(number: int = 1) -> StartStream:
    return StartStream(
        product="session",
        session=SessionRef("session_id", "s"),
        rtms_stream_id=f"stream-{number}",
        server_urls="wss://x",
        app="main",
        event_ts=number,
    )


def stop(number: int = 1) -> StopStream:
    return StopStream(
        product="session",
        session=SessionRef("session_id", "s"),
        rtms_stream_id=f"stream-{number}",
        app="main",
        event_ts=1000 + number,
        stop_reason=6,
    )
