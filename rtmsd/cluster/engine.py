"""The engine: what members share. Who owns which stream, and how a member asks another.

There are three: in memory for tests, SQLite for the workers of one machine, NATS for several machines. `OwnerStore` and
`Bus` are needed by all; `StreamLog` and `Beats` by members that share no disk.

Every call can be cancelled. What a cancelled or failed write did is unknown: read it back.
"""

import enum
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import attrs

from rtmsd.cluster.records import Beat, Held, Log, Own, Part, Revoked, Row
from rtmsd.errors import RtmsdError

T = TypeVar("T")

MAX_MESSAGE_BYTES: Final = 512 * 1024
"""Of a question and of an answer. A piece of a recording that is gathered has 256 KiB."""

PAGE: Final = 64
"""Records that are read at a time."""

BEATS_KEPT: Final = 1024
"""Beats that wait to be heard. When there are more, all are dropped, and `Ear.DEAF` is heard in their place."""


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


class Elsewhere(EngineError):
    """The stream is a living member's, other than this one: `node`."""

    def __init__(self, node: str) -> None:
        super().__init__(f"the stream is owned by member {node}")
        self.node = node


class TooNew(EngineError):
    """The stream's record was written by a newer version: it is left to members of that version."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the stream's record is of version {version}; update rtmsd here")

    @classmethod
    def check(cls, held: Held) -> None:
        """Raise it where the record is a newer version's."""
        if held.own is not None and held.own.is_newer:
            raise cls(held.own.version)


class TooLarge(EngineError):
    """More than `MAX_MESSAGE_BYTES`: nothing was sent."""

    def __init__(self, what: str, size_bytes: int) -> None:
        super().__init__(f"{what} of {size_bytes} bytes is larger than {MAX_MESSAGE_BYTES}")


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
"""Answers a member's question. An `EngineError` that it raises is the asker's `Refused`, with its text. Any other error
is a bug: it is logged, and the asker's `Refused` too. An asker that no longer waits does not cancel it."""


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
            TooLarge: it was not sent.
        """

    def serve(self, what: str, handler: Handler) -> None:
        """Answer questions of this kind, from now on."""


@attrs.frozen
class Placed(Generic[T]):
    """A record with its place: those that were written later have greater ones, also across streams' logs."""

    place: int
    record: T


class StreamLog(Protocol):
    """What members that share no disk have to know of each other's streams.

    Row, part and log of one stream. Owners write with their token; who has lost the stream is `Fenced`.
    """

    async def append(self, log: Log) -> None:
        """Add lines. One append for each stream is in flight at a time: what comes meanwhile waits for its turn.

        Raises:
            Fenced: `log.token` is not the newest.
            Away: no answer; they may have been added. Adding the same `log` again does no harm.
            BadRecord: see `codec.encode`: nothing was sent. So it is for all that is written.
        """

    async def put_row(self, row: Row) -> None:
        """Replace what is known of a stream.

        Raises:
            Fenced, Away: as in `append`.
        """

    async def put_part(self, part: Part) -> None:
        """Replace what a member says of its part. Not fenced: only that member writes it.

        Raises:
            Away: as in `append`.
        """

    async def parts(self, rtms_stream_id: str) -> Sequence[Part]:
        """Return the parts of a stream, by the names of their members.

        Raises:
            Away: no answer.
        """

    async def read_log(self, rtms_stream_id: str, *, after: int = 0) -> Sequence[Placed[Log]]:
        """Return up to `PAGE` of the appended, in order; none: that was all. An append that was repeated may be there
        twice: see `rules.without_repeats`.

        Args:
            after: the place of the last one that was read.

        Raises:
            Away: no answer.
        """

    async def purge(self, rtms_stream_id: str) -> None:
        """Forget row, parts and log of a stream. Its ownership record stays.

        Raises:
            Away: no answer; it may have been done.
        """

    async def revoke(self, revoked: Revoked) -> None:
        """Order all members to delete a stream.

        Raises:
            Away: no answer; it may have been ordered. Ordering it again does no harm.
        """

    async def revocations(self, *, after: int = 0) -> Sequence[Placed[Revoked]]:
        """Wait until there are orders to delete, and return up to `PAGE` of them, in order. No outage is an error: it
        goes on waiting.

        Args:
            after: the place of the last one that was carried out.
        """


class Ear(enum.Enum):
    """What may be heard in place of a beat."""

    DEAF = enum.auto()  # others may have been missed: the connection was lost, or it was not read in time


class Beats(Protocol):
    """Signs of life."""

    async def beat(self, beat: Beat) -> None:
        """Let all members hear a beat, this one too. It is not kept for later.

        Raises:
            Away: there is no connection: nobody hears it.
        """

    async def hear(self) -> Beat | Ear:
        """Wait for the next beat; those that came meanwhile are heard in order, up to `BEATS_KEPT`."""


class Engine(OwnerStore, Bus, StreamLog, Beats, Protocol):
    """All of it: for members on several machines."""
