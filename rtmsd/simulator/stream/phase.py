"""The phases of a stream on Zoom's side."""

import enum
from typing import Final


class SimPhase(enum.Enum):
    AWAITING = enum.auto()  # rtms_started is sent, no client has attached yet
    UP = enum.auto()  # signaling is up
    INTERRUPTED = enum.auto()  # signaling is lost, the window runs
    TERMINATING = enum.auto()
    ENDED = enum.auto()


OVER: Final = frozenset({SimPhase.TERMINATING, SimPhase.ENDED})
