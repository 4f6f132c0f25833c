"""Sessions moved through Zoom's REST API, by rtmsctl and by the restart policy, against the simulator's."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from rtmsd.protocol.enums import StopReason
from rtmsd.simulator.server.rest import NOT_THE_HOST, OPERATION_FAILED
from tests.service.conftest import short_directory
from tests.service.installation import SIMULATED, Installation, Zoom, until, zoom_for

Stage = tuple[Installation, Zoom]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A daemon that has the credentials of Zoom's REST API, and no stream at first."""
    with short_directory() as path, closing(Installation(path)) as daemon:
        daemon.start()
        missing = daemon.ctl("session", "start", "some")
        assert (missing.code, missing.err.count("app.api: is missing for 'main'")) == (1, 1)
        with zoom_for(daemon) as zoom:
            yield daemon, give_credentials(daemon, zoom)


def give_credentials(daemon: Installation, zoom: Zoom) -> Zoom:
    api = {"key": SIMULATED.api_key, "secret": {"value": SIMULATED.api_secret}, "base_url": zoom.sim.rest.base_url}
    daemon.sections["app.api"] = api | {"token_url": zoom.sim.rest.token_url}
    daemon.write_config()
    assert daemon.ctl("reload").code == 0
    return zoom


def test_a_session_is_started_paused_resumed_and_stopped(stage: Stage) -> None:
    daemon, zoom = stage
    zoom.do(lambda: zoom.sim.hold_session(["Ana"], session_id="Kz9+a/B=="))
    assert daemon.ctl("session", "start", "Kz9+a/B==").out == (
        "Zoom has accepted: start the stream of session Kz9+a/B==\n"
    )
    until(partial(is_the_state, daemon, "active"))
    for action, state in (("pause", "paused"), ("resume", "active")):
        answer = daemon.asked("session", action, "Kz9+a/B==")
        assert answer["status"] == 202
        until(partial(is_the_state, daemon, state))
    assert daemon.ctl("session", "stop", "Kz9+a/B==").code == 0
    until(lambda: not daemon.states())


def is_the_state(daemon: Installation, state: str) -> bool:
    """Whether there is one stream, in this state."""
    return list(daemon.states().values()) == [state]


@pytest.mark.parametrize(
    ("answer", "words"), [(NOT_THE_HOST, "alternative host"), (OPERATION_FAILED, "Developer Pack")]
)
def test_a_refusal_is_explained(stage: Stage, answer: tuple[object, ...], words: str) -> None:
    daemon, zoom = stage
    zoom.do(lambda: zoom.sim.rest.answer_next(answer, 2))  # type: ignore[arg-type]
    code = answer[1]["code"]  # type: ignore[index]
    refused = daemon.ctl("session", "start", "some")
    assert refused.code == 1
    assert words in refused.err
    assert f"code {code}, HTTP 400" in refused.err
    problem = daemon.curl("/v1/session/start", "-d", '{"id": "some"}').json
    assert (problem["code"], problem["zoom_code"]) == ("zoom_refused", code)


def test_a_terminated_stream_is_started_again_where_the_policy_says_so(stage: Stage) -> None:
    daemon, zoom = stage
    daemon.sections["streams"]["restart_policy"] = "api"
    daemon.write_config()
    assert daemon.ctl("reload").code == 0
    first = zoom.session("Ana", rtms_stream_id="first")
    zoom.wait(lambda: first.stop(StopReason.INTERNAL_EXCEPTION))
    until(lambda: list(daemon.states().values()) == ["active"] and "first" not in daemon.states())
    until(lambda: daemon.logged("asked Zoom to start a stream again", rtms_stream_id="first"))
    second = next(iter(daemon.states()))
    assert zoom.sim.sessions[second].session_id == first.session_id
    zoom.wait(lambda: zoom.sim.sessions[second].stop(StopReason.MEETING_ENDED))
    until(lambda: not daemon.states())
    assert len(daemon.logged("asked Zoom to start a stream again")) == 1
