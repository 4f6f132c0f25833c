"""The admin server: identifies each caller, checks each request against the command table, logs each write.

A second server offers the metrics, and nothing else, on a TCP port.
"""

import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import structlog
import trio

from rtmsd.admin.cluster import elsewhere
from rtmsd.admin.commands import AdminBackend, Command
from rtmsd.admin.listener import caller_of
from rtmsd.admin.messages import Access, AdminError, Caller, Code, Request
from rtmsd.admin.metrics import METRICS_TYPE
from rtmsd.admin.routing import find, resolve
from rtmsd.errors import ConfigError, RtmsdError
from rtmsd.http.messages import Door, Fault, HttpRequest, Limits, Peer, Refusal, Reply, StreamReply
from rtmsd.http.server import serve

log = structlog.get_logger()

MAX_CONNECTIONS: Final = 64  # of one uid, so that readers cannot keep the operator out; of all at the metrics port
SERVER: Final = "rtmsd-admin"  # rtmsctl trusts no other

LIMITS: Final = Limits(
    connections=MAX_CONNECTIONS,
    body_bytes=64 * 1024,
    request_s=30.0,
    answer_s=math.inf,  # a stop, for one, has no limit here
    send_s=30.0,
)
CODES: Final[Mapping[Fault, Code]] = {
    Fault.MALFORMED: Code.BAD_REQUEST,
    Fault.NOT_IMPLEMENTED: Code.BAD_REQUEST,
    Fault.TOO_SLOW: Code.REQUEST_TIMEOUT,
    Fault.BODY_TOO_LARGE: Code.TOO_LARGE,
    Fault.HEADERS_TOO_LARGE: Code.TOO_LARGE,
    Fault.CRASHED: Code.INTERNAL,
}


Answer: TypeAlias = Callable[[Caller, HttpRequest], Awaitable[Reply | StreamReply]]


async def serve_admin(
    listeners: Sequence[trio.SocketListener],
    answer_caller: Answer,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer admin requests until cancelled; started when the listeners accept. Closes the listeners.

    Args:
        answer_caller: makes a reply of who asks and of the request: see `answer`.
    """

    def welcome(stream: trio.SocketStream) -> Peer:
        caller = caller_of(stream)
        return Peer(share=caller.uid, respond=partial(answer_caller, caller), refuse=refuse)

    await serve(_door("admin", welcome, SERVER), listeners, task_status=task_status)


async def answer(backend: AdminBackend, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
    """Carry out one request, and turn any failure into a reply; a refused write is logged."""
    return await reported(partial(_carry_out, backend), caller, request)


async def reported(carry_out: Answer, caller: Caller, request: HttpRequest) -> Reply | StreamReply:
    """Turn any failure of `carry_out` into a reply; a refused write is logged."""
    asked = {"method": request.method, "target": request.target, "uid": caller.uid, "pid": caller.pid}
    try:
        return await carry_out(caller, request)
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
    check_right(command, caller)
    if "rtms_stream_id" in params:
        try:
            params["rtms_stream_id"] = resolve(params["rtms_stream_id"], backend.ids())
        except AdminError as refusal:
            return await elsewhere(refusal, backend, command.name, params["rtms_stream_id"])
    if command.access is Access.CONTROL:
        log.info("admin command", command=command.name, **params, uid=caller.uid, pid=caller.pid)
    return await command.handler(backend, Request(params=params, query=query, body=request.body))


def check_right(command: Command, caller: Caller) -> None:
    """Raises AdminError: NOT_PERMITTED."""
    if not caller.may(command.access, os.geteuid()):
        raise AdminError(Code.NOT_PERMITTED, f"{command.name}: only root and the daemon's own user may do that")


async def serve_metrics(
    listeners: Sequence[trio.SocketListener],
    render: Callable[[], bytes | Awaitable[bytes]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `GET /metrics`, for Prometheus, until cancelled; started when they accept. Closes the listeners."""

    async def respond(request: HttpRequest) -> Reply:
        if request.target.partition("?")[0] != "/metrics":
            return AdminError(Code.NO_SUCH_PATH, "there is only /metrics").reply()
        if request.method not in ("GET", "HEAD"):
            return AdminError(Code.METHOD_NOT_ALLOWED, "use GET", headers={"allow": "GET, HEAD"}).reply()
        text = render()
        return Reply(content_type=METRICS_TYPE, body=await text if isinstance(text, Awaitable) else text)

    def welcome(_stream: trio.SocketStream) -> Peer:
        return Peer(share="all", respond=respond, refuse=refuse)

    await serve(_door("metrics", welcome), listeners, task_status=task_status)


def refuse(refusal: Refusal) -> Reply:
    """Return the answer to a request that could not be read or answered, as a problem object."""
    why = "a bug in rtmsd: its log has the traceback" if refusal.fault is Fault.CRASHED else refusal.why
    return AdminError(CODES[refusal.fault], why, http_status=refusal.fault.value).reply()


def _door(name: str, welcome: Callable[[trio.SocketStream], Peer], server: str | None = None) -> Door:
    full = AdminError(Code.TOO_MANY_CONNECTIONS, "close other connections first")
    return Door(name=name, limits=LIMITS, welcome=welcome, when_full=full.reply(), server=server)
