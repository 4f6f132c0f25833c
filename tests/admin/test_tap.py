"""Taps: what is asked for, whose voice that is, what is sent, and what a slow reader loses."""

import base64
import io
import json
import re
import wave
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.admin.messages import AdminError, Code
from rtmsd.admin.tap import TapFormat, TapRequest, check_expected, choose_voice, events_reply, tap_reply
from rtmsd.http.messages import Source
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_data import ChatData, TranscriptData
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.pages import read_pages
from rtmsd.sinks.hub import LiveHub
from rtmsd.sinks.taps import LOST_TRAILER, RING_BYTES, wav_head

if TYPE_CHECKING:
    from rtmsd.sinks.base import LiveSink

SEPARATE = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=False, send_rate_ms=100)
MIXED = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=True, send_rate_ms=100)
ANA, BEN = 16778240, 16778241
STREAM_ID = "stream-1"


class FakeRecorder:
    """A recorder's face towards taps."""

    def __init__(self, form: AudioFormat | None = SEPARATE, **manifest: Any) -> None:
        self.listeners: list[LiveSink] = []
        self.pcm = form
        self.manifest = {"participants": [person(ANA)], "files": [], **manifest}

    def snapshot(self) -> dict[str, Any]:
        return self.manifest


def person(user_id: int | str, left_ms: int | None = None) -> dict[str, Any]:
    return {"user_id": user_id, "user_name": None, "joined_ms": 1, "left_ms": left_ms}


def track(user_id: int | str) -> dict[str, Any]:
    return {"media": "audio", "user_id": user_id}


def said(user_id: int, text: str) -> TranscriptData:
    return TranscriptData(
        user_id=user_id,
        user_name="Ana",
        text=text,
        timestamp_ms=5,
        start_ms=1,
        end_ms=2,
        language=9,
        attribute=None,
    )


def wrote(user_id: int, text: str, **details: Any) -> ChatData:
    return ChatData(user_id=user_id, user_name="Ana", timestamp_ms=6, text=text, details=details)


async def lines(source: Source) -> list[dict[str, Any]]:
    data = await source.chunk()
    assert data is not None
    return [json.loads(line) for line in data.splitlines()]


def ndjson(recorder: FakeRecorder, hub: LiveHub, **query: str) -> Any:
    return tap_reply(TapRequest.parse(query), STREAM_ID, recorder, hub).open()


# The request


def test_defaults_fit_the_format() -> None:
    assert TapRequest.parse({}).media == {"audio", "transcript", "events"}
    assert TapRequest.parse({"format": "wav"}) == TapRequest(
        media=frozenset({"audio"}), format=TapFormat.WAV, user_id=None
    )


@pytest.mark.parametrize(
    "query",
    [
        {"format": "mp3"},
        {"media": "audio,smell"},
        {"media": ""},
        {"media": "audio,transcript", "format": "wav"},
        {"media": "events", "format": "raw"},
    ],
)
def test_what_cannot_be_sent_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(AdminError) as caught:
        TapRequest.parse(query)
    assert caught.value.code is Code.BAD_REQUEST


# Whose voice


@pytest.mark.parametrize(
    ("form", "people", "heard", "wanted", "chosen"),
    [
        (SEPARATE, [ANA], [], None, str(ANA)),
        (SEPARATE, [ANA, BEN], [BEN], None, str(BEN)),
        (SEPARATE, [ANA, BEN], [ANA, BEN], str(BEN), str(BEN)),
        (SEPARATE, ["chan-7"], ["chan-7"], "chan-7", "chan-7"),
        (MIXED, [], [], None, "0"),
        (MIXED, [ANA, BEN], [0], None, "0"),
        (MIXED, [ANA, BEN], [], "0", "0"),
        (SEPARATE, [ANA], [ANA, 0], str(ANA), str(ANA)),
    ],
)
def test_a_clear_choice(
    form: AudioFormat, people: list[Any], heard: list[Any], wanted: str | None, chosen: str
) -> None:
    manifest = {"participants": [person(one) for one in people], "files": [track(one) for one in heard]}
    assert choose_voice(manifest, form, wanted) == chosen


