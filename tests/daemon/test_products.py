"""Every product, and a version of the protocol to come, played against the whole daemon."""

import wave
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

from rtmsd.config import MediaConfig, StreamsConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import TroubleCode
from rtmsd.protocol.enums import MsgType
from rtmsd.simulator import SimSession, Simulator
from tests.daemon.test_whole_scenarios import assert_exact
from tests.daemon.whole import HURRIED, LIMIT_S, config, directory_of, lines, play_whole, until_ended, zoom_and_daemon

SLOW = StreamsConfig(reconnect_delay_s=10, stop_grace_s=1)


async def played(sim: Simulator, backend: Backend, name: str) -> tuple[SimSession, dict[str, Any], Path]:
    """Play a scenario, and return it with the manifest and directory, in which nothing may be missing."""
    session = await play_whole(sim, name)
    manifest = await until_ended(backend, session.rtms_stream_id)
    directory = directory_of(backend, session.rtms_stream_id)
    assert_exact(session, manifest, directory)
    for file in manifest["files"]:
        if file["media"] == "audio":
            with wave.open(str(directory / file["path"])) as read:  # by an independent reader
                assert (read.getframerate(), read.getnframes() // 16) == (16000, file["duration_ms"])
    return session, manifest, directory


def app(directory: Path, **keys: Any) -> dict[str, Any]:
    """Sections with these keys under [[app]]."""
    [known] = config(directory).apps
    return {"apps": (attrs.evolve(known, **keys),)}


async def test_a_webinar_goes_by_the_key_that_came(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, media=MediaConfig(types=("audio", "transcript", "chat"))) as (sim, backend):
        session, manifest, _ = await played(sim, backend, "webinar")
        assert (manifest["id_key"], manifest["id"]) == ("webinar_uuid", session.session_id)
        assert manifest["details"]["meeting_uuid"] == "b3RoZXI/bWVldGluZw=="
        assert manifest["details"]["webinar_id"] == "94612345678"
        assert {file["media"] for file in manifest["files"]} >= {"audio", "transcript", "chat"}


async def test_a_webinar_may_have_a_meeting_uuid_alone(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana"], product="webinar", id_key="meeting_uuid")
        await session.wait_reconnected()
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert (manifest["product"], manifest["id_key"]) == ("webinar", "meeting_uuid")
        assert not session.record.violations


@pytest.mark.parametrize("streams", ["per-participant", "mixed"])
async def test_a_contact_center_is_followed_through_ivr_hold_and_transfer(streams: Any, tmp_path: Path) -> None:
    media = MediaConfig(audio=attrs.evolve(MediaConfig().audio, streams=streams))
    with structlog.testing.capture_logs() as logs:
        async with zoom_and_daemon(tmp_path, media=media, streams=SLOW) as (sim, backend):
            session, manifest, directory = await played(sim, backend, "contact-center")
    events = {line["kind"]: line for line in lines(directory / "events.jsonl")}
    assert events["event_30"]["flow_name"] == "Welcome"
    assert events["event_33"]["digits"] == "1"
    assert events["event_32"]["zoom_ms"] is not None
    assert manifest["counters"]["unknown_kinds"] == {}
    people = {person["user_name"]: person for person in manifest["participants"] if person["user_name"]}
    assert (people["Caller"]["role"], people["Caller"]["phone_number"]) == ("caller", "+15550100")
    assert people["Ana"]["role"] == "callee"
    assert people["Ana"]["joined_ms"] < people["Ana"]["left_ms"]
    assert people["Caller"]["left_ms"] > people["Ana"]["left_ms"]
    assert people["Bo"]["left_ms"] is None
    assert manifest["details"]["sip_custom_fields"] == {"X-Order": "4711", "X-Tier": "gold"}
    assert not [secret for secret in ("+15550100", "4711", "Welcome", "Press 1") if secret in repr(logs)]
    signaling = [each for each in manifest["connections"] if each["kind"] == "signaling"]
    assert len(signaling) == 2
    assert "1000" in signaling[0]["why"]
    away_ms = signaling[1]["opened_ms"] - signaling[0]["closed_ms"]
    assert away_ms < SLOW.reconnect_delay_s * HURRIED.speed * 1000 / 2, "not connected again at once"
    [asked, _] = session.record.messages(MsgType.EVENT_SUBSCRIPTION)
    assert {choice["event_type"] for choice in asked["events"]} >= set(range(8, 35))
    assert {gap["media"] for gap in manifest["gaps"]} <= {"transcript"}  # of the transfer: Zoom does not buffer them


async def test_a_phone_call_has_codes_for_events(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, **app(tmp_path, event_codes=(20002,))) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "phone")
        events = lines(directory / "events.jsonl")
        assert [line["hold"] for line in events if line["kind"] == "event_code_20002"] == [True, False]
        assert manifest["counters"]["unknown_kinds"] == {"event_code_20001": 1, "event_code_20002": 2}
        assert manifest["id_key"] == "call_id"
        [asked, _] = session.record.messages(MsgType.EVENT_SUBSCRIPTION)
        assert asked["events"][-1] == {"event_code": 20002, "subscribe": True}


async def test_what_comes_tomorrow_is_kept_and_counted(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with zoom_and_daemon(tmp_path) as (sim, backend):
            _, manifest, directory = await played(sim, backend, "tomorrow")
            metrics = backend.metrics().decode()
    events = {line["kind"]: line for line in lines(directory / "events.jsonl")}
    assert events["message_31"]["words"] == ["a", "b"]
    assert events["message_40"]["content"] == {"smell": "AAAA"}
    assert events["message_23"]["content"] == {"language": 9}
    assert events["event_77"]["fuel"] == 3
    assert events["event_code_40001"]["rating"] == 5
    kinds = manifest["counters"]["unknown_kinds"]
    once = ["message_31", "message_40", "message_23", "event_77", "event_code_40001"]
    once += ["stream_state_update.state=77", "stream_state_update.region"]
    assert [name for name in once if kinds.get(name) != 1] == []
    assert manifest["counters"]["unknown"] == 5
    later = ["media_data_audio.x_undocumented", "media_data_audio.content.x_undocumented"]
    later += ["media_data_transcript.content.x_undocumented", "data_hand_shake_resp.media_params.audio.x_undocumented"]
    assert [name for name in later if name not in kinds] == []
    parts = [line for line in lines(directory / "events.jsonl") if line["kind"].startswith("unknown_")]
    assert {"message": "stream_state_update", "field": "region", "value": "north"}.items() <= parts[0].items()
    assert 'rtmsd_unknown_total{kind="message"} 3.0' in metrics
    assert 'rtmsd_unknown_total{kind="event_code"} 1.0' in metrics
    named = [entry["name"] for entry in logs if entry["event"] == "unknown to this version"]
    assert sorted(named) == sorted(kinds)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"protocol_version": 2}, "Zoom answered with protocol version 2, which rtmsd does not speak"),
        ({"addresses": "srt"}, "Zoom named no WebSocket address (srt://...)"),
    ],
)
async def test_what_we_do_not_speak_fails_at_once_and_says_so(server: dict[str, Any], why: str, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with zoom_and_daemon(tmp_path, simulator={"speed": 1.0}) as (sim, backend):
            began_s = trio.current_time()
            session = await sim.start_session(["Ana"], product="phone", **server)
            manifest = await until_ended(backend, session.rtms_stream_id)
            assert trio.current_time() - began_s < LIMIT_S / 2
            assert (manifest["state"], manifest["why"]) == ("failed", why)
            assert len(session.record.handshakes) == 1
            backend.health.look()
            [trouble] = [each for each in backend.health.troubles if each.code is TroubleCode.STREAMS_FAILED]
            assert why in trouble.detail
    assert sim.address not in repr([entry for entry in logs if "srt" in repr(entry)])


async def test_version_2_is_spoken_where_it_is_configured(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, **app(tmp_path, protocol_version=2)) as (sim, backend):
        session = await sim.start_session(["Ana"], product="phone", protocol_version=2)
        await session.wait_reconnected()
        await sim.clock.sleep(3)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert (manifest["state"], manifest["counters"]["messages"]["audio"] > 0) == ("ended", True)
        assert {m["protocol_version"] for m in session.record.messages(MsgType.DATA_HAND_SHAKE_REQ)} <= {2}
        assert not session.record.violations


async def test_media_that_a_product_lacks_are_dropped_once_and_the_others_go_on(tmp_path: Path) -> None:
    media = MediaConfig(types=("audio", "transcript", "video"))
    with structlog.testing.capture_logs() as logs:
        async with zoom_and_daemon(tmp_path, media=media) as (sim, backend):
            session = await sim.start_session(["Ana"], product="contact_center")
            await session.wait_reconnected()
            await sim.clock.sleep(2)
            session.transfer()
            await sim.clock.sleep(2)
            await session.wait_reconnected()
            await session.stop()
            manifest = await until_ended(backend, session.rtms_stream_id)
    assert manifest["media"]["video"]["refused"]["status"] == 10
    assert manifest["counters"]["messages"]["audio"] > 0
    assert len([entry for entry in logs if entry["event"] == "media refused"]) == 1


async def test_who_speaks_on_the_phone_may_be_a_channel(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana"], product="phone", speaker_key="channel_id")
        await session.wait_reconnected()
        await sim.clock.sleep(3)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        [audio] = [file for file in manifest["files"] if file["media"] == "audio"]
        [ana] = manifest["participants"]
        assert audio["user_id"] == ana["user_id"] == str(next(iter(session.record.audio)))
        assert_exact(session, manifest, directory_of(backend, session.rtms_stream_id))
