"""The bus of the workers of one machine: each answers on a Unix socket of its own, by HTTP.

The socket's file has mode 0600, and the kernel says who connects: other users are refused. Beside the questions of the
other workers it serves a local view, for which the admin API of another worker asks.

Bounds: of the questions that one worker has for another, `MAX_ASKED` are under way, and the rest waits within its own
time. A worker has room for `CONNECTIONS` of each process; past that it answers that it is full, and the asker is told
that no answer came. Messages are bound by `MAX_MESSAGE_BYTES` both ways.
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import structlog
import trio

from rtmsd.cluster.engine import MAX_MESSAGE_BYTES, Away, EngineError, Handler, Nobody, Refused, TooLarge
from rtmsd.errors import ListenError
from rtmsd.http.client import ClientError, NobodyThere, request
from rtmsd.http.listening import credentials, replace_unix
from rtmsd.http.messages import Door, HttpRequest, Limits, Peer, Refusal, Reply, Respond, StreamReply
from rtmsd.http.server import serve

log = structlog.get_logger(__name__)

KEY: Final = "admin.socket"  # the workers' sockets are beside it
MODE: Final = 0o600
BACKLOG: Final = 1024
MAX_ASKED: Final = 64
CONNECTIONS: Final = 256  # of one process: its questions, and its readers of live media

_PREFIX: Final = "/peer/"
_BYTES: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_LIMITS: Final = Limits(
    connections=CONNECTIONS,
    body_bytes=MAX_MESSAGE_BYTES,
    request_s=10.0,
    answer_s=math.inf,  # handlers have limits of their own; a stop, in the local view, has none
    send_s=30.0,
)
_REFUSALS: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR})


@contextmanager
def open_socket(path: Path) -> Iterator[trio.SocketListener]:
    """Listen on a worker's socket, whose directory is made when missing; remove its file at the end.

    A file that is there is left over: there is one worker of a number at a time.

    Raises:
        ListenError: the system refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ListenError(f"{KEY}: cannot make the directory of {path}: {exc.strerror}") from exc
    listener = replace_unix(KEY, path, mode=MODE, backlog=BACKLOG)
    try:
        yield listener
    finally:
        listener.socket.close()
        path.unlink(missing_ok=True)


class SocketBus:
    """A worker's end of the bus.

    Args:
        path_of: the socket of a member.
    """

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        self._path_of = path_of
        self._handlers: dict[str, Handler] = {}
        self._turns: defaultdict[str, trio.Semaphore] = defaultdict(partial(trio.Semaphore, MAX_ASKED))

    def serve(self, what: str, handler: Handler) -> None:
        """Answer questions of this kind, from now on. Call it before `run`: until then a question finds nobody."""
        self._handlers[what] = handler

    async def ask(self, node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
        """See `cluster.engine.Bus`."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"the question {what!r}", len(data))
        with trio.move_on_after(timeout_s):
            async with self._turns[node]:
                return await self._ask(node, what, data)
        raise Away(f"{node} did not answer within {timeout_s:g} s")

    async def _ask(self, node: str, what: str, data: bytes) -> bytes:
        target = f"{_PREFIX}{quote(what, safe='')}"
        try:
            reply = await request(
                self._path_of(node), "POST", target, data, timeout_s=math.inf, max_bytes=MAX_MESSAGE_BYTES
            )
        except NobodyThere as exc:
            raise Nobody(f"{node} is not there: {exc}") from exc
        except ClientError as exc:
            raise Away(f"{node} did not answer: {exc}") from exc
        if reply.status == HTTPStatus.OK:
            return reply.body
        why = reply.body.decode(errors="replace")
        if reply.status == HTTPStatus.NOT_FOUND:
            raise Nobody(f"{node} is not there: {why}")
        if reply.status in _REFUSALS:
            raise Refused(why)
        raise Away(f"{node} did not answer: {why}")

    async def run(
        self,
        listener: trio.SocketListener,
        local: Callable[[trio.SocketStream], Respond] | None = None,
        *,
        server: str | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer the other workers until cancelled; started when the listener accepts. Closes the listener.

        Args:
            local: answers what is no question, of one who connected; by default nothing is there.
            server: the Server header of each answer.
        """
        own_uid = os.geteuid()

        def welcome(stream: trio.SocketStream) -> Peer:
            pid, uid = credentials(stream)
            if uid != own_uid:
                return Peer(share=uid, respond=_forbid, refuse=_refuse)
            rest = _nothing_there if local is None else local(stream)
            return Peer(share=(uid, pid), respond=partial(self._respond, rest), refuse=_refuse)

        full = _say(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections of this process")
        door = Door(name="worker", limits=_LIMITS, welcome=welcome, when_full=full, server=server)
        await serve(door, [listener], task_status=task_status)

    async def _respond(self, rest: Respond, asked: HttpRequest) -> Reply | StreamReply:
        if not asked.target.startswith(_PREFIX):
            return await rest(asked)
        what = unquote(asked.target.removeprefix(_PREFIX))
        handler = self._handlers.get(what)
        if handler is None:
            return _say(HTTPStatus.NOT_FOUND, f"nobody answers {what!r} there")
        try:
            answer = await handler(asked.body)
        except EngineError as exc:
            return _say(HTTPStatus.CONFLICT, str(exc))
        except Exception as exc:
            log.exception("answering a question crashed", what=what)
            return _say(HTTPStatus.INTERNAL_SERVER_ERROR, f"a bug: {type(exc).__name__}: {exc}")
        if len(answer) > MAX_MESSAGE_BYTES:
            return _say(HTTPStatus.CONFLICT, str(TooLarge(f"the answer to {what!r}", len(answer))))
        return Reply(content_type=_BYTES, body=answer)


async def _nothing_there(asked: HttpRequest) -> Reply:
    return _say(HTTPStatus.NOT_FOUND, f"nothing is at {asked.target}")


async def _forbid(_asked: HttpRequest) -> Reply:
    return _say(HTTPStatus.FORBIDDEN, "only the daemon's own user may ask a worker; rtmsctl asks at admin.socket")


def _refuse(refusal: Refusal) -> Reply:
    return _say(refusal.fault.value, refusal.why)


def _say(status: int, why: str) -> Reply:
    return Reply(status=status, content_type=_TEXT, body=why.encode())
