"""Messages of other processes that cannot be read: refused, counted by kind, and logged now and then."""

from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from rtmsd.errors import RtmsdError
from rtmsd.system.throttle import Throttle

log = structlog.get_logger(__name__)

T = TypeVar("T")

_LOG_EVERY_S: Final = 10.0


class Garbage:
    """One for all that a process is sent.

    Attributes:
        counts: of messages, by kind.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged = Throttle(_LOG_EVERY_S)

    def reader(self, kind: str, decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
        """Return what reads messages of a kind as `decode` does, and raises the same `RtmsdError`."""
        self.counts[kind] = 0

        def read(data: bytes) -> T:
            try:
                return decode(data)
            except RtmsdError as bad:
                self.counts[kind] += 1
                if (more := self._logged.admit()) is not None:
                    log.warning("message of another process unreadable", kind=kind, why=str(bad), more_since_last=more)
                raise

        return read
