"""Scenarios in TOML, right and wrong, and the built-in ones."""

import json

import pytest

from rtmsd.protocol.enums import MediaType
from rtmsd.simulator import ScenarioError, SimulatorSettings, Tone, built_in, open_simulator, play
from rtmsd.simulator.model.crowd import Crowd, Mic
from rtmsd.simulator.model.settings import Person
from rtmsd.simulator.scenario.scenario import load, parse


def test_built_in_scenarios_are_sound_and_end() -> None:
    scenarios = built_in()
    assert {"conversation", "pause", "media-cuts", "signaling-cuts", "failover", "hostile"} <= scenarios.keys()
    assert {"meeting", "video", "share", "opus", "rtp", "everything"} <= scenarios.keys()
    for scenario in scenarios.values():
        assert scenario.people, scenario.name
        assert scenario.steps[-1].action == "stop", scenario.name
        assert scenario.title != scenario.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("people = [", "broken: "),
        ("peple = []", "no key 'peple', did you mean 'people'?"),
        ('product = "sesion"', "no product 'sesion', did you mean 'session'?"),
        ('people = [{ name = "Ana" }]', "people[1]: no key 'name', did you mean 'user_name'?"),
        ('step = [{ at_s = 1, do = "cut_meda" }]', "step 1: no action 'cut_meda', did you mean 'cut_media'?"),
        ('step = [{ do = "pause" }]', "step 1: at_s is missing"),
        ('step = [{ at_s = 1, do = "mute" }]', "step 1: mute: who is missing"),
        ('step = [{ at_s = 1, do = "mute", who = "Eve" }]', "mute at 1 s: nobody called 'Eve' is in the session"),
        (
            'people = ["Ana"]\nstep = [{ at_s=2, do = "hush", who = "Ana" }, { at_s = 1, do = "leave", who = "Ana" }]',
            "hush at 2 s: nobody called 'Ana' is in the session",
        ),
        ('step = [{ at_s = 1, do = "talk", who = 7 }]', "talk at 1 s: nobody called 7 is in the session"),
        ('people = [{ user_name = "A", user_id = 1 }, { user_name = "B", user_id = 1 }]', "user id 1 is in"),
        ('people = "Ana"', "people must be a list"),
        ("step = 3", "step must be a list"),
        ('media = ["audo"]', "no media 'audo', did you mean 'audio'?"),
        ('step = [{ at_s = 1, do = "violate_websocket", kind = "maskd" }]', "no 'maskd', did you mean 'masked'?"),
        ('step = [{ at_s = 1, do = "malformed_frames", kinds = ["nul"] }]', "no 'nul', did you mean 'null'?"),
        ('step = [{ at_s = 1, do = "stop", reson = 1 }]', "no argument 'reson', did you mean 'reason'?"),
        ('step = [{ at_s = 1, do = "stop", reason = "REVOKED" }]', "no StopReason 'REVOKED'"),
        ('step = [{ at_s = 1, do = "cut_media", announce = 1 }]', "announce: must be bool, not int"),
        ('step = [{ at_s = 1, do = "cut_media", how = "x" }]', "there are EOF, RESET, TRUNCATED"),
        ('step = [{ at_s = 1, do = "silence", kind = "radio" }]', "'radio' is not one of signaling, media"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as mistake:
        parse("broken", text)
    assert said in str(mistake.value)


def test_a_scenario_that_is_not_there() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'pause'"):
        load("paus")


async def test_playing_follows_the_script() -> None:
    scenario = parse(
        "short",
        """
        people = ["Ana", { user_name = "Bo", talking = false }]
        step = [
          { at_s = 4, do = "stop", reason = "STREAM_REVOKED" },
          { at_s = 1, do = "talk", who = "Bo" },
          { at_s = 2, do = "leave", who = "Ana", note = "Ana goes" },
        ]
        """,
    )
    announced = []

    async def announce(session: object, step: object) -> None:
        announced.append(str(step))

    async with open_simulator(SimulatorSettings(speed=50, tone=Tone.MARKED)) as simulator:
        session = await play(simulator, scenario, announce)
        assert session.ended.is_set()
        assert json.loads(session.record.webhooks[-1].body)["payload"]["stop_reason"] == 8
        assert [p.person.user_name for p in session.crowd.present.values()] == ["Bo"]
    assert announced == ["talk(who=Bo)", "Ana goes", "stop(reason=STREAM_REVOKED)"]


def test_three_speak_at_once_at_most_and_whole_packets_only() -> None:
    crowd = Crowd()
    ids = [crowd.join(Person(user_name=name), 100).user_id for name in "ABCD"]
    assert crowd.speakers(100, 120) == tuple(ids[:3])
    assert crowd.speakers(99, 119) == ()
    crowd.set_mic(ids[0], Mic.QUIET, 150)
    assert crowd.speakers(140, 160) == tuple(ids[1:])
    assert crowd.active_speaker == ids[3]
    crowd.set_mic(ids[3], Mic.MUTED, 160)
    assert crowd.active_speaker == ids[2]


def test_utterances_are_sent_once_and_a_pause_hides_what_is_said() -> None:
    crowd = Crowd()
    ana = crowd.join(Person(user_name="Ana"), 0).user_id
    assert list(crowd.utterances(3999, 4000)) == []
    assert list(crowd.utterances(4000, 4000)) == [(ana, 0, 4000)]
    crowd.pause(5000)
    crowd.resume(9000)
    crowd.leave(ana, 9500)
    assert list(crowd.utterances(20_000, 4000)) == [(ana, 4000, 5000), (ana, 9000, 9500)]
    assert list(crowd.utterances(30_000, 4000)) == []
    crowd.forget(9500)
    assert crowd.speakers(0, 20) == ()


def test_media_have_the_names_of_the_configuration() -> None:
    text = 'media = ["audio", "share"]\nstep = [{ at_s = 1, do = "cut_media", media = "share" }]'
    scenario = parse("shared", text)
    assert scenario.media == MediaType.AUDIO | MediaType.DESKSHARE
    assert scenario.steps[0].arguments == {"media": MediaType.DESKSHARE}
    assert parse("older", 'media = ["deskshare"]').media == MediaType.DESKSHARE


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ('id_key = "call_id"', "id_key: 'call_id' is not one of webinar_uuid, meeting_uuid"),
        ('addresses = "quic"', "addresses: 'quic' is not one of ws, srt"),
        ('duplicate_signaling = "evikt"', "duplicate_signaling: 'evikt' is not one of refuse, evict"),
        ("protocol_version = true", "protocol_version must be a number"),
        ("details = 1", "details must be a table"),
        ('step = [{ at_s = 1, do = "voice_event", event_type = 30, fields = 1 }]', "fields: must be a table"),
    ],
)
def test_mistakes_about_the_server_are_named(line: str, mistake: str) -> None:
    with pytest.raises(ScenarioError, match=mistake):
        parse("wrong", f'product = "webinar"\n{line}')
