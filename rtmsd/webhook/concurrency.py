"""Zoom's notices that an app nears, or has reached, its limit of concurrent streams; each counts for an hour."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from rtmsd.protocol.speakers import read_number

COUNTS_S: Final = 3600.0
LIMITED: Final = "rtms.concurrency_limited"
NEAR_LIMIT: Final = "rtms.concurrency_near_limit"
KINDS: Final = ("number", "limit")


@attrs.frozen
class _Notice:
    event: str
    number: int | None
    limit: int | None
    at_s: float


class Concurrency:
    """The latest notice about each app."""

    def __init__(self) -> None:
        self._notices: dict[str, _Notice] = {}

    def take(self, app: str, event: str, details: Mapping[str, Any], now_s: float) -> None:
        """Take over a notice; only that of a limit which is near names the limit itself.

        Args:
            now_s: local Unix time.
        """
        earlier = self._notices.get(app)
        limit = _count(details.get("concurrency_limit"))
        if limit is None and earlier is not None:
            limit = earlier.limit
        self._notices[app] = _Notice(event, _count(details.get("concurrency_number")), limit, now_s)

    def warnings(self, now_s: float) -> list[str]:
        """Return a line for each app that had a notice lately."""
        return [_in_words(app, notice) for app, notice in self._notices.items() if _counts(notice, now_s)]

    def gauge(self, apps: Iterable[str], now_s: float) -> dict[tuple[str, str], int]:
        """Return what Zoom last said, by app and one of `KINDS`; 0 where it said nothing lately."""
        return {
            (app, kind): (getattr(notice, kind) or 0) if notice is not None and _counts(notice, now_s) else 0
            for app in apps
            for notice in [self._notices.get(app)]
            for kind in KINDS
        }


def _counts(notice: _Notice, now_s: float) -> bool:
    return now_s - notice.at_s < COUNTS_S


def _in_words(app: str, notice: _Notice) -> str:
    of = "" if notice.limit is None else f" of {notice.limit}"
    at = "" if notice.number is None else f", at {notice.number}{of} streams"
    if notice.event == LIMITED:
        return f"app {app!r}: Zoom starts no new stream: the limit of concurrent streams is reached{at}"
    return f"app {app!r}: the limit of concurrent streams, at which Zoom starts no new one, is near{at}"


def _count(value: object) -> int | None:
    number = read_number(value)
    return number if number is not None and number >= 0 else None
