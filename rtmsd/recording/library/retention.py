"""Retention: the recordings that are too old, or too much. Pure; off unless configured."""

from collections.abc import Collection, Iterable

from rtmsd.recording.disk.paths import DAY_MS
from rtmsd.recording.library.catalog import Recording


def overdue(
    recordings: Iterable[Recording], live: Collection[str], *, keep_days: int, keep_bytes: int, now_ms: int
) -> list[Recording]:
    """Return what has to go, the oldest first.

    Receipts grow old like all others, but are never in the way of something new: they free no space. Live streams
    count into the space that is used and always stay.

    Args:
        live: names (`safe_name`) of the streams that are alive.
        keep_days: how long a recording is kept after its end; 0 is for ever.
        keep_bytes: how much all together may occupy; 0 is any amount.
        now_ms: local time.
    """
    by_age = sorted(recordings, key=lambda recording: recording.last_ms)
    used_bytes = sum(recording.bytes for recording in by_age)
    doomed = []
    for recording in by_age:
        too_old = keep_days > 0 and recording.last_ms < now_ms - keep_days * DAY_MS
        too_much = 0 < keep_bytes < used_bytes and not recording.is_receipt
        if (too_old or too_much) and recording.name not in live:
            doomed.append(recording)
            used_bytes -= recording.bytes
    return doomed
