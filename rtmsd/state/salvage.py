"""The streams of a damaged state file, as far as they can be read. Blocks; for a thread."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rtmsd.state import ledger
from rtmsd.state.file.set_aside import FILES
from rtmsd.state.rows import StreamRow


def salvage(damaged: Path) -> list[StreamRow]:
    """Return the streams that can still be read, from a copy: the set-aside file stays unchanged."""
    copy = damaged.with_name(f"{damaged.name}.copy")
    try:
        for suffix in FILES[:2]:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{damaged}{suffix}", f"{copy}{suffix}")
        return list(_readable(copy))
    except OSError:
        return []
    finally:
        for suffix in FILES:
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


def _readable(path: Path) -> Iterator[StreamRow]:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as db:
        for row in ledger.rows(db):
            texts = (row.rtms_stream_id, row.product, row.session.key, row.session.id, row.app, row.server_urls or "")
            numbers = (row.event_ts, row.started_ms or 0, row.stop_reason or 0, row.stopped_ms or 0)
            if all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers):
                yield row
