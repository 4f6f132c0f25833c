"""The scenarios of media against the whole daemon: what it stored is read by others, compared with what was sent."""

import base64
import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import av
import numpy as np
import pytest
import trio
from PIL import Image

from rtmsd.config import AudioConfig, MediaConfig, ShareConfig, VideoConfig
from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.daemon.backend import Backend
from rtmsd.protocol.enums import MediaType
from rtmsd.simulator import ARRIVED, Fate, SimSession, Simulator, Tone, built_in, play
from rtmsd.simulator.media.frames import read_counter
from rtmsd.simulator.media.opus import opus_mark
from rtmsd.simulator.model.answers import Answers, AudioAnswer
from rtmsd.simulator.model.audio_log import AudioPacket
from rtmsd.simulator.model.record import SentItem
from tests.daemon.whole import (
    LIMIT_S,
    assert_all_of_it_once,
    assert_well_behaved,
    directory_of,
    lines,
    pcm,
    until_ended,
    zoom_and_daemon,
)

FIVE: Final = ("audio", "video", "share", "transcript", "chat")
ANA, BO, CLEO = 16778240, 33555456, 50332672


async def played(
    sim: Simulator, backend: Backend, name: str, **changes: Any
) -> tuple[SimSession, dict[str, Any], Path]:
    """Play a scenario, each step once all that it sends is connected, by the rules of the protocol; return the
    session, manifest and directory.
    """
    scenario = attrs.evolve(built_in()[name], **changes)

    async def connected(session: SimSession, _step: object) -> None:
        with trio.fail_after(LIMIT_S):
            for media in MediaType:
                if media & (scenario.media or MediaType.AUDIO):
                    await session.wait_reconnected(media)
        await sim.clock.sleep(2)  # that of each step something is sent, also where a busy machine connected late

    session = await play(sim, scenario, connected)
    manifest = await until_ended(backend, session.rtms_stream_id)
    assert_well_behaved(session.record)
    return session, manifest, directory_of(backend, session.rtms_stream_id)


def stored_pictures(manifest: dict[str, Any], directory: Path, media: str) -> dict[int, list[tuple[int, bytes]]]:
    """The messages of each person's files, (time, data), cut by the index, which has to cover the file."""
    found: dict[int, list[tuple[int, bytes]]] = {}
    for entry in manifest["files"]:
        if entry["media"] == media:
            film, index = (directory / entry["path"]).read_bytes(), lines(directory / entry["index"])
            assert sum(line["length"] for line in index) == len(film)
            found.setdefault(entry["user_id"], []).extend(
                (line["timestamp_ms"], film[line["offset"] : line["offset"] + line["length"]]) for line in index
            )
    return found


def assert_pictures(log: Sequence[SentItem], stored: dict[int, list[tuple[int, bytes]]]) -> dict[int, list[int]]:
    """Assert that each picture that arrived is stored, once, in order and as it was; return the counters by person."""
    counters = {}
    for user_id in {item.content["user_id"] for item in log if item.fate in ARRIVED} | stored.keys():
        mine = [item for item in log if item.content["user_id"] == user_id]
        by_time = {item.timestamp_ms: item for item in mine if item.fate in ARRIVED | {Fate.IN_FLIGHT}}
        times = [time_ms for time_ms, _ in stored[user_id]]
        assert {item.timestamp_ms for item in mine if item.fate in ARRIVED} <= set(times)
        assert times == sorted(set(times))
        assert all(base64.b64decode(by_time[time_ms].content["data"]) == data for time_ms, data in stored[user_id])
        counters[user_id] = [by_time[time_ms].counter or 0 for time_ms in times]
    return counters


def film_counters(film: bytes) -> list[int]:
    """The numbers that an H.264 file shows, decoded by PyAV as a player would."""
    with av.open(io.BytesIO(film), mode="r", format="h264") as container:
        frames = list(container.decode(video=0))
    return [
        read_counter(frame.to_ndarray(format="gray").tobytes(), frame.width, frame.height)
        for frame in frames
        if isinstance(frame, av.VideoFrame)
    ]


