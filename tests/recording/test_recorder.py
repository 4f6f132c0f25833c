"""A whole recording: what comes in against what the files hold."""

import errno
import json
import math
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.protocol.enums import MediaType, PayloadType
from rtmsd.protocol.media_data import ChatData, Corrupt, TranscriptData, decode_batch
from rtmsd.protocol.messages import Participant
from rtmsd.protocol.reading import CorruptKind
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify

AUDIO = frozenset({"audio"})


def utterance(text: str, start_ms: int | None, timestamp_ms: int, user_id: int | str = 5) -> TranscriptData:
    return TranscriptData(
        user_id=user_id,
        user_name=None,
        text=text,
        timestamp_ms=timestamp_ms,
        start_ms=start_ms,
        end_ms=None if start_ms is None else start_ms + 900,
        language=9,
        attribute=None,
    )


async def test_a_session_from_start_to_end(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.media.audio_format(tools.audio_format())
    recorder.connected("media", AUDIO | {"transcript"})
    recorder.state("active")
    recorder.participants_joined([Participant(user_id=5, user_name="Ana <&>")], T + 3)
    for number in range(50):
        recorder.media.audio(5, "Ana <&>", T + 100 + 20 * number, tools.packet(number))
        recorder.media.audio(6, None, T + 110 + 20 * number, tools.packet(1000 + number))
    recorder.media.audio(5, "Ana <&>", T + 100 + 20 * 49, tools.packet(49))
    recorder.media.text(utterance("second --> & <b>", T + 800, T + 2000))
    recorder.media.text(utterance("first", T + 200, T + 2100))
    recorder.media.text(utterance("first", T + 200, T + 2100))
    recorder.participants_left([Participant(user_id=6)], T + 1000)
    recorder.ended(6, T + 3000)
    await recorder.finish()

    found = tools.manifest(recorder)
    directory = recorder.directory
    assert directory.relative_to(studio.settings.directory).as_posix() == "2026-09-21/stream%2F1"
    assert tools.samples(directory / "audio/5.wav") == b"".join(tools.packet(number) for number in range(50))
    assert tools.samples(directory / "audio/6.wav") == b"".join(tools.packet(1000 + number) for number in range(50))
    assert (found["state"], found["ended_ms"], found["stop_reason"]) == ("ended", T + 3000, 6)
    assert found["gaps"] == []
    assert found["counters"] | {"corrupt_kinds": {}} == {
        "messages": {"audio": 101, "transcript": 3},
        "duplicates": 2,
        "dropped": 0,
        "corrupt": 0,
        "unknown": 0,
        "unknown_kinds": {},
        "corrupt_kinds": {},
        "same_time": 0,
        "trimmed_ms": 0,
        "inserted_ms": 0,
        "cut_ms": 0,
    }
    assert {(each["user_id"], each["user_name"], each["left_ms"]) for each in found["participants"]} == {
        (5, "Ana <&>", None),
        (6, None, T + 1000),
    }
    assert [(each["path"], each["start_ms"], each["duration_ms"]) for each in found["files"]][:2] == [
        ("audio/5.wav", T + 100, 1000),
        ("audio/6.wav", T + 110, 1000),
    ]
    assert (directory / "transcript.vtt").read_text() == (
        "WEBVTT\n\n"
        "00:00:00.200 --> 00:00:01.100\n<v Ana &lt;&amp;&gt;>first\n\n"
        "00:00:00.800 --> 00:00:01.700\n<v Ana &lt;&amp;&gt;>second --&gt; &amp; &lt;b&gt;\n\n"
    )
    assert [json.loads(line)["text"] for line in (directory / "transcript.jsonl").read_text().splitlines()] == [
        "second --> & <b>",
        "first",
    ]
    assert verify(directory) == []
    assert repair(directory) == []
    assert {event["kind"] for event in studio.events} == {"stream_state", "connection"}


async def test_files_are_whole_after_every_flush(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    for number in range(10):
        recorder.media.audio(5, "Ana", tools.T + 20 * number, tools.packet(number))
        await studio.writer.flush()
        assert tools.samples(recorder.directory / "audio/5.wav") == b"".join(
            tools.packet(earlier) for earlier in range(number + 1)
        )
    assert studio.writer.pending_bytes == 0
    assert verify(recorder.directory) == []


async def test_an_older_packet_and_another_format_open_further_files(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, "Ana", T + 1000, tools.packet(1))
    recorder.media.audio(5, "Ana", T + 200, tools.packet(2))
    recorder.media.audio(5, "Ana", T + 1020, tools.packet(3))
    recorder.media.audio_format(tools.audio_format(rate_hz=8000))
    recorder.media.audio(5, "Ana", T + 2000, tools.packet(4, ms=10))
    recorder.media.audio(0, None, T + 2000, tools.packet(5, ms=10))
    recorder.ended(6, T + 3000)
    await recorder.finish()
    starts = {
        entry["path"]: (entry["start_ms"] - T, entry["sample_rate_hz"]) for entry in tools.manifest(recorder)["files"]
    }
    assert starts == {
        "audio/5.wav": (1000, 16000),
        "audio/5-2.wav": (200, 16000),
        "audio/5-3.wav": (2000, 8000),
        "audio/mixed.wav": (2000, 8000),
    }
    assert tools.samples(recorder.directory / "audio/5.wav") == tools.packet(1) + tools.packet(3)
    assert verify(recorder.directory) == []


async def test_compressed_audio_is_stored_as_samples(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.media.audio_format(tools.audio_format(rate_hz=8000, codec=PayloadType.G711))
    recorder.media.audio(5, "Ana", tools.T, b"\xd5\x2a\xaa" + b"\xd5" * 157)
    recorder.ended(6, None)
    await recorder.finish()
    sound = tools.samples(recorder.directory / "audio/5.wav")
    assert len(sound) == 320
    assert [int.from_bytes(sound[at : at + 2], "little", signed=True) for at in (0, 2, 4)] == [8, -32256, 32256]


async def test_a_new_daemon_continues_the_same_files(studio: Any, tools: Any) -> None:
    T = tools.T
    first = await studio.open()
    first.connected("media", AUDIO | {"transcript"})
    first.state("active")
    for number in range(10):
        first.media.audio(5, "Ana", T + 20 * number, tools.packet(number))
    first.media.text(utterance("once", T, T + 50))
    await studio.writer.flush()
    first.media.audio(5, "Ana", T + 200, tools.packet(10))  # never reaches the disk: the daemon is killed

    second = await studio.open()
    assert second.snapshot()["state"] == "recovering"
    second.connected("media", AUDIO | {"transcript"})
    second.media.text(utterance("once", T, T + 50))
    for number in [9, 20, 21, 22]:  # one that was written, then what Zoom still had
        second.media.audio(5, "Ana", T + 20 * number, tools.packet(number))
    second.heard(T + 450)
    second.ended(6, T + 500)
    await second.finish()

    expected = [tools.packet(number) for number in range(10)] + [bytes(640)] * 10
    expected += [tools.packet(number) for number in (20, 21, 22)]
    assert tools.samples(second.directory / "audio/5.wav") == b"".join(expected)
    found = tools.manifest(second)
    assert {(gap["media"], gap["from_ms"] - T, gap["to_ms"] - T, gap["cause"]) for gap in found["gaps"]} == {
        ("audio", 200, 400, "daemon_restart"),
        ("transcript", 200, 450, "daemon_restart"),
    }
    assert found["counters"]["duplicates"] == 2
    assert len((second.directory / "transcript.jsonl").read_text().splitlines()) == 1
    assert verify(second.directory) == []


async def test_what_was_said_at_the_same_time_does_not_explain_a_transcript_that_was_lost(
    studio: Any, tools: Any
) -> None:
    recorder = await studio.open()
    number = recorder.connected("media", frozenset({"transcript"}))
    recorder.media.text(utterance("before", tools.T, tools.T + 1000))
    recorder.lost(number, "media_reconnect", "cut")
    (lost,) = recorder.snapshot()["gaps"]
    recorder.connected("media", frozenset({"transcript"}))
    recorder.heard(tools.T + 9000)
    recorder.media.text(utterance("all the time", tools.T, tools.T + 9500))
    (gap,) = recorder.snapshot()["gaps"]
    assert (gap["from_ms"], gap["to_ms"]) == (lost["from_ms"], tools.T + 9000)


async def test_suspended_and_opened_again(studio: Any, tools: Any) -> None:
    T = tools.T
    first = await studio.open()
    first.connected("media", AUDIO)
    first.media.audio(5, "Ana", T, tools.packet(0))
    await first.suspend()
    assert tools.manifest(first)["state"] == "recovering"
    second = await studio.open()
    second.connected("media", AUDIO)
    second.media.audio(5, "Ana", T + 20, tools.packet(1))
    second.heard(T + 30)
    second.ended(6, T + 100)
    await second.finish()
    assert tools.samples(second.directory / "audio/5.wav") == tools.packet(0) + tools.packet(1)
    assert tools.manifest(second)["gaps"] == []
    assert verify(second.directory) == []


async def test_an_ended_stream_is_started_again(studio: Any, tools: Any) -> None:
    T = tools.T
    first = await studio.open()
    first.connected("media", AUDIO)
    first.media.audio(5, "Ana", T, tools.packet(0))
    first.ended(6, T + 100)
    await first.finish()
    studio.started_ms = T + 86_400_000  # the next day, and still the same directory
    second = await studio.open()
    assert second.directory == first.directory
    second.connected("media", AUDIO)
    second.media.audio(5, "Ana", T + 86_400_000, tools.packet(1))
    second.ended(6, T + 86_400_100)
    await second.finish()
    assert tools.manifest(second)["gaps"] == []
    assert tools.manifest(second)["started_ms"] == T
    assert verify(second.directory) == []


@pytest.mark.parametrize("name", ["audio/5.wav", "transcript.jsonl", "events.jsonl", "stream.json"])
async def test_a_file_torn_at_any_byte_is_repaired(studio: Any, tools: Any, name: str, tmp_path: Path) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO | {"transcript"})
    for number in range(3):
        recorder.media.audio(5, "Ana", tools.T + 20 * number, tools.packet(number))
        recorder.media.text(utterance(f"number {number}", tools.T + number, tools.T + number))
    await studio.writer.flush()
    size = (recorder.directory / name).stat().st_size
    for length in [*range(0, size, max(1, size // 40)), size - 1, size]:
        copy = tmp_path / f"torn-{length}" / "stream%2F1"
        shutil.copytree(recorder.directory, copy)
        with (copy / name).open("r+b") as file:
            file.truncate(length)
        repair(copy)
        assert verify(copy) == [], length
        assert repair(copy) == [], length


async def test_every_instant_of_a_full_disk(studio: Any, tools: Any, tmp_path: Path) -> None:
    """Wherever the space runs out, the files stay readable, and all is there once there is space again."""
    for number, budget in enumerate(range(0, 5000, 97)):
        studio.settings = type(studio.settings)(tmp_path / str(number))
        recorder = await studio.open()
        recorder.connected("media", AUDIO)
        recorder.media.audio(5, "Ana", tools.T, tools.packet(0))
        await studio.writer.flush()
        studio.disk.budget_bytes = budget
        recorder.media.audio(5, "Ana", tools.T + 20, tools.packet(1))
        recorder.media.text(utterance("text", tools.T, tools.T))
        await studio.writer.flush()
        assert tools.samples(recorder.directory / "audio/5.wav") in {
            tools.packet(0),
            tools.packet(0) + tools.packet(1),
        }
        assert verify(recorder.directory) == []
        studio.disk.budget_bytes = math.inf
        recorder.ended(6, tools.T + 100)
        await recorder.finish()
        assert studio.writer.error is None
        assert studio.writer.pending_bytes == 0
        assert tools.samples(recorder.directory / "audio/5.wav") == tools.packet(0) + tools.packet(1)
        assert verify(recorder.directory) == []


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOSPC])
async def test_a_disk_that_refuses_for_a_while(
    studio: Any, tools: Any, error: int, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    studio.disk.error = error
    studio.limit(10_000)
    recorder = await studio.open()
    await nursery.start(studio.writer.run)
    recorder.connected("media", AUDIO)
    sent = 0
    while not recorder.media.backlog.full:
        recorder.media.audio(5, "Ana", tools.T + 20 * sent, tools.packet(sent))
        sent += 1
    for number in range(sent, sent + 5):
        recorder.media.audio(5, "Ana", tools.T + 20 * number, tools.packet(number))
    with trio.move_on_after(5) as waited:
        await studio.writer.wait_room(recorder.media.backlog)
    assert waited.cancelled_caught
    assert studio.writer.error is not None
    assert studio.writer.last_sync_age_s >= 4
    studio.disk.error = None
    await studio.writer.wait_room(recorder.media.backlog)
    recorder.media.audio(5, "Ana", tools.T + 20 * (sent + 5), tools.packet(99))
    recorder.ended(6, None)
    await recorder.finish()
    found = tools.manifest(recorder)
    assert found["counters"]["dropped"] == 5
    assert [(gap["cause"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T) for gap in found["gaps"]] == [
        ("dropped", 20 * sent, 20 * (sent + 5))
    ]
    kept = b"".join(tools.packet(number) for number in range(sent))
    assert tools.samples(recorder.directory / "audio/5.wav") == kept + bytes(640 * 5) + tools.packet(99)
    assert verify(recorder.directory) == []
    nursery.cancel_scope.cancel()


async def test_what_is_corrupt_is_counted_and_a_gap_where_it_says_whose(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, "Ana", T, tools.packet(0))
    recorder.media.corrupt(Corrupt(kind=CorruptKind.BAD_JSON))
    recorder.media.corrupt(Corrupt(kind=CorruptKind.BAD_JSON, media=MediaType.AUDIO, user_id=5, timestamp_ms=T + 20))
    recorder.media.audio(5, "Ana", T + 40, b"odd")
    for absurd in (-1, 2**62, T * 1000 + 10**17, T + 13 * 3_600_000):
        recorder.media.audio(5, "Ana", absurd, tools.packet(7))
        recorder.media.audio(77, "Nobody", absurd - 13 * 3_600_000, tools.packet(7))
        recorder.heard(absurd)
        recorder.heard("soon", 1)
    recorder.media.audio(5, "Ana", T + 60, tools.packet(3))
    recorder.ended(6, None)
    await recorder.finish()
    found = tools.manifest(recorder)
    assert [(gap["cause"], gap["user_id"], gap["from_ms"] - T, gap["to_ms"] - T) for gap in found["gaps"]] == [
        ("corrupt", 5, 20, 60)
    ]
    assert tools.samples(recorder.directory / "audio/5.wav") == tools.packet(0) + bytes(1280) + tools.packet(3)
    assert found["ended_ms"] == T + 80
    assert verify(recorder.directory) == []


async def test_revoked_leaves_a_receipt_only(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.media.audio(5, "Ana", tools.T, tools.packet(0))
    recorder.media.text(utterance("secret", tools.T, tools.T))
    await studio.writer.flush()
    recorder.media.audio(5, "Ana", tools.T + 20, tools.packet(1))
    await recorder.delete()
    assert [path.name for path in recorder.directory.iterdir()] == ["stream.json"]
    receipt = (recorder.directory / "stream.json").read_text()
    assert "Ana" not in receipt
    assert tools.manifest(recorder)["state"] == "revoked"
    assert studio.writer.pending_bytes == 0
    assert verify(recorder.directory) == []


async def test_pictures_and_chat(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.connected("media", frozenset({"video", "share", "chat"}))
    recorder.media.video_format(PayloadType.H264)
    recorder.media.video(5, "Ana", tools.T, b"one")
    recorder.media.video(5, "Ana", tools.T, b"one")
    recorder.media.video(5, "Ana", tools.T + 40, b"three")
    recorder.media.share("channel.7", None, tools.T, b"jpg")
    recorder.media.text(
        ChatData(user_id=5, user_name="Ana", timestamp_ms=tools.T, text="\ud800 hi", details={"a": [1]})
    )
    recorder.ended(6, tools.T + 100)
    await recorder.finish()
    directory = recorder.directory
    assert (directory / "video/5.h264").read_bytes() == b"onethree"
    assert [json.loads(line) for line in (directory / "video/5.h264.jsonl").read_text().splitlines()] == [
        {"offset": 0, "length": 3, "timestamp_ms": tools.T, "key": False, "connection": 1},
        {"offset": 3, "length": 5, "timestamp_ms": tools.T + 40, "key": False, "connection": 1},
    ]
    assert (directory / "share/channel%2E7.mjpeg").read_bytes() == b"jpg"
    assert json.loads((directory / "chat.jsonl").read_text())["text"] == "\ud800 hi"
    assert verify(directory) == []
    assert repair(directory) == []


async def test_a_store_is_made_for_what_comes_and_for_what_an_earlier_process_left(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.media.audio(5, "Ana", tools.T, tools.packet(0))
    assert set(recorder.media.stores) == {"audio"}
    said = ChatData(user_id=5, user_name="Ana", timestamp_ms=tools.T, text="hi", details={})
    recorder.media.text(said)
    await recorder.suspend()
    again = await studio.open()
    assert set(again.media.stores) == {"audio", "chat"}
    again.media.text(attrs.evolve(said, text="ho"))
    again.media.text(utterance("first", tools.T, tools.T))
    await again.suspend()
    assert len((again.directory / "chat.jsonl").read_bytes().splitlines()) == 2
    assert len((again.directory / "transcript.jsonl").read_bytes().splitlines()) == 1


async def test_a_chat_message_that_comes_again_is_a_duplicate_also_after_a_restart(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    bo = {"user_id": 9, "user_name": "Bo"}
    said = ChatData(
        user_id=5,
        user_name=None,
        timestamp_ms=tools.T,
        text="hi",
        message_id="m",
        receiver=bo,
        files=({"file_id": "f"},),
    )
    recorder.media.text(said)
    recorder.media.text(said)
    recorder.media.text(attrs.evolve(said, operation="update"))
    await recorder.suspend()
    again = await studio.open()
    again.media.text(attrs.evolve(said, user_name="Ana"))  # by now the name is known
    again.media.text(attrs.evolve(said, operation="delete", user_name="Ana"))
    await again.suspend()
    lines = [json.loads(line) for line in (again.directory / "chat.jsonl").read_bytes().splitlines()]
    assert [line["operation"] for line in lines] == [None, "update", "delete"]
    assert list(lines[0]) == [
        *("user_id", "user_name", "text", "timestamp_ms", "received_ms", "operation", "message_id"),
        *("parent_message_id", "session_type", "session_id", "receiver", "files", "deleted_file_ids", "details"),
    ]
    manifest = again.manifest()
    assert manifest["counters"]["duplicates"] == 2
    assert {person["user_id"]: person["user_name"] for person in manifest["participants"]} == {5: "Ana", 9: "Bo"}


async def test_an_utterance_of_nobody_is_no_participant(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    content = {"timestamp": tools.T, "data": "Good morning"}
    decode_batch([json.dumps({"msg_type": 17, "content": content}).encode()], recorder.media, lambda _: None)
    recorder.ended(6, tools.T + 1000)
    await recorder.finish()
    assert json.loads((recorder.directory / "transcript.jsonl").read_bytes())["user_id"] is None
    assert (recorder.directory / "transcript.vtt").read_text().endswith("\nGood morning\n\n")
    assert recorder.manifest()["participants"] == []
    assert verify(recorder.directory) == []


async def test_listeners_hear_what_is_kept(studio: Any, tools: Any) -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[tuple[Any, ...]] = []

        def audio(self, *item: Any) -> None:
            self.heard.append(item)

        def ended(self) -> None:
            self.heard.append(("ended",))

    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    recorder.media.audio_format(tools.audio_format(rate_hz=8000, codec=PayloadType.G711))
    ear = Ear()
    recorder.listeners.append(ear)
    recorder.media.audio(5, "Ana", tools.T, b"\xd5" * 160)
    recorder.media.audio(5, "Ana", tools.T, b"\xd5" * 160)
    recorder.ended(6, None)
    await recorder.finish()
    assert ear.heard == [(5, "Ana", tools.T, b"\x08\x00" * 160), ("ended",)]


@pytest.mark.parametrize("more", [12, 500])  # live, and out of Zoom's buffer
async def test_a_flush_that_came_to_one_file_only_is_a_gap_of_the_other(studio: Any, tools: Any, more: int) -> None:
    first = await studio.open()
    first.connected("media", AUDIO)
    for number in range(10):
        for user_id in (5, 6):
            first.media.audio(user_id, None, tools.T + 20 * number, tools.packet(number))
    await studio.writer.flush()
    for number in range(10, more):
        first.media.audio(5, None, tools.T + 20 * number, tools.packet(number))
    await studio.writer.flush()  # killed in the middle: what user 6 said in the same time was still to be written

    second = await studio.open()
    assert [(gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"]) for gap in second.snapshot()["gaps"]] == [
        (6, 200, tools.T + 20 * more),
        (None, 20 * more, None),
    ]


async def test_processes_that_were_killed_before_they_wrote_a_manifest_hide_no_loss(studio: Any, tools: Any) -> None:
    def take(recorder: Any, numbers: range, *users: int) -> None:
        for number in numbers:
            for user_id in users:
                recorder.media.audio(user_id, None, tools.T + 20 * number, tools.packet(number))

    def gaps(recorder: Any) -> list[tuple[int | None, int, int | None]]:
        return [
            (gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"] and gap["to_ms"] - tools.T)
            for gap in recorder.snapshot()["gaps"]
        ]

    first = await studio.open()
    first.connected("media", AUDIO)
    take(first, range(10), 5, 6)
    await studio.writer.flush()

    async def killed_before_its_manifest(recorder: Any, numbers: range, *users: int) -> None:
        recorder.connected("media", AUDIO)
        take(recorder, numbers, *users)
        await studio.writer.flush()  # this brings no media yet, but that it was taken up
        manifest = recorder.directory / "stream.json"
        before = manifest.read_bytes()
        await studio.writer.flush()
        manifest.write_bytes(before)

    second = await studio.open()
    await killed_before_its_manifest(second, range(15, 26), 5)  # and before what user 6 said was written
    third = await studio.open()
    assert gaps(third) == [(None, 200, 300), (6, 300, 520), (None, 520, None)]
    await killed_before_its_manifest(third, range(30, 40), 5, 6)
    fourth = await studio.open()
    assert gaps(fourth) == [(None, 200, 300), (6, 300, 520), (None, 520, 600), (None, 800, None)]
    fourth.connected("media", AUDIO)
    take(fourth, range(10, 15), 5)  # out of Zoom's buffer; the other one was silent
    assert gaps(fourth)[:2] == [(6, 300, 520), (None, 520, 600)]


async def test_a_lost_packet_is_not_explained_by_that_of_another_participant(studio: Any, tools: Any) -> None:
    recorder, T = await studio.open(), tools.T
    number = recorder.connected("media", AUDIO)
    for user_id in (5, 6, 7):
        recorder.media.audio(user_id, None, T, tools.packet(1, ms=100))
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    recorder.media.audio(
        6, None, T + 100, tools.packet(2, ms=100)
    )  # those of 5 and 7 went into the old connection, and were lost
    for user_id in (7, 5, 6):
        recorder.media.audio(user_id, None, T + 200, tools.packet(3, ms=100))
    recorder.heard(T + 300)
    recorder.media.audio(7, None, T + 100, tools.packet(2, ms=100))  # or not
    (gap,) = recorder.snapshot()["gaps"]
    assert (gap["user_id"], gap["from_ms"] - T, gap["to_ms"] - T, gap["cause"]) == (5, 100, 200, "media_reconnect")


@pytest.mark.parametrize(("live_s", "missing"), [(1.8, (4_000, 75_000)), (62, (73_000, 75_000))])
async def test_live_video_does_not_hide_that_audio_was_still_coming_out_of_the_buffer(
    studio: Any, tools: Any, live_s: float, missing: tuple[int, int]
) -> None:
    """A connection of a minute has emptied the buffer: then it is people who say nothing."""
    T = tools.T
    both = frozenset({"audio", "video"})
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    number = recorder.connected("media", both)
    recorder.media.audio_format(tools.audio_format())
    for packet in range(50):
        recorder.media.audio(7, None, T + 20 * packet, tools.packet(packet))
    recorder.lost(number, "media_reconnect", "cut")
    number = recorder.connected("media", both)
    recorder.heard(T + 11_000)
    for packet in range(50, 200):
        recorder.media.audio(7, None, T + 20 * packet, tools.packet(packet))
    for at_ms in range(11_200, 11_001 + int(live_s * 1000), 200):
        recorder.media.video(7, None, T + at_ms, b"%d" % at_ms)
    recorder.lost(number, "media_reconnect", "cut again")
    recorder.connected("media", both)
    recorder.heard(T + 75_000)
    recorder.ended(6, T + 75_000)
    await recorder.finish()
    gaps = [
        (gap["from_ms"] - T, gap["to_ms"] - T) for gap in tools.manifest(recorder)["gaps"] if gap["media"] == "audio"
    ]
    assert gaps == ([missing] if live_s < 60 else [(4_000, 11_000), missing])
    assert verify(recorder.directory) == []


async def test_audio_from_before_the_streams_midnight_keeps_its_time_over_a_restart(studio: Any, tools: Any) -> None:
    """The header counts from that midnight, and has no time before it."""
    midnight_ms = tools.T - tools.T % 86_400_000 + 86_400_000
    studio.started_ms = midnight_ms + 50
    for packets in (range(50), range(50, 100)):
        recorder = await studio.open()
        recorder.connected("signaling", frozenset())
        recorder.connected("media", AUDIO)
        recorder.media.audio_format(tools.audio_format())
        for packet in packets:
            recorder.media.audio(7, None, midnight_ms - 500 + 20 * packet, tools.packet(packet))
        await recorder.suspend()
    found = tools.manifest(recorder)
    audio = [each for each in found["files"] if each["media"] == "audio"]
    assert [(each["start_ms"], each["duration_ms"]) for each in audio] == [(midnight_ms - 500, 2000)]
    assert tools.samples(recorder.directory / "audio/7.wav") == b"".join(tools.packet(packet) for packet in range(100))
    assert found["counters"]["duplicates"] == 0
    assert verify(recorder.directory) == []


@pytest.mark.parametrize(
    ("media", "fps"), [("video", 25), ("video", 5), ("share", 1), ("share", None), ("video", None)]
)
@pytest.mark.parametrize("word", ["none", "before", "behind"])
async def test_pictures_after_a_reconnection_leave_one_gap(
    studio: Any, tools: Any, media: str, fps: int | None, word: str
) -> None:
    """Zoom's next word on signaling may take ten seconds: until then, too, frames are no packets with holes between."""
    T = tools.T
    rate = fps or (5 if media == "video" else 1)
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    (recorder.media.video_format if media == "video" else recorder.media.share_format)(PayloadType.JPG, fps)
    number = recorder.connected("media", frozenset({media}))
    take = recorder.media.video if media == "video" else recorder.media.share
    for frame in range(3 * rate):
        take(5, "Ana", T + frame * 1000 // rate, b"%d" % frame)
    last_ms = (3 * rate - 1) * 1000 // rate
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", frozenset({media}))
    if word == "before":
        recorder.heard(T + 7990)
    for frame in range(4 * rate):
        take(5, "Ana", T + 8000 + frame * 1000 // rate, b"again %d" % frame)
    if word == "behind":
        recorder.heard(T + 11_000)
    recorder.ended(6, T + 12_000)
    await recorder.finish()
    listed = [(gap["from_ms"] - T, gap["to_ms"] - T) for gap in tools.manifest(recorder)["gaps"]]
    assert listed == [(last_ms, 8000)]
    assert verify(recorder.directory) == []
