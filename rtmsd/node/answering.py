"""What a member answers for itself alone: to the others, and where it answers for all."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

import attrs
import structlog

from rtmsd.admin.commands import AdminBackend
from rtmsd.admin.fleet.streams import names
from rtmsd.admin.messages import AdminError, Code
from rtmsd.cluster.engine import Bus
from rtmsd.cluster.ownership import Ownership
from rtmsd.daemon.health import Trouble
from rtmsd.errors import RtmsdError
from rtmsd.node.draining import Draining
from rtmsd.node.listing import lines_of
from rtmsd.node.questions import (
    CTL,
    Act,
    AskReport,
    AskStreams,
    Drain,
    FindStreams,
    Gather,
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
from rtmsd.system.garbage import Garbage

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Health(Protocol):
    @property
    def troubles(self) -> Sequence[Trouble]: ...

    def held_slots(self) -> Collection[str]:
        """Return the streams that another connection keeps from Zoom."""


class Answering:
    """Answers for this member.

    Args:
        ungathered: returns the streams whose parts are to be joined here.
        gather: joins those of one: see `gather_now`.
    """

    def __init__(
        self,
        backend: AdminBackend,
        health: Health,
        *,
        ownership: Ownership,
        draining: Draining,
        ungathered: Callable[[], Collection[str]],
        gather: Callable[[str], Awaitable[dict[str, Any]]],
        garbage: Garbage,
    ) -> None:
        self._backend, self._health = backend, health
        self._ownership, self._draining, self._ungathered = ownership, draining, ungathered
        self._gather = gather
        self._read = garbage.reader("question", decode_question)

    def serve(self, bus: Bus) -> None:
        """Answer the others, from now on."""
        bus.serve(CTL, self._serve)

    async def _serve(self, data: bytes) -> bytes:
        question = self._read(data)
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
        return Report(troubles=tuple(troubles), drain=self._draining.report)

    def streams(self, *, include_ended: bool) -> StreamList:
        listed = self._backend.streams(include_ended=include_ended)
        slots, ungathered = frozenset(self._health.held_slots()), frozenset(self._ungathered())
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
                self._draining.drain(order.node)
            case Undrain():
                self._draining.undrain(order.node)
            case Move():
                return await self._move(order)
            case Act():
                return await self._act(order)
            case Gather():
                return await _or_refused(self._gather(order.rtms_stream_id))
        return {}

    async def _move(self, move: Move) -> dict[str, Any]:
        node = await _or_refused(self._draining.move(move.rtms_stream_id, move.node))
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


async def _or_refused(work: Awaitable[T]) -> T:
    """Return what comes of it. Raises AdminError: its reason, if nothing does."""
    try:
        return await work
    except RtmsdError as error:
        raise AdminError(Code.REFUSED_IN_STATE, str(error)) from error
    except OSError as error:
        raise AdminError(Code.FAILED, str(error)) from error
