"""Diagnostics: what Zoom said lately to any stream, for `rtmsctl doctor`."""

import time
from collections.abc import Iterable
from typing import Final

import attrs

MAX_NUMBERS: Final = 256  # whatever numbers a server makes up


@attrs.frozen
class Failures:
    """Streams of one app that failed, without one in between that connected.

    Attributes:
        number: how many.
        rtms_stream_id, why: of the latest.
    """

    number: int
    rtms_stream_id: str
    why: str


@attrs.define
class Diagnostics:
    """Local Unix times in seconds, the latest of each kind, and what fails.

    Attributes:
        refusals: the latest stream and why, by app and media type, of media that were asked for and not granted since.
        failures: by app, since one of its streams last connected for the first time.
        accepted_s: of the latest signaling handshake that succeeded.
        refused_s: of the latest refused handshake, by status code.
        stopped_s: of the latest end of a stream, by stop reason.
    """

    accepted_s: float | None = None
    refused_s: dict[int, float] = attrs.field(factory=dict)
    stopped_s: dict[int, float] = attrs.field(factory=dict)
    failures: dict[str, Failures] = attrs.field(factory=dict)
    refusals: dict[tuple[str, str], tuple[str, str]] = attrs.field(factory=dict)

    def accepted(self) -> None:
        self.accepted_s = time.time()

    def connected(self, app: str) -> None:
        """A new stream has media: whatever kept others from it has gone."""
        self.failures.pop(app, None)

    def failed(self, app: str, rtms_stream_id: str, why: str) -> None:
        """A stream never had media, or ended before its time."""
        earlier = self.failures.get(app)
        self.failures[app] = Failures(1 + (earlier.number if earlier else 0), rtms_stream_id, why)

    def media_refused(self, app: str, rtms_stream_id: str, media: Iterable[str], why: str) -> None:
        """A stream goes on, or ends, without media that were asked for."""
        self.refusals |= dict.fromkeys(((app, name) for name in media), (rtms_stream_id, why))

    def media_granted(self, app: str, media: Iterable[str]) -> None:
        for name in media:
            self.refusals.pop((app, name), None)

    def refused(self, status_code: int) -> None:
        _note(self.refused_s, status_code)

    def stopped(self, reason: int) -> None:
        _note(self.stopped_s, reason)


def _note(times_s: dict[int, float], number: int) -> None:
    if number in times_s or len(times_s) < MAX_NUMBERS:
        times_s[number] = time.time()
