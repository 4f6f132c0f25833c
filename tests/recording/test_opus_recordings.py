"""Recordings of Opus: what is in the files, over restarts, damage and repairs; told by `verify` and by libsndfile."""

import base64
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import soundfile

from rtmsd.protocol.audio_form import find_form
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.recording.media.ogg.header import HEAD_BYTES
from rtmsd.recording.media.ogg.packets import packet_samples, silence
from rtmsd.recording.media.ogg.pages import read_pages
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify

AUDIO = frozenset({"audio"})
MONO = AudioFormat(codec=PayloadType.OPUS, rate_hz=48_000, channels=1, mixed=False, send_rate_ms=20)


def packet(number: int) -> bytes:
    return b"\xf8" + random.Random(number).randbytes(20 + number % 60)


def packets(path: Path) -> list[bytes]:
    return [each for page in list(read_pages(path.read_bytes()))[2:] for each in page.packets]


def numbers(path: Path, most: int = 2000) -> list[int | None]:
    """Return the number of the packet in each slot; None: silence."""
    known: dict[bytes, int | None] = {packet(number): number for number in range(most)}
    return [{**known, silence(1): None, silence(2): None}[each] for each in packets(path)]


class Talk:
    """A stream in which Ana and Bo say something each 20 ms."""

    def __init__(self, studio: Any, tools: Any) -> None:
        self.studio, self.tools, self.T = studio, tools, tools.T

    async def open(self, audio: AudioFormat = MONO) -> None:
        self.recorder = await self.studio.open()
        self.recorder.media.audio_format(audio)
        self.number = self.recorder.connected("media", AUDIO)

    async def say(self, which: range, *, flush: bool = True, users: tuple[int, ...] = (5, 6)) -> None:
        for number in which:
            for user_id in users:
                self.recorder.media.audio(
                    user_id, "Ana" if user_id == 5 else "Bo", self.T + 20 * number, packet(number)
                )
        if flush:
            await self.recorder.flusher.flush()

    async def end(self, number: int) -> None:
        self.recorder.heard(self.T + 20 * number)
        self.recorder.ended(6, self.T + 20 * number)
        await self.recorder.finish()

    @property
    def directory(self) -> Path:
        directory: Path = self.recorder.directory
        return directory

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tools.manifest(self.recorder)
        return found

    def gaps(self) -> list[tuple[Any, ...]]:
        gaps = self.manifest["gaps"]
        return [
            (each["user_id"], (each["from_ms"] - self.T) // 20, (each["to_ms"] - self.T) // 20, each["cause"])
            for each in gaps
        ]

    def file(self, name: str) -> Path:
        return self.directory / "audio" / name


@pytest.fixture
def talk(studio: Any, tools: Any) -> Talk:
    return Talk(studio, tools)


async def test_one_file_each_as_sent(talk: Talk) -> None:
    await talk.open()
    await talk.say(range(100))
    await talk.say(range(100, 300), users=(5,))
    await talk.say(range(300, 400))
    await talk.end(400)
    assert numbers(talk.file("5.opus")) == list(range(400))
    assert numbers(talk.file("6.opus")) == [*range(100), *[None] * 200, *range(300, 400)]
    assert len(soundfile.read(talk.file("6.opus"))[0]) == 400 * 960
    [ana, _] = talk.manifest["files"]
    assert ana == {
        "path": "audio/5.opus",
        "media": "audio",
        "user_id": 5,
        "start_ms": talk.T,
        "duration_ms": 8000,
        "bytes": talk.file("5.opus").stat().st_size,
        "codec": "OPUS",
        "sample_rate_hz": 48_000,
        "channels": 1,
    }
    assert soundfile.SoundFile(talk.file("5.opus")).artist == "Ana"
    assert talk.gaps() == []
    assert verify(talk.directory) == []
    assert repair(talk.directory) == []


async def test_each_format_has_files_of_its_own(talk: Talk) -> None:
    """L16 was asked for, Opus granted, then stereo, and L16 again: its file is gone on with."""
    await talk.open(talk.tools.audio_format())
    stereo = attrs.evolve(MONO, channels=2, mixed=True)
    for first, audio in (
        (0, talk.tools.audio_format()),
        (10, MONO),
        (20, stereo),
        (30, talk.tools.audio_format()),
        (40, MONO),
    ):
        talk.recorder.media.audio_format(audio)
        for number in range(first, first + 10):
            data = packet(number) if audio.codec is PayloadType.OPUS else talk.tools.packet(number)
            talk.recorder.media.audio(0, None, talk.T + 20 * number, data)
    await talk.end(50)
    assert numbers(talk.file("mixed.opus")) == [*range(10, 20), *[None] * 20, *range(40, 50)]
    assert numbers(talk.file("mixed-2.opus")) == [*range(20, 30)]
    sound = b"".join(talk.tools.packet(number) for number in range(10))
    assert talk.tools.samples(talk.file("mixed.wav"))[:6400] == sound
    described = {
        each["path"]: (each["codec"], each["sample_rate_hz"], each["channels"]) for each in talk.manifest["files"]
    }
    assert described == {
        "audio/mixed.wav": ("L16", 16_000, 1),
        "audio/mixed.opus": ("OPUS", 48_000, 1),
        "audio/mixed-2.opus": ("OPUS", 48_000, 2),
    }
    assert soundfile.info(talk.file("mixed-2.opus")).channels == 2
    assert verify(talk.directory) == []


async def test_a_rate_that_zoom_left_as_asked_changes_nothing(talk: Talk) -> None:
    await talk.open(attrs.evolve(MONO, rate_hz=16_000, send_rate_ms=100))
    await talk.say(range(50))
    await talk.end(50)
    assert talk.manifest["files"][0]["duration_ms"] == 1000
    assert verify(talk.directory) == []


async def test_what_is_no_packet_of_opus_is_a_gap(talk: Talk) -> None:
    """No byte, a byte too few for its frames, no frame, 140 ms; 60 ms in one and in three frames are kept."""
    await talk.open()
    await talk.say(range(10))
    for number, data in enumerate([b"", b"\xfa", b"\xfb\x00", b"\xfb\x07" + bytes(7)], 10):
        talk.recorder.media.audio(5, "Ana", talk.T + 20 * number, data)
    for number, data in ((14, b"\x18abc"), (17, b"\xfb\x03abc")):
        talk.recorder.media.audio(5, "Ana", talk.T + 20 * number, data)
    await talk.say(range(20, 22))
    await talk.end(22)
    counters = talk.manifest["counters"]
    assert counters["corrupt_kinds"] == {"empty": 1, "opus": 3}
    assert talk.gaps() == [(5, 11, 14, "corrupt")]
    found = packets(talk.file("5.opus"))
    assert found[10:16] == [silence(1)] * 4 + [b"\x18abc", b"\xfb\x03abc"]
    assert talk.manifest["files"][0]["duration_ms"] == 22 * 20
    assert verify(talk.directory) == []


async def test_packets_of_any_length_are_kept_in_time(talk: Talk) -> None:
    """Of 2.5 to 120 ms, with pauses, a restart, and 20 ms again behind them: no sample strays, and lengths are true."""
    at_ms: dict[bytes, float] = {}
    time_ms = 0.0
    for number in range(300):
        toc, length_ms = [(0xE0, 2.5), (0xE8, 5), (0xF0, 10), (0xF8, 20), (0x18, 60), (0x1B, 120)][number * 7 % 6]
        if number in {20, 100, 101, 200}:
            time_ms += 310
        if number == 150:
            await talk.recorder.suspend()
        if number in {0, 150}:
            await talk.open()
        head = bytes([toc, 2]) if toc & 3 else bytes([toc])
        data = head + number.to_bytes(2, "big") * 4
        talk.recorder.media.audio(5, "Ana", talk.T + int(time_ms), data)
        at_ms[data] = time_ms
        time_ms += length_ms
        if number % 11 == 0:
            await talk.recorder.flusher.flush()
    await talk.end(int(time_ms // 20) + 5)
    place_ms = 0.0
    for data in packets(talk.file("5.opus")):
        if data in at_ms:
            assert abs(place_ms - at_ms.pop(data)) <= 10
        place_ms += packet_samples(data) / 48
    assert not at_ms
    assert talk.manifest["files"][0]["duration_ms"] == int(place_ms)
    assert soundfile.info(talk.file("5.opus")).frames == place_ms * 48
    assert talk.manifest["counters"]["corrupt"] == 0
    assert verify(talk.directory) == []


async def test_a_late_packet_fills_a_pause_or_is_a_gap(talk: Talk) -> None:
    """Before the pause is on disk, and after."""
    await talk.open()
    await talk.say(range(10))
    await talk.say(range(60, 70), flush=False)
    await talk.say(range(30, 32))
    await talk.say(range(35, 37))
    await talk.say(range(35, 37))
    await talk.end(70)
    expected = [*range(10), *[None] * 20, 30, 31, *[None] * 28, *range(60, 70)]
    assert numbers(talk.file("5.opus")) == expected
    assert sorted(talk.gaps()) == [(5, 35, 37, "dropped"), (6, 35, 37, "dropped")]
    counters = talk.manifest["counters"]
    assert (counters["cut_ms"], counters["dropped"], counters["duplicates"]) == (80, 4, 4)
    assert verify(talk.directory) == []


async def test_hours_of_silence_neither_block_nor_fill_memory(talk: Talk) -> None:
    await talk.open()
    await talk.say(range(2))
    hours = 11 * 3_600_000 // 20
    before_s = time.thread_time()
    await talk.say(range(hours, hours + 2), flush=False)
    pending_bytes = talk.recorder.media.backlog.pending_bytes
    assert pending_bytes < 2000
    batches = [file.take() for file in tuple(talk.recorder.flusher._dirty)]
    assert time.thread_time() - before_s < 0.05
    assert sum(len(pieces) for batch in batches for _, pieces in batch.chunks) > 15_000
    await talk.end(hours + 2)
    assert talk.file("5.opus").stat().st_size < 9_000_000
    assert soundfile.info(talk.file("5.opus")).frames == (hours + 2) * 960
    assert verify(talk.directory) == []


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
@pytest.mark.parametrize("channels", [1, 2])
async def test_ffprobe_reads_a_whole_file_and_a_torn_one(talk: Talk, channels: int) -> None:
    def probed(path: Path) -> tuple[list[str], str]:
        wanted = "stream=codec_name,sample_rate,channels,start_time,duration:stream_tags=RTMS_START_MS,ARTIST"
        command = ["ffprobe", "-v", "warning", "-show_entries", wanted, "-of", "default=nw=1:nk=1", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split(), done.stderr

    await talk.open(attrs.evolve(MONO, channels=channels))
    for first in (0, 100):
        await talk.say(range(first, first + 10))
    await talk.end(110)
    told = ["opus", "48000", str(channels), "0.000000"]
    tags = [str(talk.T), "Ana"]
    assert probed(talk.file("5.opus")) == ([*told, "2.200000", *tags], "")
    raw = talk.file("5.opus").read_bytes()
    pages = list(read_pages(raw))
    talk.file("5.opus").write_bytes(raw[:-7])
    seconds = pages[-2].granule / 48_000
    assert probed(talk.file("5.opus"))[0] == [*told, f"{seconds:.6f}", *tags]


# Restarts


async def test_a_restart_goes_on_with_the_file(talk: Talk) -> None:
    await talk.open()
    await talk.say(range(50))
    await talk.recorder.suspend()
    pages = list(read_pages(talk.file("5.opus").read_bytes()))
    await talk.open()
    await talk.say(range(45, 60))
    await talk.say(range(100, 150))
    await talk.end(150)
    assert numbers(talk.file("5.opus")) == [*range(60), *[None] * 40, *range(100, 150)]
    assert list(read_pages(talk.file("5.opus").read_bytes()))[: len(pages)] == pages
    assert talk.manifest["counters"]["duplicates"] == 10
    assert [each["path"] for each in talk.manifest["files"]] == ["audio/5.opus", "audio/6.opus"]
    assert verify(talk.directory) == []


async def test_audio_that_no_manifest_knows_shortens_the_gap_of_the_kill(talk: Talk) -> None:
    """Killed after a flush of one file that came to no manifest: what is there counts, what is not is missing."""
    await talk.open()
    await talk.say(range(50))
    promised = (talk.directory / "stream.json").read_bytes()
    ana = talk.file("5.opus").read_bytes()
    await talk.say(range(50, 75))
    grown = talk.file("5.opus").read_bytes()
    assert grown.startswith(ana)
    (talk.directory / "stream.json").write_bytes(promised)
    talk.file("6.opus").write_bytes(talk.file("6.opus").read_bytes()[:-10])
    await talk.open()
    await talk.say(range(100, 110))
    await talk.end(110)
    assert numbers(talk.file("5.opus")) == [*range(75), *[None] * 25, *range(100, 110)]
    assert numbers(talk.file("6.opus")) == [*range(50), *[None] * 50, *range(100, 110)]
    gaps = talk.gaps()
    assert (None, 75, 100, "daemon_restart") in gaps
    assert (6, 50, 75, "daemon_restart") in gaps
    assert verify(talk.directory) == []


async def test_a_manifest_of_before_is_gone_on_with(talk: Talk) -> None:
    """Audio had `rate_hz` and no codec."""
    await talk.open(talk.tools.audio_format())
    for number in range(10):
        talk.recorder.media.audio(5, "Ana", talk.T + 20 * number, talk.tools.packet(number))
    await talk.recorder.suspend()
    manifest = talk.manifest
    for entry in manifest["files"]:
        entry["rate_hz"] = entry.pop("sample_rate_hz")
        del entry["codec"]
    (talk.directory / "stream.json").write_text(json.dumps(manifest))
    assert verify(talk.directory) == []
    assert repair(talk.directory) == []
    await talk.open(talk.tools.audio_format())
    for number in range(10, 20):
        talk.recorder.media.audio(5, "Ana", talk.T + 20 * number, talk.tools.packet(number))
    await talk.end(20)
    [entry] = talk.manifest["files"]
    assert (entry["codec"], entry["sample_rate_hz"], entry["duration_ms"], "rate_hz" in entry) == (
        "L16",
        16_000,
        400,
        False,
    )


# Others have hands on the files


@pytest.mark.parametrize(
    ("harm", "left"),
    [
        (lambda path: path.unlink(), None),
        (lambda path: os.truncate(path, path.stat().st_size - 1), 50),
        (lambda path: os.truncate(path, HEAD_BYTES + 5), None),
        (lambda path: os.truncate(path, 0), None),
        (lambda path: shutil.move(shutil.copy(path, f"{path}.x"), path), None),
    ],
)
async def test_harm_while_it_is_recorded(talk: Talk, harm: Callable[[Path], Any], left: int | None) -> None:
    """What was on disk and is gone is a gap; what is queued, and what comes, goes on in another file."""
    await talk.open()
    await talk.say(range(50))
    await talk.say(range(50, 100))
    harm(talk.file("5.opus"))
    await talk.say(range(100, 120))
    await talk.say(range(120, 130))
    await talk.end(130)
    if left is not None:
        assert numbers(talk.file("5.opus")) == list(range(left))
    assert numbers(talk.file("5-2.opus")) == list(range(100, 130))
    assert numbers(talk.file("6.opus")) == list(range(130))
    assert talk.gaps() == [(5, left or 0, 100, "damaged")]
    # A copy in its place is somebody else's, and stays.
    assert {each.kind for each in verify(talk.directory)} <= {"stray"}


async def recorded(talk: Talk) -> Path:
    await talk.open()
    await talk.say(range(50))
    await talk.say(range(50, 100))
    await talk.end(100)
    return talk.file("5.opus")


async def test_repair_of_a_torn_page(talk: Talk) -> None:
    path = await recorded(talk)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[-300:-20])
    assert [problem.kind for problem in verify(talk.directory)] == ["length", "page"]
    [line] = repair(talk.directory)
    assert line == f"audio/5.opus: torn last page cut off, {len(whole)} bytes"
    assert path.read_bytes() == whole
    assert verify(talk.directory) == []


async def test_repair_of_a_file_that_was_cut(talk: Talk) -> None:
    path = await recorded(talk)
    os.truncate(path, path.stat().st_size - 1)
    lines = repair(talk.directory)
    assert any("cut off" in line and "is a gap" in line for line in lines)
    assert numbers(path) == list(range(50))
    assert talk.gaps() == [(5, 50, 100, "damaged")]
    assert verify(talk.directory) == []
    assert repair(talk.directory) == []


async def test_repair_of_a_header_from_the_manifest(talk: Talk) -> None:
    path = await recorded(talk)
    whole = path.read_bytes()
    path.write_bytes(bytes(600) + whole[600:])
    assert "audio/5.opus: header made again from the manifest" in repair(talk.directory)[0]
    assert path.read_bytes()[HEAD_BYTES:] == whole[HEAD_BYTES:]
    assert verify(talk.directory) == []
    assert len(soundfile.read(path)[0]) == 100 * 960


async def test_repair_of_a_beginning_of_zeros(talk: Talk) -> None:
    path = await recorded(talk)
    whole = path.read_bytes()
    page = list(read_pages(whole))[2]
    path.write_bytes(bytes(page.stop - 10) + whole[page.stop - 10 :])
    repair(talk.directory)
    assert talk.gaps() == [(5, 0, 50, "damaged")]
    assert [problem.kind for problem in verify(talk.directory)] == ["page", "length"]  # it cannot be made whole
    assert len(soundfile.read(path)[0]) == 50 * 960


async def test_a_wrong_byte_in_the_middle_is_found(talk: Talk) -> None:
    path = await recorded(talk)
    raw = bytearray(path.read_bytes())
    raw[HEAD_BYTES + 700] ^= 1
    path.write_bytes(bytes(raw))
    [first, *_] = verify(talk.directory)
    assert (first.path, first.kind) == ("audio/5.opus", "page")
    assert "checksum" in first.detail


async def test_a_lost_manifest_is_made_from_the_files(talk: Talk) -> None:
    await recorded(talk)
    before = talk.manifest
    (talk.directory / "stream.json").unlink()
    repair(talk.directory)
    assert talk.manifest["files"] == before["files"]
    assert talk.manifest["started_ms"] == before["started_ms"]


@pytest.mark.parametrize("seed", range(12))
async def test_anything_broken_is_repaired_once_and_gone_on_with(talk: Talk, seed: int) -> None:
    """Cut, overwritten or lost, with or without the manifest: a repair leaves nothing to a second one."""
    chance = random.Random(seed)
    await talk.open()
    await talk.say(range(50))
    await talk.say(range(80, 120))
    await talk.recorder.suspend()
    path = talk.file("5.opus")
    raw = bytearray(path.read_bytes())
    start = chance.randrange(len(raw))
    stop = min(len(raw), start + chance.choice([1, 100, 5000]))
    match chance.choice(["cut", "zeros", "noise", "longer"]):
        case "cut":
            del raw[start:]
        case "zeros":
            raw[start:stop] = bytes(stop - start)
        case "noise":
            raw[start:stop] = chance.randbytes(stop - start)
        case "longer":
            raw += raw[start:stop]
    path.write_bytes(bytes(raw))
    if seed % 4 == 3:
        (talk.directory / "stream.json").unlink()
    else:
        repair(talk.directory)
        assert repair(talk.directory) == []
    await talk.open()
    await talk.say(range(150, 160))
    await talk.end(160)
    assert numbers(talk.file("6.opus")) == [*range(50), *[None] * 30, *range(80, 120), *[None] * 30, *range(150, 160)]
    found = [number for each in talk.directory.glob("audio/5*.opus") for number in numbers(each) if number is not None]
    assert len(found) == len(set(found))
    assert set(range(150, 160)) <= set(found) <= {*range(50), *range(80, 120), *range(150, 160)}
    assert {(each.path, each.kind) for each in verify(talk.directory)} <= {
        ("audio/5.opus", "page"),
        ("audio/5.opus", "length"),
    }


async def test_the_accelerator_takes_no_opus(talk: Talk) -> None:
    """One that began with L16 gives back all that comes, and a connection of Opus gets none."""
    await talk.open(talk.tools.audio_format())
    media = talk.recorder.media
    reader = media.packet_reader()
    if reader is None:
        pytest.skip("there is no accelerator")
    talk.recorder.media.audio(5, "Ana", talk.T, talk.tools.packet(0))
    content = {"user_id": 5, "user_name": "Ana", "data": base64.b64encode(talk.tools.packet(1)).decode()}
    text = json.dumps(
        {"msg_type": 14, "content": {**content, "timestamp": talk.T + 20}}, separators=(",", ":")
    ).encode()
    form = find_form(text)
    assert form is not None
    assert reader.learn(
        form.message, form.data_at, form.data_chars, form.data_bytes, form.time_at, form.user_id, form.user_name
    )
    media.audio_format(MONO)
    frame = b"\x81\x7e" + len(text).to_bytes(2, "big") + text
    assert reader.take(frame) == frame
    assert media.packet_reader() is None
    media.audio_format(talk.tools.audio_format())
    assert reader.take(frame) != frame
    await talk.end(2)
