"""The webhooks of one stream: started, interrupted, stopped, and forged ones."""

from collections.abc import Mapping
from typing import Any

from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.products import PRODUCTS
from rtmsd.simulator.model.clock import ZoomClock
from rtmsd.simulator.model.record import WebhookDelivery
from rtmsd.simulator.model.settings import SimRoom
from rtmsd.simulator.wire.webhooks import WebhookSender


class StreamWebhooks:
    """Sends them; each call returns the status, None without an answer."""

    def __init__(
        self,
        sender: WebhookSender,
        clock: ZoomClock,
        deliveries: list[WebhookDelivery],
        room: SimRoom,
        *,
        rtms_stream_id: str,
        started_ms: int,
    ) -> None:
        product = PRODUCTS[room.product]
        self._sender = sender
        self._clock = clock
        self._deliveries = deliveries
        self._prefix = product.webhook_prefix
        self._about: dict[str, Any] = {room.id_key: room.session_id, "rtms_stream_id": rtms_stream_id}
        if room.product == "session":
            self._about["session_key"] = room.session_key
        self._details = dict(room.details)
        self._started_ts = started_ms

    def renew(self) -> None:
        """Make the next started webhook a new event, not a repetition of the last one."""
        self._started_ts = max(self._started_ts + 1, self._clock.now_ms())

    async def started(self, signaling_url: str, kind: str = "genuine") -> int | None:
        return await self._send("started", self._started_ts, self._started(signaling_url), kind)

    async def interrupted(self) -> int | None:
        return await self._send("interrupted", self._clock.now_ms(), self._about)

    async def stopped(self, reason: StopReason) -> int | None:
        return await self._send("stopped", self._clock.now_ms(), self._about | {"stop_reason": int(reason)})

    async def forged(self, event: str, signaling_url: str) -> int | None:
        """Send a new event of this name with a wrong signature."""
        payload = self._started(signaling_url) if event == "started" else self._about | {"stop_reason": 1}
        return await self._send(event, self._clock.now_ms(), payload, "forged")

    def _started(self, signaling_url: str) -> dict[str, Any]:
        return self._about | {"server_urls": signaling_url} | self._details

    async def _send(self, event: str, event_ts: int, payload: Mapping[str, Any], kind: str = "genuine") -> int | None:
        return await self._sender.send(self._prefix + event, event_ts, payload, self._deliveries, kind)
