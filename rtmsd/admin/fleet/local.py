"""What a worker answers for itself alone: to the others, and to its own `Fleet`."""

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import attrs

from rtmsd.admin.commands import AdminBackend
from rtmsd.admin.fleet.peers import caller_in
from rtmsd.admin.fleet.reading import Unreadable, json_object
from rtmsd.admin.fleet.samples import Family, Lives, Samples, counters, new_life, parsed
from rtmsd.admin.fleet.streams import names
from rtmsd.admin.messages import AdminError, Caller, Code, JsonObject, json_reply
from rtmsd.admin.server import answer
from rtmsd.http.messages import HttpRequest, Reply, StreamReply

NAMES: Final = "/worker/names"
COUNTERS: Final = "/worker/counters"


def ourselves() -> Caller:
    """Return the caller of a question that nobody else asked for."""
    return Caller(pid=os.getpid(), uid=os.geteuid())


def ask_names(prefix: str) -> HttpRequest:
    """The question for the streams that a prefix may mean."""
    return HttpRequest(method="GET", target=f"{NAMES}?{urlencode({'prefix': prefix})}")


def ask_counters(known: Mapping[str, Samples]) -> HttpRequest:
    """The question for a `Report`, which tells what the asker knows of lives: it may be the next to die."""
    return HttpRequest(method="POST", target=COUNTERS, body=json.dumps(known).encode())


def read_names(reply: Reply) -> JsonObject:
    """Return streams by id. Raises Unreadable, with the reason, when it is no answer to `ask_names`."""
    answered = json_object(reply)
    if not all(isinstance(known, dict) for known in answered.values()):
        raise Unreadable("its answer is not a table of streams")
    return answered


@attrs.frozen
class Report:
    """The metrics of a worker.

    Attributes:
        life: of the worker.
        text: of its metrics, as Prometheus reads it.
        past: counters of other lives that it knows.
    """

    life: str
    text: str
    past: Mapping[str, Samples]
    families: Sequence[Family] = attrs.field(init=False)

    @families.default
    def _parsed(self) -> Sequence[Family]:
        return parsed(self.text)

    @classmethod
    def read(cls, answered: JsonObject) -> "Report":
        """Raises Unreadable: it is none."""
        match answered:
            case {"life": str(life), "text": str(text), "past": dict(past)}:
                return cls(life, text, read_lives(past))
        raise Unreadable("its answer is not a report of metrics")


def read_lives(value: Any) -> dict[str, Samples]:
    """Return counters by life. Raises Unreadable when it is nothing of that kind."""
    try:
        return {
            str(life): {str(key): float(number) for key, number in counted.items()} for life, counted in value.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise Unreadable("these are not counters by life") from error


class Local:
    """Answers for one worker.

    Attributes:
        backend: of this process.
        life: of this process, as others remember it.
        lives: what is known of this one and others.
    """

    def __init__(self, backend: AdminBackend) -> None:
        self.backend = backend
        self.life = new_life(time.time_ns(), secrets.token_hex(4))
        self.lives = Lives()

    async def respond(self, request: HttpRequest) -> Reply | StreamReply:
        """Answer another worker, in the name of who asked it."""
        return await self.answer(caller_in(request, ourselves()), request)

    async def answer(self, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
        """Answer as one process alone does, and what only workers ask."""
        path, _, query = request.target.partition("?")
        if path == NAMES:
            prefixes = parse_qs(query, keep_blank_values=True).get("prefix", [""])
            return json_reply(names(self.backend, prefixes[0]))
        if path == COUNTERS:
            return self._count(request)
        return await answer(self.backend, caller, request)

    def report(self) -> Report:
        """Return our own metrics, and remember them as others will."""
        report = Report(self.life, self.backend.metrics().decode(), self.lives.known(but=[self.life]))
        self.lives.learn({self.life: counters(report.families)})
        return report

    def _count(self, request: HttpRequest) -> Reply:
        try:
            self.lives.learn(read_lives(json_object(Reply(body=request.body))))
        except Unreadable as error:
            return AdminError(Code.BAD_REQUEST, str(error)).reply()
        report = self.report()
        return json_reply({"life": report.life, "text": report.text, "past": report.past})
