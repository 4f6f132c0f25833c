"""Times, sizes and names in the form that people read."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rtmsd.terminal import printable

__all__ = ["UNKNOWN", "clock", "duration", "listed", "milliseconds", "moment", "printable", "size"]

UNKNOWN: Final = "-"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def size(amount_bytes: float | None) -> str:
    """1536 -> "1.5 KiB"."""
    if amount_bytes is None:
        return UNKNOWN
    amount = float(amount_bytes)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """The two largest units: 3725 -> "1h02m", 8.25 -> "8.2s"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest_s = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest_s:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h"


def listed(values: Mapping[str, Any] | None) -> str:
    """Return named figures in one line, nested ones with their path: "messages.audio 12, free 1.5 GiB"."""

    def flat(level: Mapping[str, Any], before: str) -> Iterator[str]:
        for name, value in level.items():
            if isinstance(value, Mapping):
                yield from flat(value, f"{before}{name}.")
            elif name.endswith("_bytes"):
                yield f"{before}{name.removesuffix('_bytes')} {size(value)}"
            elif name.endswith("_s"):
                yield f"{before}{name.removesuffix('_s')} {duration(value)}"
            elif isinstance(value, list):
                yield f"{before}{name} {' '.join(map(str, value))}"
            else:
                yield f"{before}{name} {UNKNOWN if value is None else value}"

    return ", ".join(flat(values or {}, "")) or UNKNOWN


def milliseconds(amount_ms: float | None) -> str:
    """As `duration`, from milliseconds."""
    return duration(None if amount_ms is None else amount_ms / 1000)


def clock(at_ms: int | None) -> str:
    """Local time of day with milliseconds."""
    if at_ms is None:
        return UNKNOWN
    return time.strftime("%H:%M:%S", time.localtime(at_ms // 1000)) + f".{at_ms % 1000:03}"


def moment(at_ms: int | None) -> str:
    """Local date and time."""
    if at_ms is None:
        return UNKNOWN
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))
