"""The tenure of streams: whether this process may connect to one."""

from typing import Protocol


class Tenure(Protocol):
    """Asked before each signaling handshake."""

    async def may_connect(self) -> bool:
        """Whether this process may connect now. A refusal counts as a failed attempt."""


class LocalTenure:
    """A daemon that has no peers owns all its streams."""

    async def may_connect(self) -> bool:
        return True
