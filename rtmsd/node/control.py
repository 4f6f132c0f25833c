"""The admin API of all members: one answers for all, asks the others, and has them do what concerns them."""

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import structlog
import trio

from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.admin.routing import resolve
from rtmsd.cluster.engine import Away, EngineError, Nobody, OwnerStore
from rtmsd.cluster.members import Members
from rtmsd.cluster.parts.joining import Engine
from rtmsd.cluster.records import Held, PartState
from rtmsd.cluster.rules import why_no_room
from rtmsd.config import is_called
from rtmsd.daemon.doctor import findings_json
from rtmsd.node.answering import Answering
from rtmsd.node.listing import merged
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
    Undrain,
    decode_answer,
    encode_question,
)
from rtmsd.node.view import View, wrong

log = structlog.get_logger(__name__)

T = TypeVar("T")

ASK_S: Final = 0.5
OWNER_S: Final = 5.0
MOVE_S: Final = 15.0
GATHER_S: Final = 600.0  # then it goes on, and who asks again hears what came of it


@attrs.frozen
class Answers(Generic[T]):
    """The answers of all members, this one's among them, by node; and why some have none."""

    heard: dict[str, T]
    silent: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Found:
    """A stream, and the member that has it."""

    rtms_stream_id: str
    node: str
    is_live: bool = False


