"""Every scenario the simulator ships, played against the whole daemon over real sockets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd.config import StreamsConfig
from rtmsd.simulator import Fate, SimSession, built_in
from tests.daemon.whole import (
    HURRIED,
    LIMIT_S,
    assert_all_of_it_once,
    assert_well_behaved,
    audio_gaps,
    directory_of,
    lines,
    play_whole,
    until_ended,
    zoom_and_daemon,
)

# "half-open" needs a short watchdog, "revoked" leaves no files, and in "hostile" the daemon must close a connection:
# what Zoom has on its way then may be lost. "conversation" and "chat" have tests of their own, and so have PRODUCTS and
# OTHER_MEDIA.
PRODUCTS = {"webinar", "contact-center", "phone", "tomorrow"}
OTHER_MEDIA = {"meeting", "video", "share", "opus", "rtp", "everything"}
EXACT = sorted(set(built_in()) - {"half-open", "revoked", "hostile", "conversation", "chat"} - PRODUCTS - OTHER_MEDIA)
CUT = {"failover", "media-cuts", "signaling-cuts"}  # then Zoom has a buffer to fetch


@pytest.mark.parametrize("name", EXACT)
async def test_nothing_is_lost_and_nothing_twice(name: str, tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await play_whole(sim, name)
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert_exact(session, manifest, directory, jitter_ms=20 if name == "dialects" else 0)
        if name in CUT:
            assert any(log.count(Fate.BUFFERED) for log in session.record.audio.values())


def assert_exact(session: SimSession, manifest: dict[str, Any], directory: Path, *, jitter_ms: int = 0) -> None:
    assert (manifest["state"], manifest["stop_reason"]) == ("ended", session.stop_reason)
    assert_well_behaved(session.record)
    assert_all_of_it_once(session.record, directory, jitter_ms=jitter_ms)
    assert not audio_gaps(session.record, manifest)


async def test_half_open_connections_are_noticed_by_the_watchdog(tmp_path: Path) -> None:
    limits = StreamsConfig(reconnect_delay_s=0.05, keep_alive_timeout_s=0.6)
    zoom = {"speed": 60, "timing": attrs.evolve(HURRIED.timing, keep_alive_misses=6)}  # the daemon is first
    async with zoom_and_daemon(tmp_path, simulator=zoom, streams=limits) as (sim, backend):
        session = await play_whole(sim, "half-open")
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert manifest["state"] == "ended"
        assert any("nothing heard" in (connection["why"] or "") for connection in manifest["connections"])
        assert_all_of_it_once(session.record, directory)


def count_of_broken(manifest: Mapping[str, Any]) -> int:
    count: int = manifest["counters"]["corrupt"] + manifest["counters"]["unknown"]
    return count


async def test_broken_frames_are_counted_by_kind_and_end_no_connection(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana", "Bo"])
        await session.wait_reconnected()
        await sim.clock.sleep(2)
        sent = session.malformed_frames()
        session.huge_frame()
        with trio.fail_after(LIMIT_S):
            while count_of_broken(backend.stream(session.rtms_stream_id)) <= sent:  # noqa: ASYNC110 nothing signals it
                await trio.sleep(0.01)
        await sim.clock.sleep(2)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        counters = manifest["counters"]
        assert count_of_broken(manifest) == sent + 1  # and the huge one
        assert sum(counters["corrupt_kinds"].values()) == counters["corrupt"]
        assert {
            "bad_json",
            "not_object",
            "bad_utf8",
            "bad_base64",
            "length_mismatch",
            "wrong_type",
            "timestamp",
        } == set(counters["corrupt_kinds"])
        assert_well_behaved(session.record)
        assert_all_of_it_once(session.record, directory_of(backend, session.rtms_stream_id))
        assert not audio_gaps(session.record, manifest)


@pytest.mark.parametrize(("kind", "code"), [("reserved_bit", 1002), ("masked", 1002)])
async def test_a_breach_of_websocket_is_closed_with_its_code_and_reconnected(
    kind: str, code: int, tmp_path: Path
) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await sim.start_session(["Ana"])
        first = await session.wait_reconnected()
        await sim.clock.sleep(2)
        session.violate_websocket(kind)
        while await session.wait_reconnected() is first:
            await sim.clock.sleep(0.1)
        await sim.clock.sleep(4)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        media = [each for each in manifest["connections"] if each["media"] == ["audio"]]
        assert len(media) == 2
        assert str(code) in media[0]["why"]
        missing = {gap["cause"] for gap in manifest["gaps"] if gap["media"] == "audio"}
        assert missing <= {"media_reconnect"}
        assert_well_behaved(session.record)


async def test_a_revoked_stream_leaves_a_receipt_and_no_personal_data(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await play_whole(sim, "revoked")
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert manifest["state"] == "revoked"
        assert manifest["participants"] == manifest["files"] == manifest["gaps"] == manifest["connections"] == []
        assert [path.name for path in directory.iterdir()] == ["stream.json"]
        assert "Ana" not in (directory / "stream.json").read_text()


async def test_events_and_captions_hold_the_conversation(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await play_whole(sim, "conversation")
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert_exact(session, manifest, directory)
        kinds = [line["kind"] for line in lines(directory / "events.jsonl")]
        assert {"participant_join", "participant_leave", "active_speaker_change", "first_packet_timestamp"} <= set(
            kinds
        )
        assert {"stream_state", "session_state", "connection"} <= set(kinds)
        captions = (directory / "transcript.vtt").read_text()
        assert captions.startswith("WEBVTT")
        assert captions.count("-->") == manifest["counters"]["messages"]["transcript"]
        assert all(f"<v {name}>" in captions for name in ("Ana", "Bo", "Cleo"))
        assert {person["user_name"] for person in manifest["participants"]} == {"Ana", "Bo", "Cleo"}
