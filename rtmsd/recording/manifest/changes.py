"""A count of the changes that a manifest has to report at once, shared by all that it is made of."""


class ChangeCounter:
    """Compared by the flusher with the count that the manifest on disk was written with."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        """Something changed that must not wait for the next write of the counters."""
        self.count += 1
