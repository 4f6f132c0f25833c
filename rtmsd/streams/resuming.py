"""The order in which streams of an earlier process are taken up: first those that have been without media longest."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.disk.retrying import RunSync
from rtmsd.recording.manifest.schema import MANIFEST
from rtmsd.state.rows import StreamRow

_LOOK_S: Final = 2.0  # at the manifests of all streams; 500 take a twentieth of that


async def longest_out_first(roots: Sequence[Path], rows: list[StreamRow], run_sync: RunSync) -> list[StreamRow]:
    """Return streams in the order in which Zoom gives them up; as they were where a stuck disk does not say.

    Args:
        roots: the directories of recordings.
    """
    with trio.move_on_after(_LOOK_S):
        rows = await run_sync(lambda: sorted(rows, key=lambda row: _heard_ms(roots, row)), abandon_on_cancel=True)
    return rows


def _heard_ms(roots: Sequence[Path], row: StreamRow) -> int:
    """When media came last, roughly: as long as they do, the manifest is written every few seconds."""
    started_ms = row.event_ts if row.started_ms is None else row.started_ms
    for root in roots:
        with contextlib.suppress(OSError):
            manifest = stream_directory(root, started_ms, row.rtms_stream_id) / MANIFEST
            return max(row.event_ts, manifest.stat().st_mtime_ns // 1_000_000)
    return row.event_ts
