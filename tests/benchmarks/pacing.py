"""Frames at a steady pace on many streams, evenly spread over the period; and how late the sender itself was.

A frame is rendered once for all streams whose next one has the same time: rendering would else be half of what a
message costs, and with 1500 streams the load generator has 13 us for each.
"""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.benchmarks.connection import Connection
from tests.benchmarks.frames import Frames

_LATE_BUCKET_NS: Final = 100_000
_LATE_BUCKETS: Final = 10_000


class Pace:
    """One pace for a number of streams: who is due next, and when.

    Attributes:
        due_ns: when the next frame is to be sent, in the monotonic clock.

    Args:
        next_ms: the time of each stream's next frame, in Zoom's clock; kept up to date.
        late: counts of frames by how late they were sent, for `late_ms`.
    """

    def __init__(
        self, frames: Frames, streams: Sequence[str], next_ms: dict[str, int], begin_ns: int, late: list[int]
    ) -> None:
        self._frames = frames
        self._streams = streams
        self._next_ms = next_ms
        self._begin_ns = begin_ns
        self._count = 0  # of frames that were due
        self.due_ns = begin_ns
        self._late = late

    def send_due(
        self, until_ns: int, media: Mapping[str, Connection], backlog_bytes: int, drop: Callable[[Connection], None]
    ) -> None:
        """Send what is due by then. A stream that is not connected now is passed over."""
        frames, streams, next_ms, late = self._frames, self._streams, self._next_ms, self._late
        many, period_ms = len(streams), frames.period_ms
        period_ns = period_ms * 1_000_000
        while self.due_ns <= until_ns:
            stream = streams[self._count % many]
            connection = media.get(stream)
            if connection is not None:
                if connection.queued_bytes > backlog_bytes:
                    connection.skipped_messages += 1
                else:
                    now_ns = time.monotonic_ns()
                    late[min(_LATE_BUCKETS, (now_ns - self.due_ns) // _LATE_BUCKET_NS)] += 1
                    time_ms = next_ms[stream]
                    next_ms[stream] = time_ms + period_ms
                    frames.set_time(time_ms)
                    frames.stamp(now_ns)
                    try:
                        connection.write(frames.view)
                    except (OSError, ssl.SSLError):
                        drop(connection)
                    else:
                        connection.sent_messages += 1
            self._count += 1
            self.due_ns = self._begin_ns + period_ns * self._count // many


def no_frames() -> list[int]:
    """Counts of frames sent 0, 0.1, 0.2 ... ms late, before the first."""
    return [0] * (_LATE_BUCKETS + 1)


def late_ms(counts: Sequence[int], percent: float) -> float | None:
    """How late frames were sent, by percentile; None: none were."""
    beyond = sum(counts) * (1 - percent / 100)
    for bucket in range(len(counts) - 1, -1, -1):
        beyond -= counts[bucket]
        if counts[bucket] and beyond <= 0:
            return bucket * _LATE_BUCKET_NS / 1e6
    return None
