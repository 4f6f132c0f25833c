"""The error of gathering."""

from rtmsd.errors import RtmsdError


class GatherError(RtmsdError):
    """Parts cannot be joined, or not put where they should go."""