def test_the_only_one_still_there_is_a_clear_choice() -> None:
    manifest = {"participants": [person(ANA, left_ms=9), person(BEN)], "files": [track(ANA), track(BEN)]}
    assert choose_voice(manifest, SEPARATE, None) == str(BEN)


@pytest.mark.parametrize(
    ("people", "wanted", "code"),
    [
        ([ANA, BEN], None, Code.REFUSED_IN_STATE),
        ([], None, Code.REFUSED_IN_STATE),
        ([ANA], "7", Code.NO_SUCH_PARTICIPANT),
        ([ANA], "0", Code.NO_SUCH_PARTICIPANT),
    ],
)
def test_an_unclear_choice_is_refused(people: list[int], wanted: str | None, code: Code) -> None:
    with pytest.raises(AdminError) as caught:
        choose_voice({"participants": [person(one) for one in people], "files": []}, SEPARATE, wanted)
    assert caught.value.code is code
    if wanted is None:  # how to say whom, for who asks by rtmsctl and for who asks by HTTP
        assert {"--user-id", "user_id="} <= set(re.findall(r"--user-id|user_id=", caught.value.detail))


def test_no_audio_format_yet_is_refused() -> None:
    with pytest.raises(AdminError) as caught:
        tap_reply(TapRequest.parse({"format": "wav"}), STREAM_ID, FakeRecorder(None), LiveHub())
    assert caught.value.code is Code.REFUSED_IN_STATE


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"media": "video"}, "video is not received in this stream"),
        ({"media": "audio,video"}, "video is not received in this stream"),
        ({"media": "chat,events"}, "Zoom refuses chat: status 13"),
        ({"media": "audio"}, ""),
        ({"media": "events"}, ""),
        ({}, ""),
        ({"format": "wav"}, ""),
    ],
)
def test_media_that_will_never_come_are_refused_at_once(query: dict[str, str], words: str) -> None:
    links: list[dict[str, Any]] = [
        {"media": ["audio"], "state": "streaming", "why": None},
        {"media": ["chat"], "state": "refused", "why": "status 13"},
    ]
    wanted = TapRequest.parse(query)
    if not words:
        check_expected(wanted, links, named="media" in query)
        return
    with pytest.raises(AdminError, match=re.escape(words)) as caught:
        check_expected(wanted, links, named="media" in query)
    assert caught.value.code is Code.REFUSED_IN_STATE
    assert "Received is audio" in caught.value.detail


def test_who_is_not_there_is_refused_in_ndjson_too_and_those_who_are_have_names() -> None:
    recorder = FakeRecorder(participants=[{**person(ANA), "user_name": "Ana"}, person(BEN)])
    with pytest.raises(AdminError) as caught:
        tap_reply(TapRequest.parse({"user_id": "7"}), STREAM_ID, recorder, LiveHub())
    assert caught.value.code is Code.NO_SUCH_PARTICIPANT
    assert caught.value.more == {"participants": [str(ANA), str(BEN)], "names": {str(ANA): "Ana"}}


# WAV and raw


