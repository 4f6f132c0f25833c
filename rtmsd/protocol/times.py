"""Times from outside, whatever unit and type they come in, as milliseconds since the Unix epoch.

For media, events, states and webhooks alike. Never applied to what a keep-alive answer echoes: that goes back exactly
as it came.
"""

import math
import re
from typing import Final

_NANOSECONDS_FROM = 10**17
_MICROSECONDS_FROM = 10**14
_MILLISECONDS_FROM = 10**11
_SECONDS_FROM = 10**9

_MAX: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,9})?")

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01


def read_time(value: object) -> int | None:
    """Return a time as a whole number in the unit in which it was sent; None for what is no number.

    A number may come as a decimal string or with a fraction, which counts in seconds and is cut off in finer units.
    """
    if type(value) is int:
        return value if abs(value) <= _MAX else None
    if isinstance(value, str):
        if (number := _NUMBER.fullmatch(value)) is None:
            return None
        return read_time(float(value) if number[1] else int(value))
    if not isinstance(value, float) or not math.isfinite(value) or abs(value) > _MAX:
        return None
    return int(value * 1000) if _SECONDS_FROM <= value < _MILLISECONDS_FROM else int(value)


def normalise_ms(value: int, origin_ms: int | None = None) -> int | None:
    """Return `value` in milliseconds since the epoch, its unit known by its size.

    Args:
        value: seconds, milliseconds, microseconds or nanoseconds since the epoch; smaller numbers are milliseconds
            since `origin_ms`.
        origin_ms: start of the stream in Zoom's clock, if known.

    Returns:
        None for a negative number, and for an offset without an origin.

    Source: Zoom documents milliseconds everywhere; its example of message 20 has seconds, a published log of a
        meeting microseconds in transcripts and events, and other clients saw offsets in transcripts.
    """
    if value < 0:
        return None
    if value >= _NANOSECONDS_FROM:
        return value // 1_000_000
    if value >= _MICROSECONDS_FROM:
        return value // 1000
    if value >= _MILLISECONDS_FROM:
        return value
    if value >= _SECONDS_FROM:
        return value * 1000
    return None if origin_ms is None else origin_ms + value


def time_ms(value: object, origin_ms: int | None = None) -> int | None:
    """Return a time of any type and unit in milliseconds since the epoch; None for what is no time."""
    number = read_time(value)
    return None if number is None else normalise_ms(number, origin_ms)


def is_believable(ms: int) -> bool:
    """Whether a stream can be of that time: not of 1970, which is what a wrong unit makes of today, nor of 2100."""
    return EARLIEST_MS <= ms < LATEST_MS
