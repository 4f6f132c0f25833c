"""The streams of a member, as its ownership, router and takeover see them."""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from rtmsd.cluster.records import Own
from rtmsd.commands import StartStream, StreamCommand, Verdict
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited
from rtmsd.state.rows import StreamRow


class Life(Protocol):
    """A stream that is here, as its supervisor has it."""

    @property
    def is_connecting(self) -> bool:
        """Whether it has no signaling connection yet, or again, and may get one."""

    @property
    def end(self) -> object | None:
        """How it ended, as soon as that is decided; None: it lives."""

    def submit(self, command: StreamCommand, /) -> None:
        """Act on a command that was judged and stored."""


class Lives(Protocol):
    """The streams of this process, as ownership needs them: the `Supervisor`."""

    @property
    def streams(self) -> Mapping[str, Life]:
        """The streams that are here now, by `rtms_stream_id`, until their files are finished or suspended."""

    async def accept(self, command: StreamCommand) -> Verdict:
        """Make a command to a stream of mine, or one that needs no owner, safe, then act on it."""

    def adopt(
        self,
        row: StreamRow,
        *,
        begun_by: StreamCommand | None = None,
        cause: GapCause | None = None,
        takeover: Mapping[str, Any] | None = None,
        tenure: PartTenure | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        """Begin a life now: new, by a command that was judged and stored, or resumed from another process."""

    async def let_go(self, rtms_stream_id: str, why: str) -> None:
        """Suspend a stream, without an end. One whose end is decided stays until its files are finished."""

    def refusal(self, start: StartStream) -> str | None:
        """Return why a new stream is refused here now; None: it is not."""

    def refuse(self, start: StartStream, why: str) -> None:
        """Take note that a new stream was refused: Zoom will try again, and somebody will look for it."""


@attrs.frozen
class Claim:
    """A claim, and what is to be begun when it is won."""

    own: Own
    seen: int
    begun_by: StreamCommand | None = None
    cause: GapCause | None = None
    takeover: Mapping[str, Any] | None = None
