"""`POST /v1/session/{action}`: the request to Zoom's REST API, and its refusals."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import httpx
import pytest

from rtmsd.admin.messages import AdminError, Code
from rtmsd.config.model import ApiConfig, AppConfig
from rtmsd.daemon.sessions import control_session
from rtmsd.errors import ConfigError
from rtmsd.simulator import Simulator, SimulatorSettings, open_simulator
from rtmsd.simulator.server.rest import NOT_THE_HOST
from rtmsd.zoom_api import ZoomApi
from tests.simulator.conftest import PATIENT

SETTINGS = SimulatorSettings(speed=50, timing=PATIENT)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(SETTINGS) as simulator:
        simulator.hold_session(session_id="s")
        yield simulator


@pytest.fixture
async def api() -> AsyncIterator[ZoomApi]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield ZoomApi(client)


@pytest.fixture
def app(simulator: Simulator) -> AppConfig:
    return AppConfig(
        client_id=SETTINGS.client_id,
        client_secret=SETTINGS.client_secret,
        webhook_secrets=(SETTINGS.webhook_secret,),
        api=ApiConfig(key=SETTINGS.api_key, secret=SETTINGS.api_secret, base_url=simulator.rest.base_url),
    )


async def test_a_session_is_started_and_by_default_it_is_the_video_sdks(
    simulator: Simulator, api: ZoomApi, app: AppConfig
) -> None:
    answer = await control_session(api, [app], "start", {"id": "s"})
    assert answer == {"action": "start", "product": "session", "id": "s", "status": 202}
    assert len(simulator.sessions) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "id is missing"),
        ({"id": ""}, "id is not a text"),
        ({"id": 7}, "id is not a text"),
        ({"id": "\ud800"}, "id is not Unicode"),
        ({"id": "s", "product": "contact_center"}, "only for session, meeting, webinar and phone"),
        ({"id": "s", "app": "other"}, "no app is called 'other'; there are main"),
        ({"id": "s", "participant": "1"}, "unknown field participant"),
    ],
)
async def test_wrong_fields_are_reported(
    simulator: Simulator, api: ZoomApi, app: AppConfig, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(AdminError, match=words) as refused:
        await control_session(api, [app], "start", fields)
    assert refused.value.code is Code.BAD_REQUEST
    assert not simulator.rest.requests


async def test_one_of_several_apps_must_be_named(simulator: Simulator, api: ZoomApi, app: AppConfig) -> None:
    apps = [attrs.evolve(app, name="one", api=None), attrs.evolve(app, name="two")]
    with pytest.raises(AdminError, match="name one: one, two"):
        await control_session(api, apps, "start", {"id": "s"})
    await control_session(api, apps, "start", {"id": "s", "app": "two"})
    with pytest.raises(ConfigError):
        await control_session(api, apps, "stop", {"id": "s", "app": "one"})


async def test_zooms_refusal_comes_with_its_numbers_and_their_meaning(
    simulator: Simulator, api: ZoomApi, app: AppConfig
) -> None:
    simulator.rest.answer_next(NOT_THE_HOST)
    with pytest.raises(AdminError, match="alternative host") as refused:
        await control_session(api, [app], "start", {"id": "s"})
    assert refused.value.code is Code.ZOOM_REFUSED
    assert refused.value.more == {"zoom_code": 2308, "zoom_status": 400}
