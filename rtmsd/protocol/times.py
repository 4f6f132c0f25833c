"""Zoom's times, whatever unit they come in, as milliseconds since the Unix epoch.

Never applied to what a keep-alive answer echoes: that goes back exactly as it came.
"""

_NANOSECONDS_FROM = 10**17
_MICROSECONDS_FROM = 10**14
_MILLISECONDS_FROM = 10**11
_SECONDS_FROM = 10**9


def normalise_ms(value: int, origin_ms: int | None = None) -> int | None:
    """Return `value` in milliseconds since the epoch, telling its unit by its size.

    Args:
        value: seconds, milliseconds, microseconds or nanoseconds since the epoch; smaller numbers are milliseconds
            since `origin_ms`.
        origin_ms: start of the stream in Zoom's clock, if known.

    Returns:
        None for a negative number, and for an offset without an origin.

    Source: Zoom documents milliseconds everywhere; its example of message 20 has seconds.
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


def transcript_ms(value: int, origin_ms: int | None = None) -> int | None:
    """Return a transcript's `start_time` or `end_time` in milliseconds since the epoch.

    As `normalise_ms`, except that anything too small for milliseconds is an offset: clients have seen absolute
    times and times relative to the first packet mixed in one transcript, but never seconds.
    """
    if 0 <= value < _MILLISECONDS_FROM:
        return None if origin_ms is None else origin_ms + value
    return normalise_ms(value, origin_ms)
