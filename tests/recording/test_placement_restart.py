"""A daemon that is killed at any byte and started again: what comes twice is there once, and nothing new is lost."""

from array import array
from collections.abc import Iterable
from itertools import accumulate, count, pairwise
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.protocol.enums import PayloadType
from rtmsd.recording.disk.file_buffer import Backlog, DiskFile
from rtmsd.recording.media.codecs.decoders import decode_alaw
from rtmsd.recording.media.wav.earlier import LONGEST_PACKET_MS
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat
from rtmsd.recording.media.wav.track import REACH_MS, Placement, Track
from rtmsd.recording.verify.verify import verify

AUDIO: Final = frozenset({"audio"})
PCM: Final = PcmFormat(8000, 1)
START_MS: Final = 1_790_000_000_000


def packet(number: int, ms: int) -> bytes:
    """Samples that no other packet has."""
    count = 8 * ms
    return array("H", range(number * count + 1, (number + 1) * count + 1)).tobytes()


def image(track: Track, before: bytes = bytes(HEADER_BYTES)) -> bytes:
    batch = track.file.take()
    found = bytearray(before.ljust(batch.size_bytes, b"\0"))
    for offset, pieces in batch.chunks:
        data = b"".join(pieces)
        found[offset : offset + len(data)] = data
    return bytes(found)


def new_track(file: bytes) -> Track:
    tail = file[HEADER_BYTES:][-(LONGEST_PACKET_MS + 2 * REACH_MS) * PCM.bytes_per_ms :]
    disk_file = DiskFile(Path("x.wav"), len(file), Backlog(2**40), lambda file: None)
    return Track(disk_file, 1, START_MS, PCM, tail=tail)


