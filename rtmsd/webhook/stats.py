"""Counts of the webhook endpoint, for metrics, status and `rtmsctl doctor`."""

import enum
from collections import Counter
from typing import Final

import attrs

from rtmsd.masking import sanitize_remote_text
from rtmsd.webhook.concurrency import Concurrency
from rtmsd.webhook.events import ConcurrencyNotice


class Result(enum.StrEnum):
    """The outcome of a POST to the webhook's path; label of `rtmsd_webhooks_total`."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    LATE = "late"
    FOREIGN = "foreign"  # genuine, but about a stream of another app
    VALIDATION = "validation"
    NOTICE = "notice"
    UNKNOWN = "unknown"
    BAD_EVENT = "bad_event"  # genuine, but malformed
    UNSIGNED = "unsigned"  # without its headers
    STALE = "stale"  # genuine, but its timestamp is too far from our clock
    SWAPPED = "swapped"  # signed with what we have as a client secret
    FORGED = "forged"  # no secret of ours verifies it
    REFUSED = "refused"  # a start while draining or short of disk
    UNSAFE = "unsafe"  # a command that could not be journalled, or not in time
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    CRASHED = "crashed"  # answered 500: a bug, in whatever path of ours


DISTRUSTED = frozenset({Result.UNSIGNED, Result.STALE, Result.SWAPPED, Result.FORGED})
SIGNED_AND_DISTRUSTED = DISTRUSTED - {Result.UNSIGNED}
STREAM_EVENTS = frozenset(
    {Result.ACCEPTED, Result.DUPLICATE, Result.LATE, Result.FOREIGN, Result.REFUSED, Result.UNSAFE}
)
NO_EVIDENCE = frozenset(
    {Result.UNSIGNED, Result.TOO_LARGE, Result.TOO_SLOW, Result.CRASHED}
)  # no signature was checked: from anybody

CRASH_COUNTS_S: Final = 3600.0  # even when later requests succeed: it is a bug


@attrs.define
class WebhookStats:
    """Counted in the Trio thread, and read there.

    Attributes:
        last_s: local Unix time of the latest POST of each result.
        distrusted_in_row: signed POSTs answered 401 since the last genuine one. Unsigned ones are not Zoom's.
        skew_s: local time minus the signed timestamp of the latest genuine webhook, stale ones too: how far our clock
            is ahead of Zoom's, plus the time of delivery.
        last_notice: Zoom's latest notice of the concurrency limit.
        concurrency: what its notices say of each app.
        last_bad_event: why the latest genuine body was no event that we can act on.
        last_crash: the latest error that was answered 500, in a line.
    """

    results: Counter[str] = attrs.field(factory=Counter)
    last_s: dict[str, float] = attrs.field(factory=dict)
    distrusted_in_row: int = 0
    skew_s: float | None = None
    last_notice: ConcurrencyNotice | None = None
    concurrency: Concurrency = attrs.field(factory=Concurrency)
    last_bad_event: str = ""
    last_crash: str = ""

    def count(self, result: Result, now_s: float) -> None:
        self.results[result] += 1
        self.last_s[result] = now_s
        if result in NO_EVIDENCE:
            return
        self.distrusted_in_row = self.distrusted_in_row + 1 if result in DISTRUSTED else 0

    def count_crash(self, error: str, now_s: float) -> None:
        self.count(Result.CRASHED, now_s)
        self.last_crash = sanitize_remote_text(error)

    def crashed_lately(self, now_s: float) -> bool:
        """Whether a request was answered 500 within an hour, or since the last that was not."""
        crashed_s = self.last_s.get(Result.CRASHED)
        return crashed_s is not None and (now_s - crashed_s < CRASH_COUNTS_S or crashed_s >= max(self.last_s.values()))
