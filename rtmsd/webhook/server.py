"""The webhook's HTTP server: the application behind the limits that a public port needs."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import attrs
import structlog
import trio

from rtmsd.config import WebhookConfig
from rtmsd.http.asgi import AsgiApp, call
from rtmsd.http.listening import address_of
from rtmsd.http.messages import IDLE_S, Door, Fault, Limits, Peer, Refusal, Reply
from rtmsd.http.server import serve as serve_http
from rtmsd.system.throttle import Throttle
from rtmsd.webhook.listen import open_listeners
from rtmsd.webhook.stats import Result, WebhookStats

log = structlog.get_logger(__name__)

ANSWER_S: Final = 5.0  # the app's answer has a limit of its own
SEND_S: Final = 3.0  # for an answer of a few hundred bytes
GRACE_S: Final = 3.0  # at a stop; Zoom waits as long for an answer

COMPLAINTS: Final = {
    Result.TOO_LARGE: "webhook refused: the body is larger than webhook.max_body_bytes",
    Result.TOO_SLOW: "webhook refused: the body took longer than webhook.read_timeout_s",
}
_RESULTS: Final = {Fault.BODY_TOO_LARGE: Result.TOO_LARGE, Fault.TOO_SLOW: Result.TOO_SLOW}


async def serve(
    app: AsgiApp,
    settings: WebhookConfig,
    *,
    stats: WebhookStats,
    fds: Sequence[int] = (),
    shutdown: trio.Event,
    clock_s: Callable[[], float] = time.time,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown`, then let running requests finish for `GRACE_S`. Started with the bound addresses.

    Args:
        stats: counts requests refused before the application.
        fds: listening sockets from the service manager, which replace `settings.listen`.

    Raises:
        AlreadyRunningError, ListenError: as `open_listeners`.
    """
    listeners = await open_listeners(settings.listen, fds)
    addresses = [address_of(listener) for listener in listeners]
    server = _WebhookServer(app, settings, stats, clock_s)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_http, server.door(), listeners, stopping=shutdown, grace_s=GRACE_S))
        task_status.started(addresses)


@attrs.define(eq=False)
class _WebhookServer:
    _app: AsgiApp
    _settings: WebhookConfig
    _stats: WebhookStats
    _clock_s: Callable[[], float]
    _complaints: Mapping[Result, Throttle] = attrs.field(
        init=False, factory=lambda: {result: Throttle(interval_s=1.0) for result in COMPLAINTS}
    )

    def door(self) -> Door:
        settings = self._settings
        limits = Limits(
            connections=settings.max_connections,
            body_bytes=settings.max_body_bytes,
            request_s=settings.read_timeout_s,
            answer_s=ANSWER_S,
            send_s=SEND_S,
            idle_s=IDLE_S,
        )
        return Door(name="webhook", limits=limits, welcome=self._welcome)

    def _welcome(self, stream: trio.SocketStream) -> Peer:
        client: tuple[str, int] | None = None
        with suppress(OSError):  # it may have gone already; its event may have come whole
            name = stream.socket.getpeername()
            client = name[:2] if isinstance(name, tuple) else None
        return Peer(
            share=None,
            respond=lambda request: call(self._app, request, client),
            refuse=lambda refusal: self._refuse(refusal, client),
        )

    def _refuse(self, refusal: Refusal, client: tuple[str, int] | None) -> Reply:
        """Refuse, and count what was meant for the webhook."""
        status = refusal.fault.value
        is_webhook = (
            refusal.head is not None
            and refusal.head.method == "POST"
            and refusal.head.target.partition("?")[0].rstrip("/") == self._settings.path.rstrip("/")
        )
        result = _RESULTS.get(refusal.fault)
        if refusal.fault is Fault.CRASHED:
            self._stats.count_crash(refusal.why, self._clock_s())
        elif is_webhook and result is not None:
            self._stats.count(result, self._clock_s())
            more = self._complaints[result].admit()
            if more is not None:
                log.warning(COMPLAINTS[result], remote=client[0] if client else None, more_since_last=more)
        return Reply(status=status, content_type="text/plain", body=f"{status.phrase}\n".encode())
