"""The endpoint without a network, in virtual time."""

import json
from typing import Any

import attrs
import pytest
import structlog
import trio
from quart import has_request_context
from trio.testing import MockClock

from rtmsd.commands import StartStream, StopStream, Verdict
from rtmsd.errors import StorageError
from rtmsd.webhook.app import ANSWER_WITHIN_S, COMPLAINTS
from rtmsd.webhook.stats import Result


async def post(endpoint: Any, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Post to the endpoint, genuinely if nothing else is said; return status and body of the answer."""
    headers = endpoint.signed(body) if headers is None else headers
    answer = await endpoint.app().test_client().post("/webhook", data=body, headers=headers)
    return answer.status_code, await answer.get_data(as_text=False)


async def test_a_start_is_handed_over_and_answered_with_an_empty_200(endpoint: Any) -> None:
    assert await post(endpoint, endpoint.start()) == (200, b"")
    (command,) = endpoint.intake.accepted
    assert isinstance(command, StartStream)
    assert (command.app, command.rtms_stream_id, command.server_urls) == ("main", "stream", "wss://host/signal")
    assert endpoint.stats.results == {Result.ACCEPTED: 1}


@pytest.mark.parametrize(("secret", "app"), [("hook", "main"), ("older", "main"), ("hook2", "second")])
async def test_the_app_whose_secret_verifies_owns_the_event(endpoint: Any, secret: str, app: str) -> None:
    body = endpoint.stop()
    assert (await post(endpoint, body, endpoint.signed(body, secret=secret)))[0] == 200
    assert [command.app for command in endpoint.intake.accepted] == [app]


async def test_the_secret_that_verified_answers_the_validation(endpoint: Any) -> None:
    body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}}).encode()
    answer = (
        await endpoint.app().test_client().post("/webhook", data=body, headers=endpoint.signed(body, secret="older"))
    )
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert await answer.get_json() == {
        "plainToken": "abc",
        "encryptedToken": "2d5ded78d6c98ef632975199d4ac9f4aee537490d7547e232074778963ba8176",
    }


@pytest.mark.parametrize(
    ("missing", "result"),
    [("x-zm-signature", Result.UNSIGNED), ("x-zm-request-timestamp", Result.UNSIGNED)],
)
async def test_both_headers_are_needed(endpoint: Any, missing: str, result: Result) -> None:
    headers = endpoint.signed(endpoint.start())
    del headers[missing]
    assert await post(endpoint, endpoint.start(), headers) == (401, b"")
    assert endpoint.stats.results == {result: 1}
    assert not endpoint.intake.accepted


@pytest.mark.parametrize(
    ("secret", "age_s", "result"),
    [
        ("hook", 300, Result.ACCEPTED),
        ("hook", -300, Result.ACCEPTED),
        ("hook", 301, Result.STALE),
        ("hook", -301, Result.STALE),
        ("wrong", 0, Result.FORGED),
        ("wrong", 301, Result.FORGED),
        ("client2", 0, Result.SWAPPED),
    ],
)
async def test_why_a_webhook_is_refused(endpoint: Any, secret: str, age_s: int, result: Result) -> None:
    with structlog.testing.capture_logs() as logs:
        status, _ = await post(
            endpoint, endpoint.start(), endpoint.signed(endpoint.start(), secret=secret, age_s=age_s)
        )
    assert status == (200 if result is Result.ACCEPTED else 401)
    assert endpoint.stats.results == {result: 1}
    assert endpoint.stats.skew_s == (age_s if secret == "hook" else None)
    assert [entry["log_level"] for entry in logs] == ["info" if result is Result.ACCEPTED else "warning"]
    assert "hook2" not in str(logs)
    assert "v0=" not in str(logs)


async def test_a_new_body_under_an_old_signature_is_refused(endpoint: Any) -> None:
    assert (await post(endpoint, endpoint.start() + b" ", endpoint.signed(endpoint.start())))[0] == 401


async def test_a_reload_counts_from_the_next_webhook_on(endpoint: Any) -> None:
    client = endpoint.app().test_client()
    body = endpoint.start()
    headers = endpoint.signed(body, secret="rotated")
    assert (await client.post("/webhook", data=body, headers=headers)).status_code == 401
    endpoint.apps = (attrs.evolve(endpoint.apps[0], webhook_secrets=("rotated",)),)
    assert (await client.post("/webhook", data=body, headers=headers)).status_code == 200


async def test_a_flood_of_forgeries_is_counted_but_hardly_logged(endpoint: Any, autojump_clock: MockClock) -> None:
    client = endpoint.app().test_client()
    with structlog.testing.capture_logs() as logs:
        for _ in range(50):
            await client.post("/webhook", data=b"{}", headers=endpoint.signed(b"", secret="x"))
        await trio.sleep(1)
        await client.post("/webhook", data=b"{}", headers=endpoint.signed(b"", secret="x"))
    assert [entry["more_since_last"] for entry in logs] == [0, 49]
    assert (endpoint.stats.results[Result.FORGED], endpoint.stats.distrusted_in_row) == (51, 51)
    await client.post("/webhook", data=endpoint.stop(), headers=endpoint.signed(endpoint.stop()))
    assert endpoint.stats.distrusted_in_row == 0


async def test_forgeries_do_not_hide_a_genuine_webhook_that_is_stale(endpoint: Any, autojump_clock: MockClock) -> None:
    client = endpoint.app().test_client()
    with structlog.testing.capture_logs() as logs:
        await client.post("/webhook", data=b"{}", headers=endpoint.signed(b"", secret="x"))
        await client.post("/webhook", data=endpoint.start(), headers=endpoint.signed(endpoint.start(), age_s=301))
    assert [entry["event"] for entry in logs] == [COMPLAINTS[Result.FORGED], COMPLAINTS[Result.STALE]]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"payload": {}}', b'{"event":"session.rtms_started","event_ts":1}'])
async def test_a_genuine_body_that_is_no_event_is_400(endpoint: Any, body: bytes) -> None:
    assert await post(endpoint, body) == (400, b"")
    assert endpoint.stats.results == {Result.BAD_EVENT: 1}


async def test_unknown_events_and_notices_are_logged_and_answered_200(endpoint: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        assert (await post(endpoint, endpoint.event("meeting.started")))[0] == 200
        assert (await post(endpoint, endpoint.event("rtms.concurrency_limited")))[0] == 200
    assert [entry["event"] for entry in logs] == ["unknown webhook event", "concurrency limit"]
    assert endpoint.stats.last_notice is not None
    assert not endpoint.intake.accepted


@pytest.mark.parametrize(
    ("verdict", "result", "status"),
    [
        (Verdict.NEW, Result.ACCEPTED, 200),
        (Verdict.DUPLICATE, Result.DUPLICATE, 200),
        (Verdict.LATE, Result.LATE, 200),
        (Verdict.FOREIGN, Result.FOREIGN, 200),
        (Verdict.REFUSED, Result.REFUSED, 503),
        (StorageError("full"), Result.UNSAFE, 503),
        (ZeroDivisionError(), Result.UNSAFE, 503),
    ],
)
async def test_only_a_start_is_ever_answered_503(
    endpoint: Any, verdict: Verdict | Exception, result: Result, status: int
) -> None:
    endpoint.intake.verdict = verdict
    assert await post(endpoint, endpoint.start()) == (status, b"")
    assert await post(endpoint, endpoint.stop()) == (200, b"")
    assert await post(endpoint, endpoint.event("session.rtms_interrupted")) == (200, b"")
    assert endpoint.stats.results == {result: 3}


async def test_zoom_is_answered_within_three_seconds_even_when_the_disk_hangs(
    endpoint: Any, autojump_clock: MockClock
) -> None:
    disk = trio.Event()
    endpoint.intake.before = disk.wait
    assert (await post(endpoint, endpoint.start()))[0] == 503
    assert trio.current_time() == pytest.approx(ANSWER_WITHIN_S)
    assert (await post(endpoint, endpoint.stop()))[0] == 200
    disk.set()
    await trio.testing.wait_all_tasks_blocked()
    assert {type(command) for command in endpoint.intake.accepted} == {StartStream, StopStream}  # late, but not lost


async def test_streams_do_not_inherit_the_request(endpoint: Any) -> None:
    seen: list[bool] = []

    async def look() -> None:
        seen.append(has_request_context())

    endpoint.intake.before = look
    await post(endpoint, endpoint.start())
    assert seen == [False]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_405(endpoint: Any, method: str) -> None:
    answer = await endpoint.app().test_client().open("/webhook", method=method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


async def test_health(endpoint: Any) -> None:
    client = endpoint.app().test_client()
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    endpoint.ready = False
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.post("/readyz")).status_code == 405
    assert (await client.options("/healthz")).status_code == 405


@pytest.mark.parametrize("path", ["/", "/webhook/more", "/static/x", "/Webhook", "/..", "/metrics"])
async def test_there_is_nothing_else(endpoint: Any, path: str) -> None:
    answer = await endpoint.app().test_client().post(path)
    assert answer.status_code == 404
    assert b"<" not in await answer.get_data(as_text=False)
