"""The counts of what Zoom sent to one stream and this version does not know. The log gets each name once."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import structlog

from rtmsd.protocol.unknown import WHOLE, Unknown, UnknownKind

log = structlog.get_logger()

MAX_NAMES: Final = 100  # counted each by itself; further ones together, as
OTHERS: Final = "others"


class UnknownCounts:
    """Attributes:
    names: how often each came, those of earlier processes included.
    kinds: how much of each kind came to this process.
    """

    def __init__(self, earlier: Mapping[str, int]) -> None:
        self.names = Counter(dict(earlier))
        self.kinds: Counter[UnknownKind] = Counter()

    def add(self, what: Unknown) -> int:
        """Count one, and return how many of its name there are by now."""
        self.kinds[what.kind] += 1
        name = what.name if what.name in self.names or len(self.names) < MAX_NAMES else OTHERS
        self.names[name] += 1
        if self.names[name] == 1:
            log.info("unknown to this version", kind=what.kind.value, name=what.name)
        return self.names[name]

    @property
    def whole(self) -> int:
        """The number of whole messages that this process could not make sense of."""
        return sum(self.kinds[kind] for kind in WHOLE)
