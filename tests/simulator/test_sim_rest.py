"""The simulator's REST API against Zoom's documents, without the daemon's code."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import httpx
import jwt
import pytest
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import Simulator, SimulatorSettings, open_simulator
from rtmsd.simulator.server.rest import RATE_LIMITED
from tests.simulator.conftest import PATIENT

SETTINGS = SimulatorSettings(speed=50, timing=attrs.evolve(PATIENT, stop_grace_s=0))
START = {"action": "start", "settings": {"client_id": SETTINGS.client_id}}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SETTINGS) as simulator:
        yield simulator


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulator.rest.base_url, trust_env=False) as client:
        yield client


def token(secret: str = SETTINGS.api_secret, **claims: Any) -> str:
    return jwt.encode({"iss": SETTINGS.api_key, "iat": 0, "exp": 2**40} | claims, secret, "HS256")


async def ask(
    client: httpx.AsyncClient,
    session_id: str,
    body: Any = START,
    *,
    path: str = "videosdk/sessions",
    bearer: str | None = None,
) -> httpx.Response:
    url = f"{path}/{session_id}/rtms_app/status"
    headers = {"authorization": f"Bearer {token() if bearer is None else bearer}"}
    return await client.patch(url, json=body, headers=headers)


async def oauth_token(simulator: Simulator, client: httpx.AsyncClient, **changes: str) -> httpx.Response:
    form = {"grant_type": "account_credentials", "account_id": SETTINGS.account_id} | changes
    return await client.post(simulator.rest.token_url, data=form, auth=(SETTINGS.api_key, SETTINGS.api_secret))


@pytest.mark.parametrize(
    "bearer",
    [
        "x",
        "x.y.z",
        token("another secret of at least 32 bytes!"),
        token(iss="somebody"),
        token(exp=1),
        jwt.encode({"iss": SETTINGS.api_key, "iat": 0}, SETTINGS.api_secret, "HS256"),
        jwt.encode({"iss": SETTINGS.api_key, "iat": 0, "exp": 2**40}, "", "none"),
    ],
)
async def test_a_session_needs_a_good_jwt(simulator: Simulator, client: httpx.AsyncClient, bearer: str) -> None:
    simulator.hold_session(session_id="s")
    answer = await ask(client, "s", bearer=bearer)
    assert (answer.status_code, answer.json()["code"]) == (401, 124)
    assert not simulator.sessions


async def test_a_meeting_needs_an_issued_token(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.hold_session(product="meeting", session_id="m")
    assert (await ask(client, "m", path="live_meetings")).status_code == 401
    granted = (await oauth_token(simulator, client)).json()
    assert granted["token_type"] == "bearer"
    bearer = granted["access_token"]
    assert (await ask(client, "m", path="live_meetings", bearer=bearer)).status_code == 202
    simulator.rest.withdraw_tokens()
    assert (await ask(client, "m", path="live_meetings", bearer=bearer)).status_code == 401


async def test_tokens_are_not_for_everybody(simulator: Simulator, client: httpx.AsyncClient) -> None:
    assert (await oauth_token(simulator, client, account_id="other")).status_code == 400
    basic = base64.b64encode(b"somebody:else").decode()
    answer = await client.post(simulator.rest.token_url, headers={"authorization": f"Basic {basic}"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "start"}, 202),  # settings are optional for sessions
        ({"action": "dance"}, 400),
        ({"action": "start", "settings": {"client_id": "another"}}, 400),
        ({"action": 1}, 400),
        ([], 400),
    ],
)
async def test_the_body_is_checked(simulator: Simulator, client: httpx.AsyncClient, body: Any, status: int) -> None:
    simulator.hold_session(session_id="s")
    assert (await ask(client, "s", body)).status_code == status
    assert len(simulator.sessions) == (status == 202)


@pytest.mark.parametrize(
    ("product", "session_id", "path"),
    [
        ("session", "nobody", "videosdk/sessions"),
        ("meeting", "s", "videosdk/sessions"),
        ("session", "s", "elsewhere"),
        ("session", "a%2Fb", "videosdk/sessions"),  # encoded once only
    ],
)
async def test_an_unknown_session_or_path_is_404(
    simulator: Simulator, client: httpx.AsyncClient, product: str, session_id: str, path: str
) -> None:
    for known in ("s", "a/b"):
        simulator.hold_session(product=product, session_id=known)
    assert (await ask(client, session_id, path=path)).status_code == 404


async def test_an_action_needs_the_right_state_of_the_stream(simulator: Simulator, client: httpx.AsyncClient) -> None:
    session = await simulator.start_session(["Ana"], session_id="a/b")

    async def request(action: str) -> int:
        return (await ask(client, "a%252Fb", START | {"action": action})).status_code

    assert [await request(action) for action in ("start", "resume", "pause", "pause", "resume")] == [
        400,
        400,
        202,
        400,
        202,
    ]
    assert await request("stop") == 202
    with trio.fail_after(60):
        await session.ended.wait()
    assert session.stop_reason is StopReason.HOST_TRIGGERED
    assert await request("stop") == 400
    assert await request("start") == 202
    assert len(simulator.sessions) == 2


async def test_an_ended_session_cannot_be_started(simulator: Simulator, client: httpx.AsyncClient) -> None:
    session = await simulator.start_session(session_id="s")
    await session.stop(StopReason.MEETING_ENDED)
    assert (await ask(client, "s")).status_code == 404


async def test_answers_on_demand(simulator: Simulator, client: httpx.AsyncClient) -> None:
    simulator.hold_session(session_id="s")
    simulator.rest.answer_next(RATE_LIMITED._replace(headers=(("retry-after", "2"),)), times=2)
    answers = [await ask(client, "s") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 202]
    assert answers[0].headers["retry-after"] == "2"
    assert [status for _, status in simulator.rest.requests] == [429, 429, 202]
    assert json.loads(simulator.rest.requests[0][0].body) == START


@pytest.mark.parametrize(
    "sent", [b"", b"\x00\x01garbage\r\n\r\n", b"PATCH / HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n"]
)
async def test_invalid_http_does_no_harm(simulator: Simulator, client: httpx.AsyncClient, sent: bytes) -> None:
    url = httpx.URL(simulator.rest.base_url)
    async with await trio.open_tcp_stream(url.host, url.port or 0) as stream:
        await stream.send_all(sent)
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert (await ask(client, "nobody")).status_code == 404


@pytest.mark.parametrize(("product", "path"), [("webinar", "live_meetings"), ("phone", "phone/calls")])
async def test_webinars_and_calls_have_a_request_of_their_own(
    simulator: Simulator, client: httpx.AsyncClient, product: str, path: str
) -> None:
    simulator.hold_session(product=product, session_id="w")
    bearer = (await oauth_token(simulator, client)).json()["access_token"]
    answer = await ask(client, "w", path=path, bearer=bearer)
    assert answer.status_code == 202
