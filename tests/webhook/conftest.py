"""Fixtures: an endpoint to post to, with an intake that answers as set."""

import json
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from quart_trio import QuartTrio

from rtmsd.commands import StreamCommand, Verdict
from rtmsd.config import AppConfig, WebhookConfig
from rtmsd.webhook.app import make_app
from rtmsd.webhook.stats import WebhookStats
from rtmsd.webhook.verify import sign

NOW_S = 1_790_000_000.0
SETTINGS = WebhookConfig(listen="127.0.0.1:0", read_timeout_s=600, max_connections=5)
APPS = (
    AppConfig(name="main", client_id="id", client_secret="client", webhook_secrets=("hook", "older")),
    AppConfig(name="second", client_id="id2", client_secret="client2", webhook_secrets=("hook2",)),
)


@attrs.define
class FakeIntake:
    """Keeps what it accepted; `verdict` may also be an exception to raise, and `before` something to wait for."""

    verdict: Verdict | Exception = Verdict.NEW
    before: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
    accepted: list[StreamCommand] = attrs.field(factory=list)

    async def accept(self, command: StreamCommand) -> Verdict:
        await self.before()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        self.accepted.append(command)
        return self.verdict


@attrs.define
class Endpoint:
    """All that an app is made of; change `apps` and `ready` as a reload or a drain would."""

    nursery: trio.Nursery
    settings: WebhookConfig = SETTINGS
    intake: FakeIntake = attrs.field(factory=FakeIntake)
    stats: WebhookStats = attrs.field(factory=WebhookStats)
    ready: bool = True
    apps: tuple[AppConfig, ...] = APPS

    def app(self) -> QuartTrio:
        return make_app(
            self.settings,
            apps=lambda: self.apps,
            intake=self.intake,
            nursery=self.nursery,
            ready=lambda: self.ready,
            clock_s=lambda: NOW_S,
            stats=self.stats,
        )

    @staticmethod
    def event(name: str, event_ts: int = 1_790_000_000_123, **payload: object) -> bytes:
        fields = {"session_id": "s", "session_key": "k", "rtms_stream_id": "stream", **payload}
        return json.dumps({"event": name, "event_ts": event_ts, "payload": fields}).encode()

    def start(self, event_ts: int = 1_790_000_000_123) -> bytes:
        return self.event("session.rtms_started", event_ts, server_urls="wss://host/signal")

    def stop(self) -> bytes:
        return self.event("session.rtms_stopped", stop_reason=6)

    @staticmethod
    def signed(body: bytes, *, secret: str = "hook", age_s: int = 0) -> dict[str, str]:
        """Return the headers that Zoom would send with a body."""
        timestamp = str(int(NOW_S) - age_s)
        return {"x-zm-request-timestamp": timestamp, "x-zm-signature": sign(secret, timestamp, body)}

    def request(self, body: bytes) -> bytes:
        """Return a whole genuine request as it goes over the wire."""
        headers = {"host": "x", "content-length": str(len(body)), **self.signed(body)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.settings.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


@pytest.fixture
def endpoint(nursery: trio.Nursery) -> Endpoint:
    return Endpoint(nursery)
