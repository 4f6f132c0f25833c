"""A server that makes up people, names, files, gaps and connections: the manifest stays small, and can be read."""

import json
from typing import Any

import pytest

from rtmsd.protocol.messages import Participant
from rtmsd.recording.manifest.schema import encode_manifest, manifest_from_json

MANIFEST_BYTES = 4 * 2**20


@pytest.mark.long  # `test_manifest_size.py` has the same bound, without the recorder's files
async def test_the_manifest_stays_below_4_mib_whatever_comes(studio: Any, tools: Any) -> None:
    studio.limit(2**30)
    recorder = await studio.open()
    everything = frozenset({"audio", "video", "share", "transcript", "chat"})
    number = recorder.connected("media", everything)
    for person in range(12_000):
        user_id = f"{person:06}" + "\x01" * 41
        people = Participant(channel_id=user_id, user_name="\x01" * 500)
        recorder.participants_joined([people], tools.T + person)
    assert recorder.manifest()["counters"]["unlisted_participants"] > 2000
    for person in range(2500):
        user_id = f"{person:06}" + "\x01" * 41
        time_ms = tools.T + 200 * person
        recorder.media.audio(user_id, None, time_ms, tools.packet(1))
        recorder.media.audio(user_id, None, time_ms, b"odd")
        recorder.media.video(user_id, None, time_ms, b"x")
        recorder.media.share(user_id, None, time_ms, b"x")
    for _ in range(2500):
        recorder.lost(number, "media_reconnect", "\x01" * 5000)
        number = recorder.connected("media", everything)
        recorder.heard(recorder.zoom_ms + 1000)
    manifest = recorder.manifest()
    assert len(encode_manifest(manifest_from_json(manifest))) < MANIFEST_BYTES, {
        name: len(json.dumps(value)) for name, value in manifest.items()
    }
    assert recorder.media.dropped["audio", "files"] or recorder.media.dropped["video", "files"]


async def test_a_long_name_in_a_packet_is_kept_cut(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", frozenset({"audio", "video"}))
    for number in range(2):
        recorder.media.audio(5, "x" * 100_000, tools.T + 20 * number, tools.packet(number))
        recorder.media.video(6, "x" * 100_000, tools.T + 40 * number, b"x%d" % number)
    assert [len(person["user_name"]) for person in recorder.manifest()["participants"]] == [1024, 1024]
    assert len(recorder.media._audio.tracks[5].user_name or "") == 1024


async def test_a_huge_event_is_kept_cut_and_marked(studio: Any) -> None:
    recorder = await studio.open()
    recorder.event("event_99", None, text="x" * 10**6, people=list(range(10**6)), number=10**400)
    recorder.event("event_98", None, text="small")
    await recorder.flusher.flush()
    lines = (recorder.directory / "events.jsonl").read_bytes().splitlines()
    huge = next(json.loads(line) for line in lines if b"event_99" in line)
    small = next(json.loads(line) for line in lines if b"event_98" in line)
    assert max(map(len, lines)) < 70_000
    assert huge["is_cut"] is True
    assert "is_cut" not in small
