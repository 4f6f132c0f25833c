"""The fate of everything a simulated Zoom was to send."""

import enum
from typing import Final


class Fate(enum.IntEnum):
    """What happened to a packet, an item or a frame; the record holds one for each."""

    SENT = 0  # handed to the kernel in time
    BUFFERED = 1  # handed to the kernel late, out of the buffer
    IN_FLIGHT = 2  # handed to the kernel before a reset discarded what had not left: it may have arrived
    LOST = 3  # given to a connection that played dead: it cannot have arrived
    DISCARDED = 4  # never sent: too old, not wanted (`buffer_data` false), or nobody connected


ARRIVED: Final = frozenset({Fate.SENT, Fate.BUFFERED})
