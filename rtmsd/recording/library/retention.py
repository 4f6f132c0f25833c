"""Retention: the recordings that are too old, or too much. Pure; off unless configured."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from rtmsd.recording.disk.paths import DAY_MS
from rtmsd.recording.library.catalog import Recording

UNGATHERED_DAYS: Final = 7
"""So long a part is kept that another member of a cluster is to join with its own."""
_NONE_GATHERED: Final[Mapping[str, int]] = {}


def overdue(
    recordings: Iterable[Recording],
    live: Collection[str],
    *,
    keep_days: int,
    keep_bytes: int,
    gathered: Mapping[str, int] = _NONE_GATHERED,
    now_ms: int,
) -> list[Recording]:
    """Return what has to go, the oldest first.

    Receipts grow old like all others, but are never in the way of something new: they free no space. Live streams, and
    parts that are still to be gathered, count into the space that is used and always stay.

    Args:
        live: names (`safe_name`) of the streams that are alive.
        keep_days: how long a recording is kept after its end; 0 is for ever.
        keep_bytes: how much all together may occupy; 0 is any amount.
        gathered: when parts were joined with the others', by name.
        now_ms: local time.
    """
    by_age = sorted(recordings, key=lambda recording: recording.last_ms)
    used_bytes = sum(recording.bytes for recording in by_age)
    doomed = []
    for recording in by_age:
        too_old = keep_days > 0 and recording.last_ms < now_ms - keep_days * DAY_MS
        too_much = 0 < keep_bytes < used_bytes and not recording.is_receipt
        stays = recording.name in live or _is_to_be_gathered(recording, gathered, now_ms)
        if (too_old or too_much) and not stays:
            doomed.append(recording)
            used_bytes -= recording.bytes
    return doomed


def _is_to_be_gathered(recording: Recording, gathered: Mapping[str, int], now_ms: int) -> bool:
    is_young = recording.last_ms >= now_ms - UNGATHERED_DAYS * DAY_MS
    return recording.is_part and is_young and gathered.get(recording.name, -1) < recording.last_ms
