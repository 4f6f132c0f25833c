"""Zoom's REST API, asked as the daemon asks it, of the simulator and of a transport that misbehaves."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from email.utils import formatdate

import attrs
import httpx
import jwt
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from rtmsd.config.model import ApiConfig, AppConfig
from rtmsd.errors import ConfigError
from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import SimSession, Simulator, SimulatorSettings, open_simulator
from rtmsd.simulator.model.settings import SimRoom
from rtmsd.simulator.server.rest import (
    NOT_THE_HOST,
    OPERATION_FAILED,
    RATE_LIMITED,
    TRANSIENT,
    ApiAnswer,
    ApiRequest,
    read_path,
)
from rtmsd.simulator.stream.phase import SimPhase
from rtmsd.zoom_api import RETRY_DELAYS_S, ZoomApi, ZoomApiError, encode_id, read_retry_after
from tests.simulator.conftest import PATIENT

SETTINGS = SimulatorSettings(speed=50, timing=attrs.evolve(PATIENT, stop_grace_s=0))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SETTINGS) as simulator:
        yield simulator


@pytest.fixture
async def api() -> AsyncIterator[ZoomApi]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield ZoomApi(client)


def app_of(simulator: Simulator, auth: str = "video-sdk", secret: str = SETTINGS.api_secret) -> AppConfig:
    api = ApiConfig(
        auth="oauth" if auth == "oauth" else "video-sdk",
        key=SETTINGS.api_key,
        secret=secret,
        account_id=SETTINGS.account_id,
        base_url=simulator.rest.base_url,
        token_url=simulator.rest.token_url,
    )
    return AppConfig(
        client_id=SETTINGS.client_id,
        client_secret=SETTINGS.client_secret,
        webhook_secrets=(SETTINGS.webhook_secret,),
        api=api,
    )


def asked(simulator: Simulator) -> list[ApiRequest]:
    return [request for request, _ in simulator.rest.requests]


def stream_of(simulator: Simulator, room: SimRoom) -> SimSession:
    stream = simulator.stream_of(room)
    assert stream is not None
    return stream


@pytest.mark.parametrize(("product", "auth"), [("session", "video-sdk"), ("meeting", "oauth")])
async def test_a_stream_is_started_paused_resumed_and_stopped(
    simulator: Simulator, api: ZoomApi, product: str, auth: str
) -> None:
    app = app_of(simulator, auth)
    room = simulator.hold_session(["Ana"], product=product, session_id="Kz9+aB/cD3eFg==")
    answer = await api.control_session(app, "start", room.session_id, product)
    assert answer == {"action": "start", "product": product, "id": "Kz9+aB/cD3eFg==", "status": 202}
    stream = stream_of(simulator, room)
    assert stream.session_id == room.session_id
    for action, paused in (("pause", True), ("resume", False)):
        await api.control_session(app, action, room.session_id, product)
        assert stream.paused is paused
    await api.control_session(app, "stop", room.session_id, product)
    with trio.fail_after(60):
        await stream.ended.wait()
    assert stream.stop_reason is StopReason.HOST_TRIGGERED
    await api.control_session(app, "start", room.session_id, product)
    again = stream_of(simulator, room)
    assert again.rtms_stream_id != stream.rtms_stream_id
    assert again.phase is SimPhase.AWAITING


async def test_the_body_names_the_app_and_the_participant(simulator: Simulator, api: ZoomApi) -> None:
    simulator.hold_session(product="meeting", session_id="85746065432")
    app = app_of(simulator, "oauth")
    await api.control_session(app, "start", "85746065432", "meeting", participant_user_id="host-1")
    request = asked(simulator)[-1]
    assert json.loads(request.body) == {
        "action": "start",
        "settings": {"client_id": SETTINGS.client_id, "participant_user_id": "host-1"},
    }
    assert request.target == "/v2/live_meetings/85746065432/rtms_app/status"


async def test_a_token_is_kept_until_it_expires(simulator: Simulator) -> None:
    simulator.hold_session(product="meeting", session_id="m")
    now_s = 1_790_000_000.0
    async with httpx.AsyncClient(trust_env=False) as client:
        api = ZoomApi(client, clock_s=lambda: now_s)
        for action in ("start", "pause", "resume"):
            await api.control_session(app_of(simulator, "oauth"), action, "m", "meeting")
        assert sum(request.method == "POST" for request in asked(simulator)) == 1
        now_s += 3590
        await api.control_session(app_of(simulator, "oauth"), "stop", "m", "meeting")
    assert sum(request.method == "POST" for request in asked(simulator)) == 2


async def test_a_token_withdrawn_before_its_time_is_replaced(simulator: Simulator, api: ZoomApi) -> None:
    simulator.hold_session(product="meeting", session_id="m")
    app = app_of(simulator, "oauth")
    await api.control_session(app, "start", "m", "meeting")
    simulator.rest.withdraw_tokens()
    await api.control_session(app, "stop", "m", "meeting")
    assert [status for _, status in simulator.rest.requests] == [200, 202, 401, 200, 202]


@pytest.mark.parametrize(("auth", "product"), [("video-sdk", "session"), ("oauth", "meeting")])
async def test_wrong_credentials_are_explained_and_not_repeated(
    simulator: Simulator, api: ZoomApi, auth: str, product: str
) -> None:
    simulator.hold_session(product=product, session_id="s")
    app = app_of(simulator, auth, secret="another secret, of at least 32 bytes")
    with pytest.raises(ZoomApiError) as refused:
        await api.control_session(app, "start", "s", product)
    assert not refused.value.is_transient
    assert len(simulator.rest.requests) == 1
    assert "another secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "code", "words"), [(NOT_THE_HOST, 2308, "alternative host"), (OPERATION_FAILED, 2310, "Developer Pack")]
)
async def test_zooms_codes_are_explained(
    simulator: Simulator, api: ZoomApi, answer: ApiAnswer, code: int, words: str
) -> None:
    simulator.hold_session(session_id="s")
    simulator.rest.answer_next(answer)
    with pytest.raises(ZoomApiError) as refused:
        await api.control_session(app_of(simulator), "start", "s", "session")
    assert (refused.value.code, refused.value.status) == (code, 400)
    assert words in refused.value.explanation
    assert f"code {code}, HTTP 400" in str(refused.value)
    assert len(simulator.rest.requests) == 1


async def test_an_unknown_session_and_a_wrong_state_are_refused(simulator: Simulator, api: ZoomApi) -> None:
    app = app_of(simulator)
    with pytest.raises(ZoomApiError, match="no such session"):
        await api.control_session(app, "start", "nobody", "session")
    simulator.hold_session(session_id="s")
    with pytest.raises(ZoomApiError, match="2310"):
        await api.control_session(app, "resume", "s", "session")
    assert not simulator.sessions


async def test_no_secret_is_logged_or_reported(simulator: Simulator, api: ZoomApi) -> None:
    simulator.hold_session(session_id="s")
    simulator.hold_session(product="meeting", session_id="m")
    with capture_logs() as logs:
        await api.control_session(app_of(simulator), "start", "s", "session")
        await api.control_session(app_of(simulator, "oauth"), "start", "m", "meeting")
    bearers = [request.headers["authorization"].split()[1] for request in asked(simulator)]
    assert len(logs) == 2
    assert not any(secret in repr((logs, vars(api))) for secret in (*bearers, SETTINGS.api_secret))


async def test_missing_credentials_are_reported_before_anything_is_sent(simulator: Simulator, api: ZoomApi) -> None:
    app = app_of(simulator)
    with pytest.raises(ConfigError, match=r"app\.api: is missing"):
        await api.control_session(attrs.evolve(app, api=None), "start", "s", "session")
    with pytest.raises(ConfigError, match='needs "oauth"'):
        await api.control_session(app, "start", "m", "meeting")
    with pytest.raises(ZoomApiError, match="contact_center"):
        await api.control_session(app, "start", "e", "contact_center")
    assert not simulator.rest.requests


async def test_the_jwt_is_short_lived_and_signed_with_the_api_secret(simulator: Simulator, api: ZoomApi) -> None:
    simulator.hold_session(session_id="s")
    await api.control_session(app_of(simulator), "start", "s", "session")
    token = asked(simulator)[0].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, SETTINGS.api_secret, algorithms=["HS256"])
    assert claims.keys() == {"iss", "iat", "exp"}
    assert claims["iss"] == SETTINGS.api_key
    assert 0 < claims["exp"] - claims["iat"] <= 600


async def test_without_a_client_it_opens_its_own(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    simulator.hold_session(session_id="s")
    assert (await ZoomApi().control_session(app_of(simulator), "start", "s", "session"))["status"] == 202


def test_httpx_and_jwt_are_imported_late() -> None:
    script = "import sys, rtmsd.zoom_api; sys.exit(bool({'httpx', 'jwt'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# Transient errors, in virtual time


class Scripted(httpx.AsyncBaseTransport):
    """Answers with the next response or exception; the last one stays."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.script = list(script)
        self.times_s: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.times_s.append(trio.current_time())
        what = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(what, Exception):
            raise what
        return httpx.Response(what.status_code, headers=what.headers, content=what.content)


