"""The webhook endpoint: check, hand over, answer. Work begins after the answer, in other tasks.

Each POST ends in a `Result`; the table `STATUS` makes it HTTP. Zoom sends again after a 5xx (5, 25 and 85
minutes after the first time) and never after a 4xx, so a 4xx loses the event for ever and is logged as a warning.
"""

import contextvars
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs
import structlog
import trio
from quart import Response, request
from werkzeug.exceptions import HTTPException

from rtmsd.commands import Intake, StartStream, StreamCommand, Verdict
from rtmsd.config import AppConfig, WebhookConfig
from rtmsd.errors import RtmsdError
from rtmsd.masking import sanitize_remote_text
from rtmsd.system.throttle import Throttle
from rtmsd.webhook.events import BadEvent, ConcurrencyNotice, UnknownEvent, UrlValidation, parse
from rtmsd.webhook.stats import Result, WebhookStats
from rtmsd.webhook.verify import age_s, find_app, find_swapped, is_fresh, validation_answer
from rtmsd.webhook.whole_request import WholeRequestApp

log = structlog.get_logger(__name__)

ANSWER_WITHIN_S: Final = 2.5  # Zoom waits 3 s

STATUS: Final[Mapping[Result, int]] = {
    Result.ACCEPTED: 200,
    Result.DUPLICATE: 200,
    Result.LATE: 200,
    Result.FOREIGN: 200,
    Result.VALIDATION: 200,
    Result.NOTICE: 200,
    Result.UNKNOWN: 200,
    Result.BAD_EVENT: 400,
    Result.UNSIGNED: 401,
    Result.STALE: 401,
    Result.SWAPPED: 401,
    Result.FORGED: 401,
    Result.REFUSED: 503,
    Result.UNSAFE: 503,
}

VERDICTS: Final[Mapping[Verdict, Result]] = {
    Verdict.NEW: Result.ACCEPTED,
    Verdict.DUPLICATE: Result.DUPLICATE,
    Verdict.LATE: Result.LATE,
    Verdict.FOREIGN: Result.FOREIGN,
    Verdict.REFUSED: Result.REFUSED,
}

COMPLAINTS: Final[Mapping[Result, str]] = {
    Result.UNSIGNED: "webhook refused: x-zm-signature or x-zm-request-timestamp is missing",
    Result.STALE: "webhook refused: genuine, but its timestamp is stale; is the clock right?",
    Result.SWAPPED: "webhook refused: signed with what is configured as client_secret; swapped with webhook_secret?",
    Result.FORGED: "webhook refused: no webhook_secret verifies its signature",
}


