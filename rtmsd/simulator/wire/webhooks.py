"""Zoom's webhook sender: signed, with Zoom's headers, and with its retries."""

import json
import math
import os
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import trio

from rtmsd.errors import leaves
from rtmsd.simulator.model.clock import ZoomClock
from rtmsd.simulator.model.record import FailedTry, WebhookDelivery
from rtmsd.simulator.model.settings import SimulatorSettings
from rtmsd.simulator.wire.balancer import Balancer
from rtmsd.webhook.verify import sign, validation_answer


class WebhookSender:
    """Posts events; the outcome of each is appended to the `deliveries` given with it.

    Retries run in the simulator's nursery: a call returns after the first attempt.

    Attributes:
        observer: called with each delivery.
    """

    def __init__(
        self, settings: SimulatorSettings, clock: ZoomClock, client: httpx.AsyncClient, nursery: trio.Nursery
    ) -> None:
        self.observer: Callable[[WebhookDelivery], None] = lambda delivery: None
        self._settings = settings
        self._clock = clock
        self._client = client
        self._nursery = nursery
        self._balancer = Balancer(settings.webhook_url, settings.webhook_route, failover=settings.webhook_failover)

    async def send(
        self, event: str, event_ts: int, payload: Mapping[str, Any], deliveries: list[WebhookDelivery], kind: str
    ) -> int | None:
        """Post an event and return the status, None without an answer in time.

        Args:
            kind: "genuine" is retried as Zoom does; "duplicate" and "forged" (wrongly signed) are not.
        """
        body = json.dumps({"event": event, "event_ts": event_ts, "payload": payload}, separators=(",", ":")).encode()
        delivery = await self._post(event, event_ts, body, kind, deliveries)
        if kind == "genuine" and delivery.url and _worth_retrying(delivery.status):
            self._nursery.start_soon(self._retry, event, event_ts, body, deliveries)
        return delivery.status

    async def validate(self, deliveries: list[WebhookDelivery]) -> bool:
        """Challenge the endpoint as Zoom does every 72 hours; return whether the answer was right."""
        token = secrets.token_urlsafe(16)
        await self.send("endpoint.url_validation", self._clock.now_ms(), {"plainToken": token}, deliveries, "challenge")
        return deliveries[-1].status == 200 and not deliveries[-1].error

    async def _retry(self, event: str, event_ts: int, body: bytes, deliveries: list[WebhookDelivery]) -> None:
        for delay_s in self._settings.timing.webhook_retry_s:
            await self._clock.sleep(delay_s)
            delivery = await self._post(event, event_ts, body, "retry", deliveries)
            if not _worth_retrying(delivery.status):
                return

    async def _post(
        self, event: str, event_ts: int, body: bytes, kind: str, deliveries: list[WebhookDelivery]
    ) -> WebhookDelivery:
        started_s = time.monotonic()
        url, outcome = "", _Outcome(error="no webhook_url")
        failed_tries: list[FailedTry] = []
        order = self._balancer.order()
        try:
            with trio.fail_after(self._settings.webhook_timeout_s):
                for number, url in enumerate(order, 1):
                    is_last = number == len(order)
                    outcome = await self._try(url, body, kind, math.inf if is_last else self._settings.webhook_try_s)
                    if is_last or not _worth_retrying(outcome.status):
                        break
                    failed_tries.append(FailedTry(url, outcome.error or f"status {outcome.status}"))
        except trio.TooSlowError:
            outcome = _Outcome(error=_no_answer(self._settings.webhook_timeout_s))
        delivery = WebhookDelivery(
            event=event,
            event_ts=event_ts,
            kind=kind,
            status=outcome.status,
            error=outcome.error,
            latency_s=time.monotonic() - started_s,
            body=body,
            answer=outcome.answer,
            url=url,
            failed_tries=tuple(failed_tries),
        )
        deliveries.append(delivery)
        if url:
            self.observer(delivery)
        return delivery

    async def _try(self, url: str, body: bytes, kind: str, timeout_s: float) -> "_Outcome":
        try:
            with trio.fail_after(timeout_s):
                response = await self._client.post(url, content=body, headers=self._headers(body, kind))
        except trio.TooSlowError:
            return _Outcome(error=_no_answer(timeout_s))
        except httpx.HTTPError as exc:
            return _Outcome(error=f"{type(exc).__name__}: {_origin(exc)}")
        status, answer = response.status_code, response.content
        if kind == "challenge" and 200 <= status < 300 and not self._is_validation(body, answer):
            error = "its answer is not Zoom's token with the hash of it under the webhook secret"
            return _Outcome(status, answer, error)
        return _Outcome(status, answer)

    def _is_validation(self, challenge: bytes, answer: bytes) -> bool:
        token = json.loads(challenge)["payload"]["plainToken"]
        try:
            return bool(json.loads(answer) == validation_answer(self._settings.webhook_secret, token))
        except ValueError:
            return False

    def _headers(self, body: bytes, kind: str) -> dict[str, str]:
        timestamp = str(int(time.time()))  # local time, whatever the session's speed
        secret = "not-the-secret" if kind == "forged" else self._settings.webhook_secret
        return {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Zoom Marketplace/1.0a",
            "x-zm-request-timestamp": timestamp,
            "x-zm-signature": sign(secret, timestamp, body),
            "x-zm-trackingid": secrets.token_hex(8),
        }


class _Outcome(NamedTuple):
    """The outcome of one request. `status` None: no answer."""

    status: int | None = None
    answer: bytes = b""
    error: str = ""


def _no_answer(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s"


def _origin(error: BaseException) -> str:
    """Return the text of the innermost cause: httpx only says that all attempts failed."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    if isinstance(error, BaseExceptionGroup):
        error = next(leaves(error))
    return os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else str(error)


def _worth_retrying(status: int | None) -> bool:
    return status is None or status >= 500


@asynccontextmanager
async def open_webhook_sender(settings: SimulatorSettings, clock: ZoomClock) -> AsyncIterator[WebhookSender]:
    """Yield a sender whose retries are cancelled at the end."""
    context = ssl.create_default_context()
    if settings.webhook_ca_file is not None:
        context.load_verify_locations(settings.webhook_ca_file)
    limits = httpx.Limits(max_connections=32, max_keepalive_connections=8 if settings.webhook_keep_alive else 0)
    async with (
        httpx.AsyncClient(verify=context, timeout=None, limits=limits, trust_env=False) as client,
        trio.open_nursery() as nursery,
    ):
        try:
            yield WebhookSender(settings, clock, client, nursery)
        finally:
            nursery.cancel_scope.cancel()