API = ApiConfig(
    key="key",
    secret="a secret that is at least 32 bytes",
    base_url="http://zoom.invalid/v2",
    token_url="http://zoom.invalid/oauth/token",
)
APP = AppConfig(client_id="id", client_secret="client", webhook_secrets=("webhook",), api=API)


async def start(transport: httpx.AsyncBaseTransport) -> int:
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await ZoomApi(client).control_session(APP, "start", "s", "session")
    return int(answer["status"])


def response_of(answer: ApiAnswer) -> httpx.Response:
    return httpx.Response(answer.status, json=answer.content)


TRANSIENTS: list[httpx.Response | Exception] = [
    httpx.Response(500),
    httpx.Response(503, text="<html>"),
    response_of(TRANSIENT),
    response_of(RATE_LIMITED),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
]


@pytest.mark.parametrize("trouble", TRANSIENTS, ids=repr)
async def test_a_transient_error_is_retried(autojump_clock: MockClock, trouble: httpx.Response | Exception) -> None:
    transport = Scripted(trouble, httpx.Response(204))
    assert await start(transport) == 204
    assert transport.times_s == [0, RETRY_DELAYS_S[0]]


@pytest.mark.parametrize("trouble", TRANSIENTS, ids=repr)
async def test_retries_end(autojump_clock: MockClock, trouble: httpx.Response | Exception) -> None:
    transport = Scripted(trouble)
    with pytest.raises(ZoomApiError) as failed:
        await start(transport)
    assert failed.value.is_transient
    assert transport.times_s == [0, RETRY_DELAYS_S[0], sum(RETRY_DELAYS_S)]