@settings(max_examples=300)
@given(st.data())
def test_a_kill_at_any_byte(data: st.DataObject) -> None:
    size_ms, coarse_ms = data.draw(st.sampled_from([20, 60, 100])), data.draw(st.sampled_from([1, 20, 100]))
    most = 15 if coarse_ms == 100 else 30  # together they must not stray further than is allowed
    jitters = data.draw(st.lists(st.integers(-most, most), min_size=40, max_size=40) | st.just([0] * 40))
    first = data.draw(st.integers(0, 4))  # where in a step of the clock the stream begins
    killed_at, repeated = data.draw(st.integers(2, 38)), data.draw(st.integers(0, 40))
    torn = data.draw(st.integers(0, 8 * size_ms - 9))  # so many samples of the last packet are lost
    begin = first * size_ms // coarse_ms * coarse_ms
    jittered = [
        max(0, (first + number) * size_ms // coarse_ms * coarse_ms - begin + (jitter if number else 0))
        for number, jitter in enumerate(jitters)
    ]
    times = list(accumulate(jittered, max))  # one that is late would rightly go into the hole that the kill may leave
    track = new_track(b"")
    for number in range(killed_at):
        assert track.place(START_MS + times[number], packet(number, size_ms)) is Placement.KEPT
    on_disk = image(track)
    is_torn = repeated > 0
    on_disk = on_disk[: len(on_disk) - 2 * torn] if is_torn else on_disk

    track = new_track(on_disk)
    for number in range(max(0, killed_at - repeated), 40):
        verdict = track.place(START_MS + times[number], packet(number, size_ms))
        assert verdict is (Placement.REPEAT if number < killed_at - is_torn else verdict)
    found = array("H", image(track, on_disk)[HEADER_BYTES:])
    voice = array("H", [sample for sample in found if sample])
    assert voice.tobytes() == b"".join(packet(number, size_ms) for number in range(40))
    assert len(found) - len(voice) <= 8 * REACH_MS  # where it was killed
    assert track.cut_bytes == 0


@pytest.mark.parametrize("begins_ms", [0, 20, 40, 60])
def test_silence_behind_the_end_is_new_and_pulls_nothing_ahead(begins_ms: int) -> None:
    """Who is killed in silence has it in the file already: what comes looks like what came."""
    track, silence = new_track(b""), bytes(20 * PCM.bytes_per_ms)
    sounds = [packet(1, 20), *[silence] * 10]
    for number, sound in enumerate(sounds):
        track.place(START_MS + 20 * number, sound)
    on_disk = image(track)

    track = new_track(on_disk)
    at_ms = START_MS + 20 * len(sounds)
    assert track.place(at_ms - 20, silence) is Placement.REPEAT
    for later_ms in range(0, begins_ms, 20):
        assert track.place(at_ms + later_ms, silence) is Placement.KEPT
    assert track.place(at_ms + begins_ms, packet(2, 20)) is Placement.KEPT
    assert track.end_ms == at_ms + begins_ms + 20


# With files


async def test_five_with_one_time_over_a_restart_in_their_middle(studio: Any, tools: Any) -> None:
    T = tools.T
    first = await studio.open()
    first.media.audio_format(tools.audio_format())
    first.connected("media", AUDIO)
    for number in range(8):
        first.media.audio(5, None, T + number // 5 * 100, tools.packet(number))
    await first.suspend()
    second = await studio.open()
    second.media.audio_format(tools.audio_format())
    second.connected("media", AUDIO)
    heard: list[int] = []
    second.listeners.append(Heard(heard))
    for number in range(5, 20):
        second.media.audio(5, None, T + number // 5 * 100, tools.packet(number))
    second.heard(T + 400)
    second.ended(6, T + 400)
    await second.finish()
    found = tools.manifest(second)
    assert tools.samples(second.directory / "audio/5.wav") == b"".join(tools.packet(n) for n in range(20))
    assert found["gaps"] == []
    counters = found["counters"]
    assert (counters["duplicates"], counters["same_time"]) == (3, 6 + 1 + 8)  # of the eighth, only the time is known
    assert heard == [T + number // 5 * 100 for number in range(8, 20)]
    assert verify(second.directory) == []


async def test_a_reconnection_repeats_what_is_stored_beside_its_time(studio: Any, tools: Any) -> None:
    """After silence was inserted, a repeat is not where its time says, and a hole is beside it."""
    T = tools.T
    recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    number = recorder.connected("media", AUDIO)
    times = [T + 20 * n + (90 if n else 0) for n in range(30)]
    for n, time_ms in enumerate(times):
        recorder.media.audio(5, None, time_ms, tools.packet(n))
    inserted_ms = 25
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    recorder.heard(T + 2000)
    recorder.media.audio(5, None, T + 2000, tools.packet(1000))
    before = [tools.packet(n) for n in range(30)]
    for n, time_ms in enumerate(times):
        recorder.media.audio(5, None, time_ms, tools.packet(n))
    recorder.ended(6, T + 2020)
    await recorder.finish()
    found = tools.manifest(recorder)
    assert found["counters"]["duplicates"] == 30
    assert found["counters"]["inserted_ms"] == inserted_ms
    samples = tools.samples(recorder.directory / "audio/5.wav")
    assert samples.replace(bytes(32), b"") == b"".join(before) + tools.packet(1000)
    assert samples.endswith(tools.packet(1000))
    assert len(samples) == 32 * 2020
    assert [(gap["from_ms"] - T, gap["to_ms"] - T) for gap in found["gaps"]] == [(90 + 600, 2000)]
    assert verify(recorder.directory) == []


async def test_what_is_dropped_of_several_with_one_time_is_missing_as_a_whole(studio: Any, tools: Any) -> None:
    T = tools.T
    studio.limit(6400)
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    for number in range(20):
        recorder.media.audio(5, None, T + number // 5 * 100, tools.packet(number))
    kept = (20 - recorder.manifest()["counters"]["dropped"]) * 20
    assert 100 < kept < 300
    await studio.writer.flush()
    await studio.writer.flush()
    recorder.media.audio(5, None, T + 400, tools.packet(20))
    recorder.ended(6, T + 420)
    await recorder.finish()
    found = tools.manifest(recorder)
    assert [(gap["cause"], gap["from_ms"] - T, gap["to_ms"] - T) for gap in found["gaps"]] == [("dropped", kept, 400)]
    samples = tools.samples(recorder.directory / "audio/5.wav")
    assert samples[32 * kept :] == bytes(32 * (400 - kept)) + tools.packet(20)


@attrs.frozen
class Heard:
    """A tap that notes the times of what it hears."""

    times: list[int]

    def audio(self, user_id: Any, user_name: Any, timestamp_ms: int, pcm: bytes) -> None:
        self.times.append(timestamp_ms)

    def ended(self) -> None: ...


@attrs.frozen
class Listens:
    sounds: list[bytes]

    def audio(self, user_id: Any, user_name: Any, timestamp_ms: int, pcm: bytes) -> None:
        self.sounds.append(pcm)

    def ended(self) -> None: ...


def rtp(number: int, payload: bytes) -> bytes:
    return b"\x80\x60" + number.to_bytes(2, "big") + (320 * number).to_bytes(4, "big") + b"Zoom" + payload


async def test_rtp_is_stored_and_heard_without_its_headers(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await studio.open()
    recorder.media.audio_format(attrs.evolve(tools.audio_format(), is_rtp=True))
    recorder.connected("media", AUDIO)
    sounds: list[bytes] = []
    recorder.listeners.append(Listens(sounds))
    for number in (0, 1, 2, 4):
        recorder.media.audio(5, None, T + 20 * number, rtp(number, tools.packet(number)))
    recorder.media.audio(5, None, T + 60, b"no such thing")
    recorder.media.audio(5, None, T + 100, rtp(5, tools.packet(5))[:-7])
    for number in range(3):  # and from somebody else's client plain PCM comes
        recorder.media.audio(6, None, T + 20 * number, tools.packet(number))
    recorder.ended(6, T + 120)
    await recorder.finish()
    found = tools.manifest(recorder)
    expected = [tools.packet(number) for number in (0, 1, 2, 4)]
    assert tools.samples(recorder.directory / "audio/5.wav") == b"".join(expected)
    assert tools.samples(recorder.directory / "audio/6.wav") == b"".join(tools.packet(number) for number in range(3))
    assert sounds == expected + [tools.packet(number) for number in range(3)]
    assert found["counters"]["corrupt_kinds"] == {"rtp": 2}
    assert [(gap["user_id"], gap["from_ms"] - T, gap["to_ms"] - T, gap["cause"]) for gap in found["gaps"]] == [
        (5, 100, 120, "corrupt")
    ]


async def test_g711_in_rtp_is_decoded_behind_its_header_and_anything_else_corrupt(studio: Any, tools: Any) -> None:
    recorder = await studio.open()
    recorder.media.audio_format(attrs.evolve(tools.audio_format(rate_hz=8000, codec=PayloadType.G711), is_rtp=True))
    recorder.connected("media", AUDIO)
    coded = [bytes((number * 7 + index) % 256 for index in range(160)) for number in range(4)]
    for number, data in enumerate(coded):
        recorder.media.audio(5, None, tools.T + 20 * number, rtp(number, data))
    mu_law = rtp(4, coded[0]).replace(b"\x80\x60", b"\x80\x00", 1)
    for number, data in enumerate((mu_law, rtp(5, coded[0][:-1]), rtp(6, coded[0])[:11], coded[0]), 4):
        recorder.media.audio(5, None, tools.T + 20 * number, data)
    recorder.ended(6, tools.T + 160)
    await recorder.finish()
    assert tools.samples(recorder.directory / "audio/5.wav") == b"".join(decode_alaw(data) for data in coded)
    found = tools.manifest(recorder)
    assert (found["counters"]["corrupt_kinds"], found["counters"]["rtp_lost"]) == ({"rtp": 4}, 0)
    assert [
        (gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T, gap["cause"]) for gap in found["gaps"]
    ] == [(5, 80, 160, "corrupt")]


async def test_what_rtp_lost_is_counted_for_each_over_reconnections_and_restarts(studio: Any, tools: Any) -> None:
    raw = tools.audio_format(rate_hz=8000, codec=PayloadType.G711)
    audio = attrs.evolve(raw, is_rtp=True)
    payload = b"\xd5" * 160

    async def hear(users: dict[int, list[int]], *, twice: bool = False) -> Any:
        recorder = await studio.open()
        for _ in range(1 + twice):
            recorder.media.audio_format(audio)
            recorder.connected("media", AUDIO)
            for user_id, numbers in users.items():
                taken, numbers[:2] = numbers[:2], []
                for number in taken:
                    recorder.media.audio(user_id, None, tools.T + 20 * number, rtp(number, payload))
        recorder.media.audio_format(raw)  # granted on the next connection: what was counted stays
        await recorder.suspend()
        return tools.manifest(recorder)["counters"]

    counters = await hear({5: [0, 1, 4, 6], 6: [100, 101, 102, 103]}, twice=True)  # 2, 3 in an outage, and 5
    assert (counters["rtp_lost"], counters["corrupt"]) == (3, 0)
    counters = await hear({5: [50, 52]})  # nobody knows what came while no process ran
    assert (counters["rtp_lost"], counters["corrupt"]) == (4, 0)


@pytest.mark.parametrize("is_rtp", [False, True])
async def test_repeats_of_g722_are_known_although_they_decode_to_other_samples(
    studio: Any, tools: Any, is_rtp: bool
) -> None:
    """On one connection, and on the next, whose decoder starts afresh. What was dropped is new when it comes again."""
    pytest.importorskip("G722")
    audio = attrs.evolve(tools.audio_format(codec=PayloadType.G722), is_rtp=is_rtp)
    recorder = await studio.open()
    recorder.connected("media", AUDIO)
    sent = count()

    def say(numbers: Iterable[int]) -> None:
        for number in numbers:
            payload = bytes((number * 7 + index * 31) % 256 for index in range(160))
            data = rtp(next(sent), payload) if is_rtp else payload
            recorder.media.audio(5, None, tools.T + 20 * number, data)

    recorder.media.audio_format(audio)
    say(number for number in range(50) for _ in range(1 + number % 2))
    recorder.media.audio_format(audio)
    say(range(30, 60))
    recorder.media.backlog.pending_bytes += 2**30  # there is no room
    say([60])
    recorder.media.backlog.pending_bytes -= 2**30
    say([60])
    recorder.ended(6, tools.T + 20 * 61)
    await recorder.finish()
    found = tools.manifest(recorder)
    assert found["files"][0]["duration_ms"] == 61 * 20
    counters = found["counters"]
    assert [counters[name] for name in ("duplicates", "same_time", "cut_ms", "dropped")] == [45, 0, 0, 1]


@pytest.mark.parametrize("packets", [3, 400])
async def test_corrections_are_counted_over_a_restart(studio: Any, tools: Any, packets: int) -> None:
    T = tools.T
    times = [T + 21 * number for number in range(2 * packets)]
    first = await studio.open()
    first.connected("media", AUDIO)
    for number in range(packets):
        first.media.audio(5, None, times[number], tools.packet(number))
    await first.suspend()
    second = await studio.open()
    second.connected("media", AUDIO)
    for number in range(packets, 2 * packets):
        second.media.audio(5, None, times[number], tools.packet(number))
    second.ended(6, times[-1] + 20)
    await second.finish()
    found = tools.manifest(second)
    counters = found["counters"]
    (file,) = found["files"]
    assert file["duration_ms"] >= 20 * 2 * packets + counters["inserted_ms"]
    assert counters["inserted_ms"] == 0 if packets == 3 else counters["inserted_ms"] > 700
    samples = tools.samples(second.directory / "audio/5.wav")
    assert all(samples.count(tools.packet(number, 1)) for number in range(2 * packets))
    assert all(later > earlier for earlier, later in pairwise(samples.find(tools.packet(n, 1)) for n in range(3)))
