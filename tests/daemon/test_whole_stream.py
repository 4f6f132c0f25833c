"""Courses of a stream that no scenario of the simulator has: refusals, windows, ends, formats, products."""

import wave
from pathlib import Path

import attrs
import pytest

from rtmsd.config import AudioConfig, MediaConfig, StreamsConfig, ZoomConfig
from rtmsd.protocol.enums import MediaType, MsgType, StatusCode, StopReason
from rtmsd.simulator import Tone
from tests.daemon.whole import (
    SIMULATED,
    assert_all_of_it_once,
    assert_well_behaved,
    audio_gaps,
    config,
    directory_of,
    until_ended,
    zoom_and_daemon,
)

QUICK = StreamsConfig(reconnect_delay_s=0.02, reconnect_delay_max_s=0.1, stop_grace_s=0.2)


async def test_unified_media_come_over_one_connection(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, media=MediaConfig(connections="unified")) as (sim, backend):
        session = await sim.start_session(["Ana", "Bo"])
        await session.wait_reconnected()
        await sim.clock.sleep(5)
        session.cut_media()
        await session.wait_reconnected()
        await sim.clock.sleep(5)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        media = [each for each in manifest["connections"] if each["kind"] == "media"]
        assert [each["media"] for each in media] == [["audio", "transcript"]] * 2
        assert_well_behaved(session.record)
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


