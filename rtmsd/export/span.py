"""Times on the command line: `--from` and `--to`, from the start of the recording or as a date."""

import re
from datetime import datetime
from typing import Final, NamedTuple

from rtmsd.export.errors import WrongRequest

_OFFSET: Final = re.compile(r"(\d{1,4}):([0-5]\d):([0-5]\d)(?:\.(\d{1,3}))?")
_FORMS: Final = "H:MM:SS.mmm from the start of the recording, or a date such as 2026-09-21T14:13:20.000Z"


class Moment(NamedTuple):
    """A time as it was written.

    Attributes:
        ms: since the start of the recording, or since the epoch.
    """

    ms: int
    is_offset: bool

    def at(self, started_ms: int) -> int:
        """Return the time in milliseconds since the epoch."""
        return started_ms + self.ms if self.is_offset else self.ms


class Span(NamedTuple):
    """A part of a recording, in milliseconds since the epoch; None: from its start, or to its end."""

    from_ms: int | None
    to_ms: int | None

    def clamp(self, from_ms: int, to_ms: int) -> tuple[int, int]:
        """Return the part of a time that is in the span; empty, with the end not behind the start, if none is."""
        first_ms = from_ms if self.from_ms is None else max(from_ms, self.from_ms)
        return first_ms, max(first_ms, to_ms if self.to_ms is None else min(to_ms, self.to_ms))

    def contains(self, time_ms: int) -> bool:
        return (self.from_ms is None or time_ms >= self.from_ms) and (self.to_ms is None or time_ms < self.to_ms)

    def meets(self, from_ms: int, to_ms: int) -> bool:
        """Return whether a time, which may be empty, is in the span at least in part."""
        is_late = self.to_ms is not None and from_ms >= self.to_ms
        return not is_late and (self.contains(from_ms) or self.from_ms is None or to_ms > self.from_ms)


def read_moment(text: str) -> Moment:
    """Read an argument.

    Raises:
        ValueError: it is no time, with the forms that are.
    """
    if found := _OFFSET.fullmatch(text):
        hours, minutes, seconds = (int(part) for part in found.groups()[:3])
        return Moment(((hours * 60 + minutes) * 60 + seconds) * 1000 + int((found[4] or "").ljust(3, "0")), True)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write {_FORMS}") from None
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: end it with Z, or with an offset such as +02:00")
    return Moment(int(time.timestamp()) * 1000 + time.microsecond // 1000, False)


def write_offset(offset_ms: int) -> str:
    """Return a time since the start of a recording as `read_moment` takes it; one before it with a minus sign."""
    seconds, ms = divmod(abs(offset_ms), 1000)
    return f"{'-' * (offset_ms < 0)}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def resolve(first: Moment | None, last: Moment | None, started_ms: int, end_ms: int) -> Span:
    """Return the span between two moments of a recording.

    Raises:
        WrongRequest: nothing of the recording is in it.
    """
    from_ms = None if first is None else first.at(started_ms)
    to_ms = None if last is None else last.at(started_ms)
    length = write_offset(end_ms - started_ms)
    if from_ms is not None and from_ms >= end_ms:
        raise WrongRequest(
            f"--from is {write_offset(from_ms - started_ms)} after the start; the recording has {length}"
        )
    if to_ms is not None and to_ms <= (started_ms if from_ms is None else from_ms):
        before = "the start of the recording" if from_ms is None else "--from"
        raise WrongRequest(f"--to ({write_offset(to_ms - started_ms)} from the start) is not after {before}")
    return Span(from_ms, to_ms)
