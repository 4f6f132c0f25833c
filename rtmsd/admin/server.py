"""The admin server: each connection's caller is known, each request is judged by the command table, each write logged.

Its plainer sibling serves the metrics, and nothing else, on a TCP port.
"""

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
import trio

from rtmsd.admin.backend import AdminBackend
from rtmsd.admin.commands import find, resolve
from rtmsd.admin.http import Respond, refuse_connection, serve_connection
from rtmsd.admin.listener import caller_of
from rtmsd.admin.messages import Access, AdminError, Caller, Code, HttpRequest, Reply, Request, StreamReply
from rtmsd.admin.metrics import METRICS_TYPE
from rtmsd.errors import ConfigError, RtmsdError

log = structlog.get_logger()

MAX_CONNECTIONS: Final = 64  # for one uid, so that readers cannot keep the operator out; for the metrics port, of all


async def serve_admin(
    listeners: Sequence[trio.SocketListener],
    backend: AdminBackend,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer admin requests until cancelled; started when the listeners accept. Closes the listeners."""
    places = _Places(MAX_CONNECTIONS)

    async def handle(stream: trio.SocketStream) -> None:
        caller = caller_of(stream)

        async def respond(request: HttpRequest) -> Reply | StreamReply:
            return await answer(backend, caller, request)

        await _serve_client(stream, respond, places, caller.uid)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, listeners)
        task_status.started()


async def answer(backend: AdminBackend, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
    """Carry out one request, and turn any failure into a reply; a write that is refused is logged."""
    asked = {"method": request.method, "target": request.target, "uid": caller.uid, "pid": caller.pid}
    try:
        return await _carry_out(backend, caller, request)
    except AdminError as exc:
        refusal = exc
    except ConfigError as exc:
        refusal = AdminError(Code.BAD_CONFIGURATION, "the configuration is wrong", mistakes=exc.mistakes)
    except RtmsdError as exc:
        refusal = AdminError(Code.FAILED, str(exc))
    except Exception:
        log.exception("admin command crashed", **asked)
        refusal = AdminError(Code.INTERNAL, "a bug in rtmsd: its log has the traceback")
    if request.method != "GET":
        log.warning("admin command refused", **asked, code=refusal.code.value, detail=refusal.detail, **refusal.more)
    return refusal.reply()


async def _carry_out(backend: AdminBackend, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
    command, params, query = find(request.method, request.target)
    if not caller.may(command.access, os.geteuid()):
        raise AdminError(Code.NOT_PERMITTED, f"{command.name}: only root and the daemon's own user may do that")
    if "rtms_stream_id" in params:
        params["rtms_stream_id"] = resolve(params["rtms_stream_id"], backend.ids())
    if command.access is Access.CONTROL:
        log.info("admin command", command=command.name, **params, uid=caller.uid, pid=caller.pid)
    return await command.handler(backend, Request(params=params, query=query, body=request.body))


async def serve_metrics(
    listeners: Sequence[trio.SocketListener],
    render: Callable[[], bytes],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `GET /metrics`, for Prometheus, until cancelled; started when they accept. Closes the listeners."""
    places = _Places(MAX_CONNECTIONS)

    async def respond(request: HttpRequest) -> Reply:
        if request.target.partition("?")[0] != "/metrics":
            return AdminError(Code.NO_SUCH_PATH, "only /metrics is here").reply()
        if request.method not in ("GET", "HEAD"):
            return AdminError(Code.METHOD_NOT_ALLOWED, "GET it", headers={"allow": "GET, HEAD"}).reply()
        return Reply(content_type=METRICS_TYPE, body=render())

    async def handle(stream: trio.SocketStream) -> None:
        await _serve_client(stream, respond, places, "anybody")

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handle, listeners)
        task_status.started()


async def _serve_client(stream: trio.SocketStream, respond: Respond, places: "_Places", peer: Hashable) -> None:
    with places.taken_by(peer) as there_is_one:
        try:
            if there_is_one:
                await serve_connection(stream, respond)
            else:
                await refuse_connection(stream, AdminError(Code.TOO_MANY_CONNECTIONS, "close other connections first"))
        except Exception:  # a bug ends one connection, not the daemon
            log.exception("admin connection crashed")


class _Places:
    """How many connections each kind of peer holds, and may hold."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[Hashable] = Counter()

    @contextmanager
    def taken_by(self, peer: Hashable) -> Iterator[bool]:
        """Hold a place; False, and none is held, when the peer has its share already."""
        if self._held[peer] >= self._limit:
            yield False
            return
        self._held[peer] += 1
        try:
            yield True
        finally:
            self._held[peer] -= 1