async def test_a_connection_that_zoom_reports_as_broken_costs_no_other(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected(MediaType.TRANSCRIPT)
        await sim.clock.sleep(3)
        session.cut_media()  # event 7, and message 8, which does not say what was lost
        await session.wait_reconnected()
        await sim.clock.sleep(5)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        media = [each["media"] for each in manifest["connections"] if each["kind"] == "media"]
        assert sorted(media) == [["audio"], ["audio"], ["transcript"]]


async def test_tls_with_the_simulators_own_ca(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    zoom = ZoomConfig(allowed_hosts=("127.0.0.1",), ca_file=ca_file)
    async with zoom_and_daemon(tmp_path, simulator={"tls": True}, zoom=zoom) as (sim, backend):
        assert sim.ca_pem is not None
        ca_file.write_bytes(sim.ca_pem)
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected()
        await sim.clock.sleep(5)
        await session.stop()
        await until_ended(backend, session.rtms_stream_id)
        assert session.signaling_url.startswith("wss://")
        assert_well_behaved(session.record)
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


@pytest.mark.parametrize(
    "audio",
    [
        AudioConfig(sample_rate_hz=48000, channels=2, send_rate_ms=20),
        AudioConfig(sample_rate_hz=8000),
        AudioConfig(streams="mixed"),
    ],
    ids=["48 kHz stereo", "8 kHz", "mixed"],
)
async def test_audio_formats_are_negotiated_and_stored(audio: AudioConfig, tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, simulator={"speed": 10.0}, media=MediaConfig(audio=audio)) as (sim, backend):
        session = await sim.start_session(["Ana", "Bo"])
        await session.wait_reconnected()
        await sim.clock.sleep(4)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert_all_of_it_once(session.record, directory)
        files = [entry["path"] for entry in manifest["files"] if entry["media"] == "audio"]
        assert (files == ["audio/mixed.wav"]) == (audio.streams == "mixed")
        with wave.open(str(directory / files[0])) as wav:
            assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (
                audio.sample_rate_hz,
                audio.channels,
                2,
            )


@pytest.mark.parametrize(("codec", "rate_hz"), [("G711", 8000), ("G722", 16000)])
async def test_coded_audio_is_stored_decoded(codec: str, rate_hz: int, tmp_path: Path) -> None:
    audio = AudioConfig(codec=codec, sample_rate_hz=rate_hz, send_rate_ms=20)  # type: ignore[arg-type]
    media = MediaConfig(types=("audio",), audio=audio)
    async with zoom_and_daemon(tmp_path, simulator={"tone": Tone.SPEECH}, media=media) as (sim, backend):
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected()
        await sim.clock.sleep(4)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        (entry,) = (entry for entry in manifest["files"] if entry["media"] == "audio")
        (log,) = session.record.audio.values()
        spans = log.intervals()  # one, unless a busy machine kept the simulator waiting
        assert entry["duration_ms"] == spans[-1][1] - spans[0][0]
        with wave.open(str(directory_of(backend, session.rtms_stream_id) / entry["path"])) as wav:
            assert (wav.getframerate(), wav.getsampwidth()) == (rate_hz, 2)
            assert max(wav.readframes(wav.getnframes())) > 0


async def test_meetings_bring_chat_video_and_share(tmp_path: Path) -> None:
    media = MediaConfig(types=("audio", "transcript", "video", "share", "chat"))
    async with zoom_and_daemon(tmp_path, media=media) as (sim, backend):
        session = await sim.start_session(["Ana"], product="meeting")
        await session.wait_reconnected(MediaType.CHAT)
        await sim.clock.sleep(2)
        session.chat("Ana", "See you later")
        await sim.clock.sleep(2)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert manifest["id"] == session.session_id
        assert manifest["counters"]["messages"]["chat"] == 1
        assert "See you later" in (directory_of(backend, session.rtms_stream_id) / "chat.jsonl").read_text()
        assert_well_behaved(session.record)


async def test_a_media_type_without_scope_is_omitted_and_the_others_continue(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana"], media=MediaType.AUDIO)
        await session.wait_reconnected()
        await sim.clock.sleep(4)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert manifest["state"] == "ended"
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


# Ends


async def test_a_wrong_client_secret_fails_the_stream_and_retries_nothing(tmp_path: Path) -> None:
    apps = tuple(attrs.evolve(app, client_secret="not-the-right-one") for app in config(tmp_path).apps)
    async with zoom_and_daemon(tmp_path, apps=apps) as (sim, backend):
        session = await sim.start_session(["Ana"])
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert manifest["state"] == "failed"
        assert [refusal.status_code for refusal in session.record.refusals()] == [StatusCode.INVALID_SIGNATURE]


async def test_a_host_that_is_not_allowed_is_never_connected_to(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, zoom=ZoomConfig(allow_plain_ws=True)) as (sim, backend):
        session = await sim.start_session(["Ana"])
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert manifest["state"] == "failed"
        assert not session.record.handshakes


async def test_status_8_is_retried_until_the_slot_is_free(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, streams=QUICK) as (sim, backend):
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected()
        session.refuse_next(StatusCode.DUPLICATE_SIGNAL_REQUEST, 4)
        session.cut_signaling(webhook=False)
        await session.wait_reconnected()
        await sim.clock.sleep(4)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert manifest["state"] == "ended"
        assert len(session.record.refusals()) == 4
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


async def test_a_slot_that_is_gone_ends_the_stream_with_reason_19(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, streams=QUICK) as (sim, backend):
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected()
        session.refuse_next(StatusCode.INVALID_RTMS_STREAM_ID, 1)
        session.cut_signaling(webhook=False)
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert (manifest["state"], manifest["stop_reason"]) == ("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT)


@pytest.mark.parametrize("kind", ["signaling", "media"])
async def test_the_stream_ends_when_its_window_passes(kind: str, tmp_path: Path) -> None:
    limits = attrs.evolve(QUICK, signaling_window_s=1, media_window_s=1)
    async with zoom_and_daemon(tmp_path, simulator={"speed": 2.0}, streams=limits) as (sim, backend):
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected()
        session.refuse_next(StatusCode.INTERNAL_EXCEPTION, 10_000, kind=kind)  # type: ignore[arg-type]
        if kind == "signaling":
            session.cut_signaling(webhook=False)
        else:
            session.cut_media()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert (manifest["state"], manifest["stop_reason"]) == ("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT)


async def test_a_stop_while_connecting_ends_the_attempt(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, streams=QUICK) as (sim, backend):
        session = await sim.start_session(["Ana"])
        session.refuse_next(StatusCode.DUPLICATE_SIGNAL_REQUEST, 10_000)
        session.cut_signaling(webhook=False)
        await session.stop(StopReason.USER_TRIGGERED)
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert (manifest["state"], manifest["stop_reason"]) == ("ended", StopReason.USER_TRIGGERED)


async def test_a_polite_close_by_the_daemon_ends_the_stream_at_zoom(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana"])
        await session.wait_reconnected()
        await sim.clock.sleep(4)
        await backend.stop(session.rtms_stream_id)
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert (manifest["state"], manifest["stop_reason"]) == ("ended", StopReason.RECEIVER_REQUEST_CLOSE)
        assert session.record.messages(MsgType.STREAM_CLOSE_RESP)[0]["status_code"] == 0
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


async def test_reconnecting_on_demand_loses_nothing(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, streams=QUICK) as (sim, backend):
        session = await sim.start_session(["Ana"])
        first = await session.wait_reconnected()
        await sim.clock.sleep(4)
        await backend.reconnect(session.rtms_stream_id)
        while await session.wait_reconnected() is first:
            await sim.clock.sleep(0.1)
        await sim.clock.sleep(4)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        assert not audio_gaps(session.record, manifest)
        assert_well_behaved(session.record)
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))


async def test_a_bug_in_one_stream_ends_that_stream_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Saboteur:
        def audio(self, *_: object) -> None:
            raise ZeroDivisionError("sabotage")

        def ended(self) -> None:
            pass

    async with zoom_and_daemon(tmp_path) as (sim, backend):
        victim = await sim.start_session(["Ana"])
        bystander = await sim.start_session(["Bo"])
        await victim.wait_reconnected()
        await bystander.wait_reconnected()
        recorder = backend.recorder(victim.rtms_stream_id)
        assert recorder is not None
        recorder.listeners.append(Saboteur())  # type: ignore[arg-type]
        assert (await until_ended(backend, victim.rtms_stream_id))["state"] == "failed"
        await sim.clock.sleep(4)
        await bystander.stop()
        assert (await until_ended(backend, bystander.rtms_stream_id))["state"] == "ended"
        assert_all_of_it_once(bystander.record, directory_of(backend, bystander.rtms_stream_id))


async def test_an_ended_stream_that_starts_again_continues_in_its_directory(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        room = sim.hold_session(["Ana"])
        session = await sim.start_stream(room, "again")
        await session.wait_reconnected()
        await sim.clock.sleep(2)
        await session.stop()
        first = await until_ended(backend, "again")
        del sim.sessions["again"]
        session = await sim.start_stream(room, "again")
        await session.wait_reconnected()
        await sim.clock.sleep(2)
        await session.stop()
        second = await until_ended(backend, "again")
        assert second["ended_ms"] > first["ended_ms"]
        assert second["started_ms"] == first["started_ms"]
        assert second["counters"]["messages"]["audio"] > first["counters"]["messages"]["audio"]


def test_the_simulated_secrets_are_the_configured_ones(tmp_path: Path) -> None:
    (app,) = config(tmp_path).apps
    assert (app.client_id, app.client_secret) == (SIMULATED.client_id, SIMULATED.client_secret)
