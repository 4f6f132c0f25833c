"""What Zoom said lately to any stream, for `rtmsctl doctor`."""

import time
from typing import Final

import attrs

MAX_NUMBERS: Final = 256  # whatever numbers a server makes up


@attrs.define
class History:
    """Local Unix times in seconds, the latest of each kind.

    Attributes:
        accepted_s: of the latest signaling handshake that succeeded.
        refused_s: of the latest refused handshake, by status code.
        stopped_s: of the latest end of a stream, by stop reason.
    """

    accepted_s: float | None = None
    refused_s: dict[int, float] = attrs.field(factory=dict)
    stopped_s: dict[int, float] = attrs.field(factory=dict)

    def accepted(self) -> None:
        self.accepted_s = time.time()

    def refused(self, status_code: int) -> None:
        _note(self.refused_s, status_code)

    def stopped(self, reason: int) -> None:
        _note(self.stopped_s, reason)


def _note(times_s: dict[int, float], number: int) -> None:
    if number in times_s or len(times_s) < MAX_NUMBERS:
        times_s[number] = time.time()
