"""What a member answers for itself alone: to the others, and where it answers for all."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import attrs
import structlog

from rtmsd.admin.commands import AdminBackend
from rtmsd.admin.fleet.streams import names
from rtmsd.admin.messages import AdminError, Code
from rtmsd.cluster.engine import Bus
from rtmsd.cluster.ownership import Ownership
from rtmsd.daemon.health import Trouble
from rtmsd.errors import RtmsdError
from rtmsd.http.throttle import Throttle
from rtmsd.node.listing import lines_of
from rtmsd.node.questions import (
    CTL,
    Act,
    AskReport,
    AskStreams,
    BadQuestion,
    Drain,
    DrainReport,
    FindStreams,
    Move,
    Names,
    Order,
    Question,
    Report,
    StreamList,
    TroubleLine,
    Undrain,
    decode_question,
    encode_answer,
    encode_refusal,
    fitting,
)
from rtmsd.node.view import View

log = structlog.get_logger(__name__)


class Controls(Protocol):
    """What an operator may have this member do: `Draining`."""

    @property
    def report(self) -> DrainReport | None: ...

    def drain(self) -> None: ...
    def undrain(self) -> None: ...

    async def move(self, rtms_stream_id: str, node: str | None) -> str:
        """Hand over one stream, and return to whom. Raises RtmsdError, with the reason."""


class Health(Protocol):
    @property
    def troubles(self) -> Sequence[Trouble]: ...

    def held_slots(self) -> Collection[str]:
        """Return the streams that another connection keeps from Zoom."""


class Answering:
    """Answers for this member.

    Attributes:
        garbage: questions of other members that are none, counted.
    """

    def __init__(
        self, backend: AdminBackend, health: Health, view: View, *, ownership: Ownership, controls: Controls
    ) -> None:
        self.garbage = 0
        self._backend, self._health, self._view = backend, health, view
        self._ownership, self._controls = ownership, controls
        self._garbage_logged = Throttle(10.0)

    def serve(self, bus: Bus) -> None:
        """Answer the others, from now on."""
        bus.serve(CTL, self._serve)

    async def _serve(self, data: bytes) -> bytes:
        try:
            question = decode_question(data)
        except BadQuestion as bad:
            self.garbage += 1
            if (more := self._garbage_logged.admit()) is not None:
                log.warning("another member asked nonsense", why=str(bad), more_since_last=more)
            raise
        try:
            return encode_answer(await self._answer(question))
        except AdminError as refusal:
            return encode_refusal(refusal)

    async def _answer(self, question: Question) -> Report | StreamList | Names | dict[str, Any]:
        match question:
            case AskReport():
                return self.report()
            case AskStreams():
                return self.streams(include_ended=question.include_ended)
            case FindStreams():
                return self.names(question.prefix)
            case _:
                log.info("order of another member", order=type(question).__name__, **attrs.asdict(question))
                return await self.carry_out(question)

    # What it has

    def report(self) -> Report:
        troubles = [TroubleLine(trouble.code.value, trouble.detail) for trouble in self._health.troubles]
        return Report(troubles=tuple(troubles), drain=self._controls.report)

    def streams(self, *, include_ended: bool) -> StreamList:
        listed = self._backend.streams(include_ended=include_ended)
        slots, ungathered = frozenset(self._health.held_slots()), frozenset(self._view.ungathered())
        return fitting(lines_of(listed, self._ownership.mine, held_slots=slots, ungathered=ungathered))

    def names(self, prefix: str) -> Names:
        """Return the streams that a prefix may mean, or the nearest."""
        known = names(self._backend, prefix)
        live = {name for name, facts in known.items() if facts.get("live")}
        return Names(live=tuple(live), ended=tuple(known.keys() - live))

    # What it does

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Raises AdminError: it cannot be done."""
        match order:
            case Drain():
                self._controls.drain()
            case Undrain():
                self._controls.undrain()
            case Move():
                return await self._move(order)
            case Act():
                return await self._act(order)
        return {}

    async def _move(self, move: Move) -> dict[str, Any]:
        try:
            node = await self._controls.move(move.rtms_stream_id, move.node)
        except RtmsdError as error:
            raise AdminError(Code.REFUSED_IN_STATE, str(error)) from error
        return {"rtms_stream_id": move.rtms_stream_id, "node": node}

    async def _act(self, act: Act) -> dict[str, Any]:
        name = act.rtms_stream_id
        if name not in self._backend.ids():
            raise AdminError(Code.NO_SUCH_STREAM, f"stream {name} is not here any more: try again")
        match act.command:
            case "stream":
                return dict(self._backend.stream(name))
            case "stop":
                await self._backend.stop(name)
            case "reconnect":
                await self._backend.reconnect(name)
        return {"rtms_stream_id": name}