def make_app(  # noqa: PLR0917 - its parts
    settings: WebhookConfig,
    apps: Callable[[], Sequence[AppConfig]],
    intake: Intake,
    nursery: trio.Nursery,
    ready: Callable[[], bool],
    clock_s: Callable[[], float] = time.time,
    stats: WebhookStats | None = None,
) -> WholeRequestApp:
    """Build the endpoint: POST to `settings.path`, GET /healthz and /readyz.

    Args:
        apps: the configured apps, read at each webhook, so that a reload counts from the next one on.
        nursery: where commands are accepted; it outlives the requests.
        ready: False while starting or draining.
        clock_s: local Unix time in seconds, held against signed timestamps.
        stats: counts the results.
    """
    endpoint = _Endpoint(
        settings=settings, apps=apps, intake=intake, nursery=nursery, clock_s=clock_s, stats=stats or WebhookStats()
    )
    app = WholeRequestApp(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["PROPAGATE_EXCEPTIONS"] = True  # a bug is the server's to answer, to count and to log
    app.url_map.strict_slashes = False  # a redirect would lose the event: Zoom does not follow them
    app.url_map.merge_slashes = False

    async def healthz() -> Response:
        return _answer(200, "alive\n")

    async def readyz() -> Response:
        return _answer(200, "ready\n") if ready() else _answer(503, "not ready\n")

    async def http_error(error: HTTPException) -> Response:
        """Return an error as plain text, instead of a page of HTML."""
        answer = _answer(error.code or 500, f"{error.name}\n")
        answer.headers.extend([header for header in error.get_headers() if header[0] == "Allow"])
        return answer

    # OPTIONS is one of the "other methods": 405, no answer of Quart's own.
    app.add_url_rule(settings.path, "webhook", endpoint.post, methods=["POST"], provide_automatic_options=False)
    app.add_url_rule("/healthz", "healthz", healthz, methods=["GET"], provide_automatic_options=False)
    app.add_url_rule("/readyz", "readyz", readyz, methods=["GET"], provide_automatic_options=False)
    app.register_error_handler(HTTPException, http_error)
    return app


@attrs.define(eq=False)
class _Acceptance:
    """A command handed to the intake. Done without a result, it was cancelled: the daemon stops."""

    command: StreamCommand
    done: trio.Event = attrs.field(factory=trio.Event)
    result: Result | None = None


@attrs.define(eq=False, kw_only=True)
class _Endpoint:
    _settings: WebhookConfig
    _apps: Callable[[], Sequence[AppConfig]]
    _intake: Intake
    _nursery: trio.Nursery
    _clock_s: Callable[[], float]
    _stats: WebhookStats
    # One for each reason: forgeries must not keep out of the log that a genuine webhook was refused.
    _complaints: Mapping[Result, Throttle] = attrs.field(
        init=False, factory=lambda: {result: Throttle(interval_s=1.0) for result in COMPLAINTS}
    )
    _context: contextvars.Context = attrs.field(init=False, factory=contextvars.copy_context)

    async def post(self) -> Response:
        body = await request.body
        timestamp = request.headers.get("x-zm-request-timestamp", "")
        signature = request.headers.get("x-zm-signature", "")
        owner = self._owner(timestamp, body, signature)
        if isinstance(owner, Result):
            return self._refuse(owner)
        app, secret = owner
        with structlog.contextvars.bound_contextvars(app=app.name):
            return await self._act(app.name, secret, body, int(timestamp) * 1000)

    def _owner(self, timestamp: str, body: bytes, signature: str) -> tuple[AppConfig, str] | Result:
        """Return the app of a webhook and the secret that verified it, or why it is refused."""
        if not timestamp or not signature:
            return Result.UNSIGNED
        apps = self._apps()
        owner = find_app(apps, timestamp, body, signature)
        if owner is None:
            return Result.SWAPPED if find_swapped(apps, timestamp, body, signature) else Result.FORGED
        now_s = self._clock_s()
        self._stats.skew_s = age_s(timestamp, now_s)
        return owner if is_fresh(timestamp, now_s, self._settings.max_age_s) else Result.STALE

    def _refuse(self, result: Result) -> Response:
        """Refuse an unverified request. Only the sender's address is logged: the sender chose all the rest."""
        more = self._complaints[result].admit()
        if more is not None:
            log.warning(COMPLAINTS[result], remote=request.remote_addr, more_since_last=more)
        return self._answer_with(result)

    async def _act(self, app: str, secret: str, body: bytes, sent_ms: int) -> Response:
        try:
            event = parse(body, app, sent_ms)
        except BadEvent as exc:
            log.warning("webhook refused: genuine, but no event to act on", why=str(exc))
            self._stats.last_bad_event = sanitize_remote_text(str(exc))
            return self._answer_with(Result.BAD_EVENT)
        match event:
            case UrlValidation():
                log.info("webhook endpoint validated")
                answer = json.dumps(validation_answer(secret, event.plain_token))
                return self._answer_with(Result.VALIDATION, answer, "application/json")
            case ConcurrencyNotice():
                self._stats.last_notice = event
                self._stats.concurrency.take(event.app, event.event, event.details, self._clock_s())
                log.warning("concurrency limit", notice=event.event, details=event.details)
                return self._answer_with(Result.NOTICE)
            case UnknownEvent():
                log.info("unknown webhook event", name=event.event)
                return self._answer_with(Result.UNKNOWN)
            case _:
                return _answer(_status(await self._hand_over(event), event))

    async def _hand_over(self, command: StreamCommand) -> Result:
        """Have a command accepted in a task that outlives the request, and answer before Zoom stops waiting."""
        acceptance = _Acceptance(command)
        # In the daemon's context, not the request's: a stream that starts here would keep the request alive.
        self._context.copy().run(self._nursery.start_soon, self._accept, acceptance)
        with trio.move_on_after(ANSWER_WITHIN_S):
            await acceptance.done.wait()
        return acceptance.result or Result.UNSAFE

    async def _accept(self, acceptance: _Acceptance) -> None:
        try:
            acceptance.result = await self._result_of(acceptance.command)
            self._count(acceptance.result)
        finally:
            acceptance.done.set()

    async def _result_of(self, command: StreamCommand) -> Result:
        kind = type(command).__name__
        with structlog.contextvars.bound_contextvars(app=command.app, rtms_stream_id=command.rtms_stream_id):
            try:
                verdict = await self._intake.accept(command)
            except RtmsdError as exc:
                log.error("webhook event not stored", command=kind, error=str(exc))  # noqa: TRY400 foreseen
                return Result.UNSAFE
            except Exception:
                log.exception("webhook event not stored", command=kind)
                return Result.UNSAFE
            log.info("webhook event", command=kind, verdict=verdict.value, event_ts=command.event_ts)
        return VERDICTS[verdict]

    def _answer_with(self, result: Result, text: str = "", content_type: str = "text/plain") -> Response:
        self._count(result)
        return _answer(STATUS[result], text, content_type)

    def _count(self, result: Result) -> None:
        self._stats.count(result, self._clock_s())


def _status(result: Result, command: StreamCommand) -> int:
    """Return a 5xx for a start only: a stop that Zoom repeats minutes later is of no use."""
    return STATUS[result] if isinstance(command, StartStream) else STATUS[Result.ACCEPTED]


def _answer(status: int, text: str = "", content_type: str = "text/plain") -> Response:
    return Response(text, status, content_type=content_type)