@given(rate_hz=st.sampled_from([8000, 16000, 32000, 48000]), channels=st.integers(1, 2), data=st.binary(max_size=64))
def test_the_head_is_one_that_a_wav_reader_understands(rate_hz: int, channels: int, data: bytes) -> None:
    with wave.open(io.BytesIO(wav_head(rate_hz, channels) + data)) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (rate_hz, channels, 2)
        whole = len(data) - len(data) % (2 * channels)
        assert reader.readframes(len(data) // (2 * channels)) == data[:whole]


async def test_wav_sends_its_head_at_once_and_then_one_voice_until_the_end() -> None:
    recorder = FakeRecorder()
    reply = tap_reply(TapRequest.parse({"format": "wav"}), STREAM_ID, recorder, LiveHub())
    with reply.open() as source:
        assert await source.chunk() == wav_head(16000, 1)
        [listener] = recorder.listeners
        listener.audio(ANA, "Ana", 1, b"aa")
        listener.audio(BEN, "Ben", 1, b"bb")
        listener.text(said(ANA, "hello"))
        listener.audio(ANA, "Ana", 2, b"cc")
        assert await source.chunk() == b"aacc"
        listener.audio(ANA, "Ana", 3, b"dd")
        listener.ended()
        assert await source.chunk() == b"dd"
        assert await source.chunk() is None
        assert source.trailers() == {LOST_TRAILER: "0"}
    assert recorder.listeners == []


async def test_a_new_sample_format_ends_the_sound_and_a_new_send_rate_does_not() -> None:
    recorder = FakeRecorder()
    with tap_reply(TapRequest.parse({"format": "raw"}), STREAM_ID, recorder, LiveHub()).open() as source:
        [listener] = recorder.listeners
        recorder.pcm = AudioFormat(codec=PayloadType.G722, rate_hz=16000, channels=1, mixed=False, send_rate_ms=20)
        listener.audio(ANA, None, 1, b"aa")
        recorder.pcm = AudioFormat(codec=PayloadType.L16, rate_hz=8000, channels=1, mixed=False, send_rate_ms=20)
        listener.audio(ANA, None, 2, b"bb")
        assert await source.chunk() == b"aa"
        assert await source.chunk() is None


async def test_a_slow_listener_loses_the_oldest_sound_and_is_counted_in_the_trailer() -> None:
    recorder = FakeRecorder()
    second = b"s" * 32000
    with tap_reply(TapRequest.parse({"format": "raw"}), STREAM_ID, recorder, LiveHub()).open() as source:
        [listener] = recorder.listeners
        for timestamp_ms in range(100):
            listener.audio(ANA, None, timestamp_ms, second)
        listener.ended()
        heard = await source.chunk()
        assert heard is not None
        assert len(heard) <= RING_BYTES
        kept = len(heard) // len(second)
        assert kept > 20
        assert source.trailers() == {LOST_TRAILER: str(100 - kept)}


# Opus

STEREO_OPUS = AudioFormat(codec=PayloadType.OPUS, rate_hz=48000, channels=2, mixed=False, send_rate_ms=20)


async def test_opus_is_an_ogg_stream_of_one_voice() -> None:
    people = [{**person(ANA), "user_name": "Ana"}, person(BEN)]
    recorder = FakeRecorder(STEREO_OPUS, participants=people, started_ms=1000, clock_ms=5000)
    wanted = TapRequest.parse({"format": "opus", "user_id": str(ANA)})
    reply = tap_reply(wanted, STREAM_ID, recorder, LiveHub())
    assert reply.content_type == "audio/ogg"
    with reply.open() as source:
        sent = [await source.chunk() or b""]
        [listener] = recorder.listeners
        for number in range(600):
            listener.audio(ANA, "Ana", 20 * number, b"\xfc" + number.to_bytes(2, "big"))
            listener.audio(BEN, "Ben", 20 * number, b"\xfcno")
            if number in {100, 599}:
                sent.append(await source.chunk() or b"")
        recorder.pcm = SEPARATE
        listener.audio(ANA, "Ana", 12000, b"L16")
        assert await source.chunk() is None
    pages = list(read_pages(b"".join(sent)))
    header = OggHeader.decode(sent[0])
    assert (header.pcm.channels, header.start_ms, header.owner, header.user_name) == (2, 5000, ANA, "Ana")
    assert [page.sequence for page in pages] == list(range(len(pages)))
    assert [each for page in pages[2:] for each in page.packets] == [
        b"\xfc" + each.to_bytes(2, "big") for each in range(600)
    ]
    assert (pages[2].granule, pages[-1].granule) == (101 * 960, 600 * 960)


@pytest.mark.parametrize(
    ("form", "asked", "hint"),
    [
        (STEREO_OPUS, "wav", "opus or ndjson"),
        (STEREO_OPUS, "raw", "opus or ndjson"),
        (SEPARATE, "opus", "wav, raw or ndjson"),
    ],
)
def test_sound_in_another_codec_is_refused_with_a_hint(form: AudioFormat, asked: str, hint: str) -> None:
    with pytest.raises(AdminError) as caught:
        tap_reply(TapRequest.parse({"format": asked}), STREAM_ID, FakeRecorder(form), LiveHub())
    assert (caught.value.code, caught.value.reply().status) == (Code.REFUSED_IN_STATE, 409)
    assert hint in caught.value.detail


async def test_ndjson_names_the_codec_of_each_packet() -> None:
    recorder = FakeRecorder(STEREO_OPUS)
    with ndjson(recorder, LiveHub(), media="audio,video") as source:
        [listener] = recorder.listeners
        listener.audio(ANA, "Ana", 1, b"\xfcabc")
        recorder.pcm = AudioFormat(codec=PayloadType.G722, rate_hz=16000, channels=1, mixed=False, send_rate_ms=20)
        listener.audio(ANA, "Ana", 2, b"decoded!")
        listener.video(ANA, "Ana", 3, b"v")
        assert [line.get("codec") for line in await lines(source)] == ["OPUS", "L16", None]


# NDJSON


async def test_every_kind_has_its_line_in_order() -> None:
    recorder, hub = FakeRecorder(), LiveHub()
    with ndjson(recorder, hub, media="audio,video,share,transcript,chat,events") as source:
        [listener] = recorder.listeners
        listener.audio(ANA, "Ana", 1, b"\x00\xff")
        listener.video(ANA, "Ana", 2, b"v")
        listener.share(ANA, "Ana", 3, b"s")
        listener.text(said(ANA, "hello"))
        listener.text(wrote(ANA, "hi", op=1))
        hub.publish({"rtms_stream_id": "another stream", "kind": "participant_join"})
        hub.publish({"rtms_stream_id": STREAM_ID, "kind": "participant_leave", "at_ms": 7})
        audio, video, share, transcript, chat, event = await lines(source)
    assert audio == {
        "media": "audio",
        "user_id": ANA,
        "user_name": "Ana",
        "codec": "L16",
        "timestamp_ms": 1,
        "data": base64.b64encode(b"\x00\xff").decode(),
    }
    assert (video["media"], share["media"]) == ("video", "share")
    assert (transcript["media"], transcript["text"], transcript["timestamp_ms"]) == ("transcript", "hello", 5)
    assert (chat["media"], chat["details"], chat["operation"], chat["files"]) == ("chat", {"op": 1}, None, [])
    assert (transcript["language_tag"], transcript["details"]) == ("en", None)
    assert event == {"media": "events", "rtms_stream_id": STREAM_ID, "kind": "participant_leave", "at_ms": 7}


@given(
    user_id=st.integers(-(2**63), 2**63) | st.text(),
    user_name=st.none() | st.text(st.characters(exclude_categories=()), max_size=20),
    timestamp_ms=st.integers(-(2**63), 2**63),
    data=st.binary(max_size=64),
)
async def test_a_packet_s_line_is_json_whatever_the_names(
    user_id: int | str, user_name: str | None, timestamp_ms: int, data: bytes
) -> None:
    recorder = FakeRecorder()
    with ndjson(recorder, LiveHub()) as source:
        recorder.listeners[0].audio(user_id, user_name, timestamp_ms, data)
        [line] = await lines(source)
    assert line == {
        "media": "audio",
        "user_id": user_id,
        "user_name": user_name,
        "codec": "L16",
        "timestamp_ms": timestamp_ms,
        "data": base64.b64encode(data).decode(),
    }


async def test_an_event_about_media_is_still_distinguished_from_media() -> None:
    recorder, hub = FakeRecorder(), LiveHub()
    with ndjson(recorder, hub, media="events") as source:
        hub.publish({"rtms_stream_id": STREAM_ID, "kind": "connection", "media": ["audio"], "change": "opened"})
        [event] = await lines(source)
    assert (event["media"], event["kind"], event["event_media"]) == ("events", "connection", ["audio"])


async def test_only_what_was_asked_for_is_sent() -> None:
    recorder, hub = FakeRecorder(participants=[person(ANA), person(BEN)]), LiveHub()
    with ndjson(recorder, hub, media="transcript,chat", user_id=str(BEN)) as source:
        [listener] = recorder.listeners
        hub.publish({"rtms_stream_id": STREAM_ID, "kind": "participant_join"})
        listener.audio(BEN, "Ben", 1, b"")
        listener.text(said(ANA, "no"))
        listener.text(said(BEN, "yes"))
        listener.text(wrote(ANA, "no"))
        assert [line["text"] for line in await lines(source)] == ["yes"]
    assert recorder.listeners == []
    hub.publish({"rtms_stream_id": STREAM_ID, "kind": "participant_join"})


async def test_a_slow_reader_of_ndjson_gets_first_how_many_it_lost() -> None:
    recorder = FakeRecorder()
    with ndjson(recorder, LiveHub()) as source:
        [listener] = recorder.listeners
        for timestamp_ms in range(50):
            listener.audio(ANA, None, timestamp_ms, b"x" * 50_000)
        first, *others = await lines(source)
        assert first == {"media": "lost", "frames": 50 - len(others)}
        assert [line["timestamp_ms"] for line in others] == list(range(50 - len(others), 50))
        listener.text(said(ANA, "after"))
        assert [line["media"] for line in await lines(source)] == ["transcript"]
        listener.ended()
        assert await source.chunk() is None


async def test_two_readers_do_not_know_of_each_other() -> None:
    recorder = FakeRecorder()
    with ndjson(recorder, LiveHub()) as slow, ndjson(recorder, LiveHub()) as fast:
        for timestamp_ms in range(50):
            for listener in recorder.listeners:
                listener.audio(ANA, None, timestamp_ms, b"x" * 50_000)
            assert [line["timestamp_ms"] for line in await lines(fast)] == [timestamp_ms]
        assert (await lines(slow))[0]["media"] == "lost"


async def test_what_json_and_utf8_cannot_say_does_not_end_a_tap() -> None:
    recorder = FakeRecorder()
    with ndjson(recorder, LiveHub(), media="chat") as source:
        recorder.listeners[0].text(wrote(ANA, "lone \ud800 surrogate", size=float("nan"), list=[float("inf")]))
        [line] = await lines(source)
    assert line["text"] == "lone \ud800 surrogate"
    assert line["details"] == {"size": None, "list": [None]}


# All events


async def test_followers_of_events_get_every_stream_s_and_the_count_of_what_they_lost() -> None:
    hub = LiveHub()
    with events_reply(hub).open() as source:
        hub.publish({"rtms_stream_id": "a", "kind": "stream_state", "at_ms": 1})
        hub.publish({"rtms_stream_id": "b", "kind": "participant_join", "at_ms": 2})
        assert await lines(source) == [
            {"rtms_stream_id": "a", "kind": "stream_state", "at_ms": 1},
            {"rtms_stream_id": "b", "kind": "participant_join", "at_ms": 2},
        ]
        hub.publish({"rtms_stream_id": "a", "kind": "x", "big": "x" * (RING_BYTES - 100)})
        hub.publish({"rtms_stream_id": "a", "kind": "y", "big": "y" * 200})
        lost, kept = await lines(source)
        assert (lost, kept["kind"]) == ({"kind": "lost", "events": 1}, "y")


async def test_an_event_reaches_a_waiting_follower() -> None:
    hub = LiveHub()
    with events_reply(hub).open() as source:
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                assert [line["kind"] for line in await lines(source)] == ["webhook"]

            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            hub.publish({"rtms_stream_id": "a", "kind": "webhook"})
