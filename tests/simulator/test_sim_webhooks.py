"""Webhooks as Zoom posts them: flat, signed over the raw bytes, retried only where Zoom does."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from rtmsd.simulator import SimulatorSettings, Timing, open_simulator

SECRET = "whk_demo_secret_42"


def settings_for(endpoint: Any) -> SimulatorSettings:
    """Return settings with immediate retries and no window that could end the stream."""
    timing = Timing(attach_window_s=1e9)
    return SimulatorSettings(webhook_url=endpoint.url, webhook_secret=SECRET, speed=2000, timing=timing)


def is_signed(headers: dict[str, str], body: bytes) -> bool:
    message = b"v0:" + headers["x-zm-request-timestamp"].encode() + b":" + body
    return headers["x-zm-signature"] == "v0=" + hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()


async def test_a_started_webhook_is_flat_and_signed(endpoint: Any) -> None:
    async with open_simulator(settings_for(endpoint)) as simulator:
        session = await simulator.start_session([], session_key="room-7")
    headers, body = endpoint.requests[0]
    assert is_signed(headers, body)
    assert headers["user-agent"] == "Zoom Marketplace/1.0a"
    event = json.loads(body)
    assert event["event"] == "session.rtms_started"
    assert event["event_ts"] == session.started_ms
    assert event["payload"] == {
        "session_id": session.session_id,
        "rtms_stream_id": session.rtms_stream_id,
        "session_key": "room-7",
        "server_urls": session.signaling_url,
        "account_id": "AcctDemo_001",
    }


@pytest.mark.parametrize(
    ("product", "event", "key"),
    [
        ("meeting", "meeting.rtms_started", "meeting_uuid"),
        ("webinar", "webinar.rtms_started", "webinar_uuid"),
        ("contact_center", "contact_center.voice_rtms_started", "engagement_id"),
        ("phone", "phone.rtms_started", "call_id"),
    ],
)
async def test_each_product_has_its_names(endpoint: Any, product: str, event: str, key: str) -> None:
    async with open_simulator(settings_for(endpoint)) as simulator:
        session = await simulator.start_session([], product=product)
    body = endpoint.bodies()[0]
    assert body["event"] == event
    assert body["payload"][key] == session.session_id
    assert "session_key" not in body["payload"]


async def test_retries_follow_5xx_and_stop_at_success(endpoint: Any) -> None:
    endpoint.statuses = [503, 500, 204]
    async with open_simulator(settings_for(endpoint)) as simulator:
        session = await simulator.start_session([])
        await endpoint.until(3)
        await session.stop()
    bodies = [body for _, body in endpoint.requests]
    assert bodies[0] == bodies[1] == bodies[2]
    assert [w.kind for w in session.record.webhooks if w.event.endswith("started")][:2] == ["genuine", "retry"]
    assert json.loads(bodies[3])["event"] == "session.rtms_stopped"


async def test_a_4xx_is_final(endpoint: Any) -> None:
    endpoint.statuses = [401]
    async with open_simulator(settings_for(endpoint)) as simulator:
        session = await simulator.start_session([])
        await session.stop()
    assert [body["event"] for body in endpoint.bodies()] == ["session.rtms_started", "session.rtms_stopped"]


async def test_a_duplicate_is_the_same_and_a_forgery_is_not_signed(endpoint: Any) -> None:
    async with open_simulator(settings_for(endpoint)) as simulator:
        session = await simulator.start_session([])
        await session.duplicate_webhook()
        await session.forged_webhook()
    (_, first), (_, second), (headers, forged) = endpoint.requests
    assert first == second
    assert json.loads(forged)["event"] == "session.rtms_stopped"
    assert not is_signed(headers, forged)


async def test_the_endpoint_is_challenged(endpoint: Any) -> None:
    def answer(body: bytes) -> bytes:
        token = json.loads(body)["payload"]["plainToken"]
        encrypted = hmac.new(SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
        return json.dumps({"plainToken": token, "encryptedToken": encrypted}).encode()

    async with open_simulator(settings_for(endpoint)) as simulator:
        assert not await simulator.validate_endpoint()
        endpoint.answer = answer
        assert await simulator.validate_endpoint()
    assert [delivery.event for delivery in simulator.webhooks] == ["endpoint.url_validation"] * 2


async def test_without_an_endpoint_the_record_has_the_error() -> None:
    settings = SimulatorSettings(webhook_url="http://127.0.0.1:9/webhook")
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session([])
    assert session.record.webhooks[0].status is None
    assert session.record.webhooks[0].error == "ConnectError: Connection refused"


async def test_an_event_without_a_stream(endpoint: Any) -> None:
    async with open_simulator(settings_for(endpoint)) as simulator:
        assert await simulator.send_webhook("rtms.concurrency_limited", {"reason": "limit"}) == 200
        deliveries = [(delivery.event, delivery.kind) for delivery in simulator.webhooks]
    headers, body = endpoint.requests[0]
    assert is_signed(headers, body)
    assert json.loads(body)["payload"] == {"reason": "limit"}
    assert deliveries == [("rtms.concurrency_limited", "genuine")]
