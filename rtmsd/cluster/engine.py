"""The engine: what members share. Who owns which stream, and how a member asks another.

There are three: in memory for tests, SQLite for the workers of one machine, NATS for several machines. `OwnerStore` and
`Bus` are needed by all; `StreamLog` by members that share no disk.

Every call can be cancelled. What a cancelled or failed write did is unknown: read it back.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias

from rtmsd.cluster.records import Held, Own
from rtmsd.errors import RtmsdError


class EngineError(RtmsdError):
    """Something that a member has to reckon with."""


class Lost(EngineError):
    """A claim came second: `winner` is what the engine has instead."""

    def __init__(self, winner: Held) -> None:
        who = "nobody" if winner.own is None else f"{winner.own.node}, epoch {winner.own.epoch}"
        super().__init__(f"the stream was claimed by another: {who}")
        self.winner = winner


class Fenced(EngineError):
    """The token is not the newest: the stream is another's by now."""


class Away(EngineError):
    """No answer from the engine, or none in time: whether it was done is unknown."""


class Nobody(EngineError):
    """There is no such member to ask: it is known to be dead, or nothing answers where it should be."""


class Refused(EngineError):
    """The member that was asked says no; the text is its reason."""


class OwnerStore(Protocol):
    """Who owns a stream. Reads are never stale: they see every claim that was answered before they began."""

    @property
    def is_up(self) -> bool:
        """Whether the engine is reachable, as far as is known."""

    async def read(self, rtms_stream_id: str) -> Held:
        """Return the newest record and what is known; an empty `Held` for a stream that nobody heard of.

        Raises:
            Away: no answer.
        """

    async def claim(self, own: Own, *, seen: int) -> int:
        """Write the record, if the newest one is still the one with token `seen` (0: none). Returns its token, greater
        than any before. `own.known` becomes what is known of the stream, in the same step.

        Raises:
            Lost: another was quicker. A claim of ours whose answer was lost is found by its nonce, and no loss.
            Away: no answer; it may have been written.
        """

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        """Return live streams whose owner's incarnation is not among these, and unfinished ones that nobody owns.

        Raises:
            Away: no answer.
        """


Handler: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Answers a member's question. An `EngineError` that it raises is the asker's `Refused`."""


class Bus(Protocol):
    """Questions from member to member."""

    async def ask(self, node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
        """Have a member answer.

        Args:
            what: "hook", "take", "ctl", ...

        Raises:
            Nobody: it was not received: nobody listens there.
            Away: no answer in time; it may have been received, and be carried out.
            Refused: it was, and the answer is no.
        """

    def serve(self, what: str, handler: Handler) -> None:
        """Answer questions of this kind, from now on."""