def image_counter(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return read_counter(image.convert("L").tobytes(), *image.size)


def assert_films(log: Sequence[SentItem], directory: Path, media: str, form: str) -> None:
    """Assert that films of a medium show each stored picture once: the number that was sent, at its time to the ms."""
    assert main(["recordings", "remux", str(directory), "--format", form, "--force"]) == Exit.OK
    sent = {(item.content["user_id"], item.timestamp_ms): item.counter for item in log}
    for index in (directory / media).glob("*.jsonl"):
        user_id = int(index.name.partition(".")[0])
        films = (directory / "export").glob(f"{media}-{user_id}-*.{form}")
        seen = [each for film in sorted(films, key=lambda film: int(film.stem.split("-")[2])) for each in shown(film)]
        stored_ms = [line["timestamp_ms"] for line in lines(index)]
        assert seen == [(time_ms, sent[user_id, time_ms]) for time_ms in stored_ms]


def shown(film: Path) -> list[tuple[int, int]]:
    """The time since the epoch and the number of each frame of a film."""
    with av.open(str(film)) as container:
        [start_ms] = [int(value) for key, value in container.metadata.items() if key.upper() == "RTMS_START_MS"]
        [stream] = container.streams.video
        assert stream.time_base is not None
        return [
            (
                start_ms + round(frame.pts * stream.time_base * 1000),
                read_counter(frame.to_ndarray(format="gray").tobytes(), frame.width, frame.height),
            )
            for frame in container.decode(stream)
            if frame.pts is not None
        ]


def assert_images(log: Sequence[SentItem], directory: Path, media: str) -> None:
    """Assert that each stored image is exported to a file of its own: the number that was sent, in its order."""
    assert main(["recordings", "export", str(directory), "--format", "images", "--force"]) == Exit.OK
    sent = {(item.content["user_id"], item.timestamp_ms): item.counter for item in log}
    for index in (directory / media).glob("*.jsonl"):
        user_id = int(index.name.partition(".")[0])
        images = sorted((directory / f"export/images/{media}-{user_id}").iterdir())
        stored_ms = [line["timestamp_ms"] for line in lines(index)]
        assert [image.stem for image in images] == [f"{number:06}-{ms}" for number, ms in enumerate(stored_ms, 1)]
        assert [image_counter(image.read_bytes()) for image in images] == [sent[user_id, ms] for ms in stored_ms]


def causes(manifest: dict[str, Any], media: str) -> set[str]:
    return {gap["cause"] for gap in manifest["gaps"] if gap["media"] == media}


def event_numbers(directory: Path) -> list[str]:
    return [line["kind"] for line in lines(directory / "events.jsonl")]


@pytest.mark.parametrize("connections", ["split", "unified"])
async def test_meeting(connections: Any, tmp_path: Path) -> None:
    share = ShareConfig(codec="PNG", resolution="SD")
    media = MediaConfig(types=FIVE, connections=connections, share=share)
    async with zoom_and_daemon(tmp_path, media=media) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "meeting")
        record = session.record
        assert_all_of_it_once(record, directory)
        for name, log in (("video", record.video), ("share", record.share)):
            stored = stored_pictures(manifest, directory, name)
            counters = assert_pictures(log, stored)
            for user_id, messages in stored.items():
                assert [image_counter(data) for _, data in messages[::3]] == counters[user_id][::3]
        assert_films(record.video, directory, "video", "mkv")
        assert_images(record.share, directory, "share")
        assert {item.content["user_id"] for item in record.video} == {ANA, BO, CLEO}
        assert {item.content["user_id"] for item in record.share} == {ANA}
        assert [line["text"] for line in lines(directory / "chat.jsonl")] == ["Here are the figures."]
        kinds = event_numbers(directory)
        wanted = {"sharing_start", "sharing_stop", "participant_video_on", "participant_video_off"}
        assert wanted | {"active_speaker_change"} <= set(kinds)


async def test_video(tmp_path: Path) -> None:
    media = MediaConfig(types=("audio", "video"), video=VideoConfig(codec="H264", resolution="SD", fps=10))
    async with zoom_and_daemon(tmp_path, media=media) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "video")
        record = session.record
        assert_all_of_it_once(record, directory)
        stored = stored_pictures(manifest, directory, "video")
        counters = assert_pictures(record.video, stored)
        assert set(stored) == {ANA, BO}
        for user_id, messages in stored.items():
            assert film_counters(b"".join(data for _, data in messages)) == counters[user_id]
        for form in ("mkv", "mp4"):
            assert_films(record.video, directory, "video", form)
        assert len({item.connection for item in record.video}) == 3  # it was lost alone, and with signaling
        assert causes(manifest, "video") <= {"media_reconnect", "signaling_reconnect"}


async def test_share(tmp_path: Path) -> None:
    media = MediaConfig(types=("audio", "share"), share=ShareConfig(codec="JPG", resolution="FHD", fps=2))
    async with zoom_and_daemon(tmp_path, media=media) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "share")
        record = session.record
        assert_all_of_it_once(record, directory)
        stored = stored_pictures(manifest, directory, "share")
        counters = assert_pictures(record.share, stored)
        assert set(stored) == {ANA, BO}
        for user_id, messages in stored.items():
            assert [image_counter(data) for _, data in messages[::4]] == counters[user_id][::4]
        assert_films(record.share, directory, "share", "mp4")
        kinds = event_numbers(directory)
        assert (kinds.count("sharing_start"), kinds.count("sharing_stop")) == (3, 2)


