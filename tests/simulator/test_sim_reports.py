"""The reports of `rtmsd simulate` on a client and its webhook endpoint, at once and in its exit status."""

import json
from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rtmsd.simulator import SimulatorSettings, Tone, open_simulator
from rtmsd.simulator.cli.command import main
from rtmsd.simulator.cli.reporter import Reporter
from rtmsd.simulator.model.record import Handshake, Notice, StrayConnection, Violation, WebhookDelivery
from tests.simulator.conftest import Client, Endpoint, ask

QUICK = ("revoked", "--speed", "100", "--marked", "--json")


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_endpoint_that_is_not_there_fails_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--webhook-url", "http://127.0.0.1:9/"]) == 1
    output = capsys.readouterr()
    events = [line for line in map(json.loads, output.out.splitlines()) if line["message"] == "webhook not accepted"]
    assert [event["event"] for event in events] == [
        "endpoint.url_validation",
        "session.rtms_started",
        "session.rtms_stopped",
    ]
    assert all(event["why"] == "ConnectError: Connection refused" for event in events)
    assert output.err.splitlines()[0] == (
        "rtmsd simulate: endpoint.url_validation was not accepted: ConnectError: Connection refused: "
        "start what listens there first, or correct --webhook-url; Zoom waits 3 s for an answer"
    )


def delivery(
    status: int | None, *, event: str = "session.rtms_started", event_ts: int = 1, kind: str = "genuine"
) -> WebhookDelivery:
    error = "" if status is not None else "ConnectError: Connection refused"
    return WebhookDelivery(
        event=event, event_ts=event_ts, kind=kind, status=status, error=error, latency_s=0.0, body=b"{}"
    )


class Heard(list[tuple[str, dict[str, object]]]):
    """The printed events."""

    def __call__(self, text: str, **fields: object) -> None:
        self.append((text, fields))


@pytest.mark.parametrize(
    ("deliveries", "remedies"),
    [
        ([delivery(200), delivery(204, event_ts=2)], []),
        ([delivery(401, kind="forged"), delivery(200, kind="duplicate")], []),
        ([delivery(503), delivery(200, kind="retry")], []),
        ([delivery(400)], ["its log says what"]),
        ([delivery(401)], ["--webhook-secret or $RTMSD_WEBHOOK_SECRET"]),
        ([delivery(404)], ["correct --webhook-url"]),
        ([delivery(418)], ["the event is lost"]),
        ([delivery(302)], ["Zoom follows no redirect"]),
        ([delivery(500), delivery(None, event_ts=2)], ["Zoom sends again", "start what listens there first"]),
    ],
)
def test_each_event_that_was_not_accepted_in_the_end_has_a_remedy(
    deliveries: Sequence[WebhookDelivery], remedies: list[str]
) -> None:
    reporter = Reporter(Heard())
    for each in deliveries:
        reporter.notice(None, each)
    failures = reporter.failed_webhooks()
    assert len(failures) == len(remedies)
    assert all(remedy in failure for remedy, failure in zip(remedies, failures, strict=True))


def test_the_same_violation_is_reported_once_a_stream() -> None:
    heard = Heard()
    reporter = Reporter(heard)
    refused = Handshake(
        connection=1, kind="media", media_type=0, status_code=27, reason="fps", at_ms=0, path="/media", lenient=True
    )
    notices: list[Notice] = [refused, refused, Violation("unexpected_message", "99", 0), StrayConnection("TLS failed")]
    for stream in ("s1", "s1", "s2"):
        for notice in notices:
            reporter.notice(stream, notice)
        reporter.notice(stream, attrs.evolve(refused, status_code=0, lenient=False))
    assert [text for text, _ in heard] == [
        *("handshake refused", "the client must not do this", "connection refused"),
        *("handshake refused", "the client must not do this"),
    ]
    assert "--lenient" in str(heard[0][1]["remedy"])


async def test_a_refusal_is_reported_when_it_happens_and_names_lenient() -> None:
    settings = SimulatorSettings(speed=20, tone=Tone.MARKED)
    heard = Heard()
    async with open_simulator(settings) as simulator:
        simulator.observer = Reporter(heard).notice
        session = await simulator.start_session(product="meeting")
        client = Client(session, settings)
        async with client.signaling(), client.socket(client.urls["video"]) as video:
            request = {"msg_type": 3, **client.who, "media_type": 2, "media_params": {"video": {"codec": 5, "fps": 25}}}
            assert (await ask(video, request))["status_code"] == 27
            [(text, fields)] = heard
            assert text == "handshake refused"
            assert fields["rtms_stream_id"] == session.rtms_stream_id
            assert "--lenient" in str(fields["remedy"])


UPGRADE = (
    b"GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("request_bytes", "why"), [(UPGRADE, "/elsewhere"), (b"\x16\x03\x01\x00\x05hello\r\n\r\n", "ws://")]
)
async def test_a_connection_that_becomes_no_websocket_is_reported(request_bytes: bytes, why: str) -> None:
    heard = Heard()
    async with open_simulator(SimulatorSettings()) as simulator:
        simulator.observer = Reporter(heard).notice
        host, _, port = simulator.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(request_bytes)
            while await stream.receive_some():
                pass
        await wait_all_tasks_blocked()
    [(text, fields)] = heard
    assert text == "connection refused"
    assert why in str(fields["why"])


async def test_a_wrong_answer_to_the_challenge_is_reported(endpoint: Endpoint) -> None:
    heard = Heard()
    async with open_simulator(SimulatorSettings(webhook_url=endpoint.url)) as simulator:
        reporter = Reporter(heard)
        simulator.observer = reporter.notice
        assert not await simulator.validate_endpoint()
    assert [fields["event"] for _, fields in heard] == ["endpoint.url_validation"]
    assert "its answer is not Zoom's token" in reporter.failed_webhooks()[0]
