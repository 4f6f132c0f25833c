"""The admin server of a worker, which answers for all of them."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

import attrs
import structlog
import trio

from rtmsd.admin.cluster import elsewhere
from rtmsd.admin.commands import AdminBackend, Command, Spread
from rtmsd.admin.fleet import findings, kept, samples, status, streams
from rtmsd.admin.fleet.events import follow_all
from rtmsd.admin.fleet.kept import SHARED, Disks
from rtmsd.admin.fleet.local import Local, Report, ask_counters, ask_names, ourselves, read_names
from rtmsd.admin.fleet.peers import Answers, Peers, in_order, may_have, why_silent
from rtmsd.admin.fleet.reading import json_object, json_objects, objects
from rtmsd.admin.fleet.relay import relayed
from rtmsd.admin.messages import Access, AdminError, Caller, Code, JsonObject, json_list, json_reply
from rtmsd.admin.metrics import METRICS_TYPE
from rtmsd.admin.routing import find, resolve
from rtmsd.admin.server import check_right, reported
from rtmsd.http.client import ClientError, NobodyThere
from rtmsd.http.messages import HttpRequest, Reply, StreamReply
from rtmsd.sinks.ndjson import json_line

log = structlog.get_logger()

OWNER_S: Final = 12.0  # it gives Zoom 10 s to answer a choice of video
TIMES_S: Final[Mapping[str, float]] = {
    "doctor": 3.0,
    "reload": 5.0,
    "recordings": 5.0,
    "remove recording": 8.0,
    **dict.fromkeys(("deliveries", "delivery", "replay delivery"), 3.0),
}
"""How long commands may take that look at the disk; others `Peers.ask_s`."""


class Parent(Protocol):
    """The parent process. It keeps orders for workers that start later, or do not hear them now."""

    @property
    def process(self) -> status.ParentProcess: ...

    def drain(self, on: bool) -> None:
        """Let no worker take new streams, or all again."""

    def reload(self) -> None:
        """Apply the changed file, which a worker found good."""


class Fleet:
    """Answers for all workers at the public socket.

    Attributes:
        local: answers for this worker alone, to the others.

    Args:
        me: number of this worker.
        peers: the others.
        backend: of this worker.
        nursery: has the tasks that follow the events of others.
        disks: of all workers.
    """

    def __init__(
        self,
        me: str,
        peers: Peers,
        backend: AdminBackend,
        parent: Parent,
        nursery: trio.Nursery,
        *,
        disks: Disks = SHARED,
    ) -> None:
        self.local = Local(backend)
        self._me = me
        self._peers = peers
        self._parent = parent
        self._nursery = nursery
        self._disks = disks
        self._mergers: Final[Mapping[str, tuple[Callable[[Reply], Any], Callable[[Answers[Any]], Any]]]] = {
            "status": (
                json_object,
                lambda answers: status.merged(answers, me, parent.process, disks=disks),
            ),
            "streams": (json_objects, lambda answers: streams.merged(answers.heard)),
            "doctor": (json_objects, lambda answers: findings.merged(answers, me, disks=disks)),
            "recordings": (json_objects, lambda answers: kept.recordings(answers.heard)),
            "deliveries": (json_objects, lambda answers: kept.deliveries(answers.heard)),
        }

    async def answer(self, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
        """Carry out one request, and turn any failure into a reply."""
        return await reported(self._carry_out, caller, request)

    async def metrics(self) -> bytes:
        """Prometheus text, version 0.0.4."""
        return (await self._metrics()).body

    async def _carry_out(self, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
        command, params, _ = find(request.method, request.target)
        check_right(command, caller)
        match self._disks.spreads.get(command.name, command.spread):
            case Spread.ANY:
                return await self.local.answer(caller, request)
            case Spread.OWNER:
                return await self._by_owner(command, params, caller, request)
            case Spread.KEEPERS:
                return await self._by_keepers(command, params, caller, request)
            case Spread.ALL:
                return await self._by_all(command, caller, request)
            case Spread.MERGE:
                return await self._by_merging(command, caller, request)

    # All are asked

    async def _by_merging(self, command: Command, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
        if command.name == "events":
            opening = {worker: partial(self._peers.open, worker, request, caller) for worker in self._peers.sockets}
            return await follow_all(self.local.backend.events, opening, self._nursery)
        if command.name == "metrics":
            return await self._metrics()
        read, merge = self._mergers[command.name]
        answers = await self._ask_all(request, caller, TIMES_S.get(command.name))
        mine = answers.heard[self._me]
        if mine.status >= HTTPStatus.BAD_REQUEST:  # as one process alone would answer
            return mine
        readable = await answers.read(read)
        merged = merge(readable)
        body = await json_list(merged) if isinstance(merged, list) else json_line(merged)
        return _with_fields(Reply(body=body), readable)

    async def _ask_all(self, request: HttpRequest, caller: Caller, timeout_s: float | None = None) -> Answers[Reply]:
        """Ask all at once, also this worker."""
        own: dict[str, Reply] = {}

        async def ask_own() -> None:
            own[self._me] = await self._ask_own(request, caller)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_own)
            answers = await self._peers.ask_all(request, caller, timeout_s)
        return Answers(in_order({**answers.heard, **own}), answers.silent)

    async def _ask_own(self, request: HttpRequest, caller: Caller) -> Reply:
        reply = await self.local.answer(caller, request)
        assert isinstance(reply, Reply)  # no command that lasts is asked of all
        return reply

    async def _metrics(self) -> Reply:
        """Return the metrics of all, and have all remember the counters of all."""
        lives = self.local.lives
        mine = self.local.report()
        asked = await self._peers.ask_all(ask_counters(lives.known()), ourselves())
        answers = await (await asked.read(json_object)).read(Report.read)
        reports = in_order({**answers.heard, self._me: mine})
        for report in answers.heard.values():
            lives.learn({**report.past, report.life: samples.counters(report.families)})
        living = [report.life for report in reports.values()]
        lives.forget(living)
        families = {worker: report.families for worker, report in reports.items()}
        past = lives.known(but=living).values()
        text = samples.merged(families, past, answers.silent, disks=self._disks)
        return _with_fields(Reply(content_type=METRICS_TYPE, body=text.encode()), Answers(reports, answers.silent))

    # Each carries it out

    async def _by_all(self, command: Command, caller: Caller, request: HttpRequest) -> Reply:
        """Carry it out here first: what is wrong with it, such as a mistake in the file, is wrong for all."""
        mine = await self._ask_own(request, caller)
        if mine.status >= HTTPStatus.BAD_REQUEST:
            return mine
        self._order(command)
        asked = await self._peers.ask_all(request, caller, TIMES_S.get(command.name))
        answers = await asked.read(json_object)
        for worker, why in answers.silent.items():
            log.warning("a worker did not carry out a command", command=command.name, worker=worker, why=why)
        own = json_object(mine)
        done = in_order({**answers.heard, self._me: own})
        more = {"changed": _changes(done.values())} if command.name == "reload" else {}
        return _with_fields(json_reply({**own, **more, "not_done": answers.silent}), Answers(done, answers.silent))

    def _order(self, command: Command) -> None:
        """Have the parent see to it that workers which are silent now, or start later, do it too."""
        match command.name:
            case "reload":
                self._parent.reload()
            case "drain" | "undrain":
                self._parent.drain(command.name == "drain")

    # Those that have it carry it out

    async def _by_keepers(
        self, command: Command, params: Mapping[str, str], caller: Caller, request: HttpRequest
    ) -> Reply | StreamReply:
        """Have each carry it out that has it: one a delivery, and of a recording each the part that it has."""
        if "recording" in params and (writer := await self._writer_of(params["recording"])) is not None:
            return await self._ask_owner(writer, command, caller, request)  # which refuses
        asked = await self._ask_all(request, caller, TIMES_S[command.name])
        [name] = params.values()
        return await kept.answer(asked, name, is_in_parts="recording" in params) or asked.heard[self._me]

    async def _by_owner(
        self, command: Command, params: Mapping[str, str], caller: Caller, request: HttpRequest
    ) -> Reply | StreamReply:
        if "recording" in params:
            owner = await self._writer_of(params["recording"])
            return await self._ask_owner(owner or self._me, command, caller, request)
        try:
            owner, rtms_stream_id = await self._find(params["rtms_stream_id"], command)
        except AdminError as refusal:
            return await elsewhere(refusal, self.local.backend, command.name, params["rtms_stream_id"])
        path = command.path.format(rtms_stream_id=quote(rtms_stream_id, safe=""))
        _, mark, query = request.target.partition("?")
        reply = await self._ask_owner(owner, command, caller, attrs.evolve(request, target=f"{path}{mark}{query}"))
        if command.name == "stream" and isinstance(reply, Reply) and reply.status == HTTPStatus.OK:
            return json_reply({**json_object(reply), "worker": owner})
        return reply

    async def _ask_owner(
        self, owner: str, command: Command, caller: Caller, request: HttpRequest
    ) -> Reply | StreamReply:
        if owner == self._me:
            return await self.local.answer(caller, request)
        try:
            if command.name == "tap":
                return await relayed(await self._peers.open(owner, request, caller, OWNER_S), timeout_s=OWNER_S)
            reply = await self._peers.ask(owner, request, caller, OWNER_S)
            return attrs.evolve(reply, headers={})  # they were those of its connection
        except NobodyThere as error:
            raise AdminError(
                Code.REFUSED_IN_STATE,
                f"worker {owner}, which had it, has ended, and others take over what it had: try again",
            ) from error
        except ClientError as error:
            may = "" if command.access is Access.READ else "; it may still carry it out"
            raise AdminError(Code.TIMED_OUT, f"worker {owner} has it: {why_silent(error)}{may}") from error

    async def _find(self, prefix: str, command: Command) -> tuple[str, str]:
        """Return the worker of the one stream that `prefix` names, and its id.

        Raises:
            AdminError: NO_SUCH_STREAM; AMBIGUOUS; TIMED_OUT when a silent worker may have the stream that is meant.
        """
        answers = await self._names(prefix)
        known = {name for names in answers.heard.values() for name in names}
        try:
            rtms_stream_id = resolve(prefix, known)
        except AdminError as refusal:
            if refusal.code is Code.NO_SUCH_STREAM and answers.silent:
                raise may_have(answers, f"no other worker has a stream {prefix!r}") from refusal
            raise
        owner = streams.owner_of(rtms_stream_id, answers.heard)
        if answers.silent and command.access is Access.CONTROL:
            if prefix != rtms_stream_id:
                raise may_have(answers, f"{prefix!r} may name another stream there: write the whole id")
            if not answers.heard[owner][rtms_stream_id].get("live"):
                raise may_have(answers, f"{prefix!r} has ended elsewhere, and may have begun again there")
        return owner, rtms_stream_id

    async def _writer_of(self, rtms_stream_id: str) -> str | None:
        """Return the worker that is recording a stream, which it alone may refuse to have removed; None: nobody is.

        Raises:
            AdminError: TIMED_OUT when a silent worker may be recording it.
        """
        answers = await self._names(rtms_stream_id)
        for worker, names in answers.heard.items():
            if names.get(rtms_stream_id, {}).get("live"):
                return worker
        if answers.silent:
            raise may_have(answers, f"{rtms_stream_id!r} may be recorded there")
        return None

    async def _names(self, prefix: str) -> Answers[JsonObject]:
        """Ask all for the streams that a prefix may mean; only this worker if it has that very stream."""
        own = streams.names(self.local.backend, prefix)
        if own.get(prefix, {}).get("live"):
            return Answers({self._me: own}, {})
        answers = await (await self._peers.ask_all(ask_names(prefix), ourselves())).read(read_names)
        return Answers(in_order({**answers.heard, self._me: own}), answers.silent)


def _changes(done: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the changes that workers found, each once: one that was started since had less to change."""
    return list(
        {str(change.get("path")): change for answered in done for change in objects(answered, "changed")}.values()
    )


def _with_fields(reply: Reply, answers: Answers[Any]) -> Reply:
    return attrs.evolve(reply, headers={**reply.headers, **answers.fields()})