async def test_everything(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path, media=MediaConfig(types=FIVE)) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "everything")
        record = session.record
        assert_all_of_it_once(record, directory)
        for name, log in (("video", record.video), ("share", record.share)):
            stored = stored_pictures(manifest, directory, name)
            counters = assert_pictures(log, stored)
            for user_id, messages in stored.items():
                assert [image_counter(data) for _, data in messages[::9]] == counters[user_id][::9]
            assert_films(log, directory, name, "mkv")
        assert [line["text"] for line in lines(directory / "chat.jsonl")] == ["Can everybody see it?", "Back again."]
        assert len(manifest["pauses"]) == 1
        assert {"media_reconnect", "signaling_reconnect"} <= {gap["cause"] for gap in manifest["gaps"]}
        assert {person["user_name"] for person in manifest["participants"]} == {"Ana", "Bo", "Cleo"}


def rate_hz(path: Path) -> int:
    with wave.open(str(path)) as file:
        found: int = file.getframerate()
        return found


def decoded(packets: Sequence[AudioPacket], codec: str, rate_hz: int) -> "np.ndarray[Any, Any]":
    """Packets that follow each other, decoded by PyAV."""
    decoder: Any = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = rate_hz, "mono"
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet.data))]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


@pytest.mark.parametrize("asked", [AudioConfig(), AudioConfig(codec="G722", content="rtp", send_rate_ms=20)])
async def test_rtp(asked: AudioConfig, tmp_path: Path) -> None:
    """Whatever is asked for, what is granted is stored."""
    media = MediaConfig(types=("audio",), audio=asked)
    async with zoom_and_daemon(tmp_path, simulator={"tone": Tone.SPEECH}, media=media) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "rtp")
        record = session.record
        assert manifest["media"]["audio"]["granted"]["content_type"] == "RTP"
        assert record.rtp_skipped == {ANA: 7, BO: 400}
        counters = manifest["counters"]
        # A daemon that a busy machine keeps waiting is late after the cut: what the buffer has dropped by then is lost.
        late = {user_id: len(record.audio[user_id]) - len(record.audio[user_id].arrived()) for user_id in (ANA, BO)}
        assert (counters["rtp_lost"], counters["corrupt"], counters["duplicates"]) == (407 + sum(late.values()), 0, 0)
        for user_id in (user_id for user_id in late if not late[user_id]):
            files = [directory / entry["path"] for entry in manifest["files"] if entry["user_id"] == user_id]
            assert [rate_hz(path) for path in files] == [8000, 16000]
            packets = record.audio[user_id].arrived()
            first = [packet for packet in packets if packet.connection == packets[0].connection]
            samples = np.frombuffer(pcm(files[0]), "<i2")
            assert np.array_equal(samples, decoded(first, "pcm_alaw", 8000))
            samples = np.frombuffer(pcm(files[1]), "<i2").astype(float)
            told = decoded(packets[len(first) :], "g722", 16000).astype(float)
            assert len(samples) == len(told)
            assert np.corrcoef(samples, told)[0, 1] > 0.99


def opus_packets_in(path: Path) -> list[bytes]:
    """The packets of an Ogg file, cut by PyAV."""
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name in {"opus", "libopus"}
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("content", ["raw", "rtp"])
async def test_opus(content: Any, channels: Any, tmp_path: Path) -> None:
    """Granted where L16 was asked for, each packet is stored as it was sent, at its time."""
    answers = Answers(audio=AudioAnswer(codec="OPUS", content=content, channels=channels))
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session, manifest, directory = await played(sim, backend, "opus", answers=answers)
        record = session.record
        counters = manifest["counters"]
        assert (counters.get("rtp_lost"), counters["corrupt"]) == (0 if content == "rtp" else None, 0)
        for user_id in (ANA, BO):
            [entry] = [entry for entry in manifest["files"] if entry["user_id"] == user_id]
            assert (entry["codec"], entry["channels"]) == ("OPUS", channels)
            packets = opus_packets_in(directory / entry["path"])
            stored = [(20 * place, packet) for place, packet in enumerate(packets) if opus_mark(packet)]
            sent = [
                (packet.timestamp_ms - entry["start_ms"], packet.data) for packet in record.audio[user_id].arrived()
            ]
            assert stored == sent
            silence = {packet for packet in packets if not opus_mark(packet)}
            assert silence == ({b"\xf8\xff\xfe"} if channels == 1 else {b"\xfc\xff\xfe"})
        assert {gap["cause"] for gap in manifest["gaps"] if gap["media"] == "audio"} <= {"media_reconnect"}