class Control:
    """Implements `rtmsd.admin.cluster.ClusterBackend`.

    Args:
        here: answers for this member.
        store: knows of streams that nobody owns.
        engine: knows who has parts of others, and asks them.
    """

    def __init__(self, here: Answering, view: View, members: Members, store: OwnerStore, engine: Engine) -> None:
        self._here, self._view, self._members, self._store, self._engine = here, view, members, store, engine

    @property
    def _me(self) -> str:
        return self._members.me.node

    # All are asked

    async def status(self) -> JsonObject:
        """See `ClusterBackend`, as the others."""
        answers = await self._ask_all(AskReport(), self._here.report(), Report)
        survey, members = await self._view.survey(), self._view.members()
        reports = sorted(answers.heard.items())
        drains = {node: report.drain for node, report in reports}
        silent = answers.silent if self._view.is_engine_up else {}  # else nobody can answer
        return {
            "node": self._me,
            "members": [
                {**member, "drain": None if (drain := drains.get(member["node"])) is None else attrs.asdict(drain)}
                for member in members
            ],
            "engine": self._view.engine_json(survey),
            "wrong": [
                *self._view.wrong(members, survey),
                *(wrong("no_answer", why, node) for node, why in sorted(silent.items())),
                *(wrong(each.code, each.detail, node) for node, report in reports for each in report.troubles),
            ],
            "silent": answers.silent,
        }

    async def streams(self, *, include_ended: bool) -> JsonObject:
        mine = self._here.streams(include_ended=include_ended)
        answers = await self._ask_all(AskStreams(include_ended), mine, StreamList)
        orphans = await self._orphans()
        more = {node: f"it has {each.omitted} more streams" for node, each in answers.heard.items() if each.omitted}
        return {
            "streams": await merged({node: each.streams for node, each in answers.heard.items()}, orphans),
            "silent": {**answers.silent, **more},
        }

    async def doctor(self) -> Sequence[JsonObject]:
        return findings_json(self._view.findings(await self._view.survey()))

    async def _orphans(self) -> Sequence[Held]:
        with trio.move_on_after(ASK_S):
            try:
                return await self._store.orphans(self._members.incarnations())
            except EngineError as error:
                log.info("orphans not known", why=str(error))
        return ()

    async def _ask_all(self, question: Question, mine: T, of: type[T]) -> Answers[T]:
        answers = Answers({self._me: mine})

        async def ask(node: str) -> None:
            try:
                answer = await self._engine.ask(node, CTL, encode_question(question), timeout_s=ASK_S)
                answers.heard[node] = decode_answer(answer, of)
            except (EngineError, AdminError) as error:
                answers.silent[node] = str(error)

        async with trio.open_nursery() as nursery:
            for node in self._members.living().keys() - {self._me}:
                nursery.start_soon(ask, node)
        return answers

    # One carries it out

    async def drain(self, node: str) -> JsonObject:
        nodes, living = self._nodes(node), self._members.living()
        streams = sum(living[each].streams for each in nodes)
        whys = {each: why_no_room(member) for each, member in sorted(living.items()) if each not in nodes}
        if streams and None not in whys.values():
            why = "; ".join(f"{each}: {why}" for each, why in whys.items()) or "there is none"
            raise AdminError(Code.REFUSED_IN_STATE, f"no other member takes streams: {why}")
        for each in nodes:
            await self._have(each, Drain(node), OWNER_S)
        return {"nodes": nodes, "streams": streams}

    async def undrain(self, node: str) -> JsonObject:
        nodes = self._nodes(node)
        for each in nodes:
            await self._have(each, Undrain(node), OWNER_S)
        return {"nodes": nodes}

    async def move(self, prefix: str, node: str | None) -> JsonObject:
        if node is not None:
            self._nodes(node)
        found = await self._find(prefix)
        return {**await self._have(found.node, Move(found.rtms_stream_id, node), MOVE_S), "from_node": found.node}

    async def gather(self, prefix: str) -> JsonObject:
        found = await self._find_end(prefix)
        if found.is_live:
            why = f"{found.node}: stream {found.rtms_stream_id} is being recorded: it is gathered when it has ended"
            raise AdminError(Code.REFUSED_IN_STATE, why)
        if found.node not in self._members.living():
            why = f"node {found.node} has the end of stream {found.rtms_stream_id}, and is away"
            raise AdminError(Code.REFUSED_IN_STATE, why)
        return {**await self._have(found.node, Gather(found.rtms_stream_id), GATHER_S), "node": found.node}

    async def elsewhere(self, command: str, prefix: str) -> JsonObject:
        found = await self._find(prefix)
        match command:
            case "stream" | "stop" | "reconnect":
                act = Act(command, found.rtms_stream_id)
                return {**await self._have(found.node, act, OWNER_S), "node": found.node}
        raise AdminError(Code.REFUSED_IN_STATE, f"stream {found.rtms_stream_id} is on node {found.node}: do this there")

    def _nodes(self, name: str) -> list[str]:
        """Return the living members of this name, or on the machine of this name."""
        living = sorted(self._members.living())
        found = [node for node in living if is_called(node, name)]
        if not found:
            raise AdminError(Code.NO_SUCH_NODE, f"no member that lives is called {name!r}: {', '.join(living)} are")
        return found

    async def _find(self, prefix: str) -> Found:
        """Return the one stream that `prefix` names.

        Raises:
            AdminError: NO_SUCH_STREAM; AMBIGUOUS; TIMED_OUT when a silent member may have it.
        """
        answers = Answers({self._me: self._here.names(prefix)})
        if prefix:  # which names nothing otherwise
            answers = await self._ask_all(FindStreams(prefix), answers.heard[self._me], Names)
        all_names = {name for known in answers.heard.values() for name in (*known.live, *known.ended)}
        try:
            rtms_stream_id = resolve(prefix, all_names)
        except AdminError as refusal:
            if refusal.code is not Code.NO_SUCH_STREAM or not answers.silent:
                raise
            silent = "; ".join(f"node {node} does not answer: {why}" for node, why in answers.silent.items())
            raise AdminError(Code.TIMED_OUT, f"{silent}; no other has a stream {prefix!r}") from refusal
        owners = [node for node, known in answers.heard.items() if rtms_stream_id in known.live]
        others = [node for node, known in answers.heard.items() if rtms_stream_id in known.ended]
        return Found(rtms_stream_id, (owners or others)[0], is_live=bool(owners))

    async def _find_end(self, prefix: str) -> Found:
        """As `_find`; one that ended is with the member that recorded it last, also where no list has it any more."""
        try:
            found = await self._find(prefix)
        except AdminError as refusal:
            is_unknown = refusal.code in (Code.NO_SUCH_STREAM, Code.TIMED_OUT)
            if not prefix or not is_unknown or (node := await self._last_recorder(prefix)) is None:
                raise
            return Found(prefix, node)
        if found.is_live:
            return found
        return Found(found.rtms_stream_id, await self._last_recorder(found.rtms_stream_id) or found.node)

    async def _last_recorder(self, rtms_stream_id: str) -> str | None:
        try:
            parts = await self._engine.parts(rtms_stream_id)
        except EngineError as error:
            raise AdminError(Code.TIMED_OUT, f"who has parts of {rtms_stream_id} is not known: {error}") from error
        kept = [part for part in parts if part.state is not PartState.DELETED]
        return max(kept, key=lambda part: part.epoch).node if kept else None

    async def _have(self, node: str, order: Order, timeout_s: float) -> dict[str, Any]:
        """Have a member do something, this one too, and return its answer.

        Raises:
            AdminError: it refuses, or does not answer.
        """
        try:
            if node == self._me:
                return await self._here.carry_out(order)
            log.info("order passed on", to=node, order=type(order).__name__, **attrs.asdict(order))
            answer = await self._engine.ask(node, CTL, encode_question(order), timeout_s=timeout_s)
            return decode_answer(answer, dict[str, Any])
        except AdminError as refusal:
            raise AdminError(refusal.code, f"{node}: {refusal.detail}") from refusal
        except Nobody as error:
            raise AdminError(Code.REFUSED_IN_STATE, f"{node} is not there any more: try again") from error
        except Away as error:
            raise AdminError(Code.TIMED_OUT, f"{error}; it may still be carried out") from error
        except EngineError as error:
            raise AdminError(Code.FAILED, f"{node}: {error}") from error