async def test_retry_after_is_followed(autojump_clock: MockClock) -> None:
    transport = Scripted(httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(202))
    assert await start(transport) == 202
    assert transport.times_s == [0, 7]


async def test_a_long_retry_after_is_reported_instead_of_waited_for(autojump_clock: MockClock) -> None:
    transport = Scripted(httpx.Response(429, headers={"retry-after": "3600"}))
    with pytest.raises(ZoomApiError, match="3600 s") as failed:
        await start(transport)
    assert failed.value.retry_after_s == 3600
    assert transport.times_s == [0]


async def test_the_whole_is_bounded(autojump_clock: MockClock) -> None:
    class Mute(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.sleep_forever()
            raise AssertionError

    with pytest.raises(ZoomApiError, match="did not answer within"):
        await start(Mute())
    assert trio.current_time() <= 30


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"code": "2308"}', b'{"code": true}', b"\xff", b'{"message": 1}']
)
async def test_any_body_of_a_refusal_is_accepted(body: bytes) -> None:
    with pytest.raises(ZoomApiError) as refused:
        await start(Scripted(httpx.Response(400, content=body)))
    assert (refused.value.code, refused.value.status) == (None, 400)


@pytest.mark.parametrize("token", [None, "", 7, "two\nlines", "\u00e4"])
async def test_an_unusable_token_is_not_sent(token: object) -> None:
    api = attrs.evolve(API, auth="oauth")
    transport = Scripted(httpx.Response(200, json={"access_token": token, "expires_in": 3600}))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(ZoomApiError, match="holds none"):
            await ZoomApi(client).control_session(attrs.evolve(APP, api=api), "start", "m", "meeting")
    assert len(transport.times_s) == 1


# Pure


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="%"), min_size=1))
def test_zoom_reads_the_id_that_was_encoded(text: str) -> None:
    assert read_path(f"/v2/videosdk/sessions/{encode_id(text)}/rtms_app/status") == ("session", text)


def test_an_id_with_a_slash_is_encoded_twice() -> None:
    assert encode_id("a/b+c==") == "a%252Fb%252Bc%253D%253D"
    assert encode_id("ab+c==") == "ab%2Bc%3D%3D"
    assert read_path("/v2/videosdk/sessions/a%2Fb/rtms_app/status") == ("", "")


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [("7", 7.0), ("0", 0.0), (formatdate(1060, usegmt=True), 60.0), (formatdate(1, usegmt=True), 0.0)],
)
def test_retry_after_in_its_forms(value: str, wait_s: float) -> None:
    assert read_retry_after(value, 1000.0) == wait_s


@given(st.text())
def test_any_retry_after_is_accepted(value: str) -> None:
    wait_s = read_retry_after(value, 0.0)
    assert wait_s is None or wait_s >= 0
