"""The other workers, asked over their private sockets, and what became of a question to all."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from rtmsd.admin.fleet.reading import Unreadable
from rtmsd.admin.messages import AdminError, Caller, Code
from rtmsd.http.client import BrokenReply, ClientError, LiveReply, NobodyThere, TimedOut, open_stream, request
from rtmsd.http.messages import HttpRequest, Reply

ASK_S: Final = 0.3
MAX_ANSWER_BYTES: Final = 16 * 2**20  # a stream in a list is about 1 kB
CALLER_FIELD: Final = "rtmsd-caller"
SILENT_FIELD: Final = "rtmsd-silent"
"""Of an answer for all: the workers that are not in it. In a list there is no other place for them."""
WORKERS_FIELD: Final = "rtmsd-workers"

T = TypeVar("T")
U = TypeVar("U")


@attrs.frozen
class Answers(Generic[T]):
    """The answers of all workers, in their order.

    Attributes:
        heard: by worker.
        silent: by worker, why it has none.
    """

    heard: Mapping[str, T]
    silent: Mapping[str, str]

    async def read(self, read: Callable[[T], U]) -> "Answers[U]":
        """Return what `read` makes of each; one of which it raises Unreadable, with the reason, counts as none.

        Each may be long, so the event loop has its turn in between.
        """
        heard: dict[str, U] = {}
        silent = dict(self.silent)
        for worker, answer in self.heard.items():
            await trio.lowlevel.checkpoint()
            try:
                heard[worker] = read(answer)
            except Unreadable as error:
                silent[worker] = str(error)
        return Answers(heard, in_order(silent))

    def fields(self) -> dict[str, str]:
        """Return the header fields of an answer for all."""
        silent = {SILENT_FIELD: " ".join(self.silent)} if self.silent else {}
        return {WORKERS_FIELD: " ".join(in_order({**self.heard, **self.silent})), **silent}


def may_have(answers: Answers[Any], what: str) -> AdminError:
    """Return the refusal of what a silent worker may be meant for."""
    silent = "; ".join(f"worker {worker} does not answer: {why}" for worker, why in answers.silent.items())
    return AdminError(Code.TIMED_OUT, f"{silent}; {what}", silent=list(answers.silent))


def in_order(by_worker: Mapping[str, T]) -> dict[str, T]:
    """Return the same in the order of the workers' numbers."""
    return {worker: by_worker[worker] for worker in sorted(by_worker, key=lambda name: (len(name), name))}


def why_silent(error: ClientError) -> str:
    """Return an error of the client in words that need no path."""
    match error:
        case NobodyThere():
            return "nobody listens: it has ended, or has not started yet"
        case TimedOut():
            return "no reply in time"
        case BrokenReply():
            return f"its reply broke off or cannot be read ({error})"
    return str(error)


@attrs.frozen
class Peers:
    """The other workers of this daemon.

    Attributes:
        sockets: by worker, where it answers for itself.
        ask_s: how long it may take, unless a question says otherwise.
    """

    sockets: Mapping[str, Path]
    ask_s: float = ASK_S

    async def ask(self, worker: str, asked: HttpRequest, caller: Caller, timeout_s: float | None = None) -> Reply:
        """Have a worker carry out a request for somebody, and return its answer, whatever it is.

        Raises:
            ClientError: there was none.
        """
        return await request(
            self.sockets[worker],
            asked.method,
            asked.target,
            asked.body,
            headers=_from(caller),
            timeout_s=self.ask_s if timeout_s is None else timeout_s,
            max_bytes=MAX_ANSWER_BYTES,
        )

    async def open(self, worker: str, asked: HttpRequest, caller: Caller, timeout_s: float | None = None) -> LiveReply:
        """Do the same for an answer that lasts; the time is for its head.

        Raises:
            ClientError: there was none.
        """
        return await open_stream(
            self.sockets[worker],
            asked.method,
            asked.target,
            asked.body,
            headers=_from(caller),
            timeout_s=self.ask_s if timeout_s is None else timeout_s,
        )

    async def ask_all(self, asked: HttpRequest, caller: Caller, timeout_s: float | None = None) -> Answers[Reply]:
        """Ask all at once."""
        heard: dict[str, Reply] = {}
        silent: dict[str, str] = {}

        async def ask_one(worker: str) -> None:
            try:
                heard[worker] = await self.ask(worker, asked, caller, timeout_s)
            except ClientError as error:
                silent[worker] = why_silent(error)

        async with trio.open_nursery() as nursery:
            for worker in self.sockets:
                nursery.start_soon(partial(ask_one, worker))
        return Answers(in_order(heard), in_order(silent))


def _from(caller: Caller) -> Mapping[str, str]:
    return {CALLER_FIELD: f"{caller.uid} {caller.pid}"}


def caller_in(asked: HttpRequest, otherwise: Caller) -> Caller:
    """Return for whom a worker asks. Only the daemon's user can open a private socket, so that it can be believed."""
    for name, value in asked.headers:
        if name == CALLER_FIELD.encode():
            uid, _, pid = value.decode("ascii", "replace").partition(" ")
            if uid.isdecimal() and pid.isdecimal():
                return Caller(pid=int(pid), uid=int(uid))
    return otherwise
