"""Placement of Opus against an oracle: the contract's text in slots of 20 ms, with pages that are never changed."""

from pathlib import Path
from typing import Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.media.ogg.file import OggFile
from rtmsd.recording.media.ogg.header import HEAD_BYTES, OggHeader
from rtmsd.recording.media.ogg.packets import OpusFormat, packet_samples, silence
from rtmsd.recording.media.ogg.pages import read_pages
from rtmsd.recording.media.ogg.reader import find_end, last_packets
from rtmsd.recording.media.ogg.track import OpusTrack
from rtmsd.recording.media.wav.header import HEADER_BYTES
from rtmsd.recording.media.wav.track import Placement
from rtmsd.recording.verify.opus_reader import read_opus

START_MS: Final = 1_790_000_000_000
OPUS: Final = OpusFormat(48_000, 1)
SILENCE: Final = silence(1)
TOCS: Final = {1: 0xF8, 2: 0x10, 3: 0x18}


def packet(number: int, slots: int = 1) -> bytes:
    """One that no other is, of 20, 40 or 60 ms in one frame."""
    return bytes([TOCS[slots]]) + number.to_bytes(4, "big") + bytes(number % 40)


@attrs.frozen
class Sent:
    at_ms: int
    data: bytes

    @property
    def slots(self) -> int:
        return packet_samples(self.data) // 960


@attrs.define
class Oracle:
    """`written`: packets by their slot; the later slots of a long one hold nothing. `paged`: so many are fixed."""

    written: dict[int, bytes] = attrs.field(factory=dict)
    end: int = 0
    paged: int = 0
    newest: int = -1
    seen: set[Sent] = attrs.field(factory=set)
    given_up: set[int] = attrs.field(factory=set)
    drift: int = 0
    is_interrupted: bool = False
    counts: dict[str, int] = attrs.field(
        factory=lambda: {"same_time": 0, "trimmed_ms": 0, "inserted_ms": 0, "cut_ms": 0}
    )

    def take(self, sent: Sent) -> Placement:
        if sent in self.seen:
            return Placement.REPEAT
        self.seen.add(sent)
        at, off = (sent.at_ms + 10) // 20, sent.at_ms - 20 * self.end
        is_late, is_next, self.newest = (
            sent.at_ms < self.newest,
            sent.at_ms == self.newest,
            max(self.newest, sent.at_ms),
        )
        was_interrupted = self.is_interrupted
        if not (is_late and self.has_room(at, sent.slots)) and -100 <= off <= (10 if was_interrupted else 100):
            self.counts["same_time"] += is_next
            self.follow(off, sent.data)
            return Placement.KEPT
        if off > 0:
            self.end, self.drift = at, 0
            self.write(sent.data)
            return Placement.KEPT
        places = [place for place in range(at - 4, at + 5) if self.has_room(place, sent.slots)]
        if places:
            self.put(min(places, key=lambda place: (abs(place - at), -place)), sent.data)
            return Placement.KEPT
        self.counts["cut_ms"] += 20 * sent.slots
        silent = {slot for slot in range(at, at + sent.slots) if self.is_silent(slot)} - self.given_up
        self.given_up |= silent
        return Placement.LATE if silent else Placement.CUT

    def is_silent(self, slot: int) -> bool:
        return 0 <= slot < self.paged and slot not in self.written

    def has_room(self, place: int, slots: int) -> bool:
        return all(self.paged <= slot < self.end and slot not in self.written for slot in range(place, place + slots))

    def put(self, place: int, data: bytes) -> None:
        self.written.update(dict.fromkeys(range(place, place + packet_samples(data) // 960), b""))
        self.written[place] = data

    def write(self, data: bytes) -> None:
        self.put(self.end, data)
        self.end += packet_samples(data) // 960
        self.is_interrupted = False

    def follow(self, off: int, data: bytes) -> None:
        if abs(off) <= 20:
            self.drift = 0
        else:
            self.drift = max(self.drift, 0) + 1 if off > 0 else min(self.drift, 0) - 1
        if self.drift >= 5:
            self.write(SILENCE)
            self.counts["inserted_ms"] += 20
        if self.drift <= -5 and data == SILENCE:
            self.counts["trimmed_ms"] += 20
        else:
            self.write(data)

    def content(self) -> list[bytes]:
        slots = (self.written.get(slot, SILENCE) for slot in range(self.end))
        return [each for each in slots if each]


@st.composite
def a_time(draw: st.DrawFn) -> list[Sent | str]:
    """All that may come: a voice with its jitter, a coarse clock, drift, pauses, late packets, repeats, and flushes."""
    steps: list[Sent | str] = []
    clock_ms, count = 0.0, 0
    slots = draw(st.sampled_from([1, 1, 1, 2, 3]))
    pace = draw(st.sampled_from([1.0, 1.0, 0.9, 1.08, 0.5, 2.0]))
    coarse = draw(st.sampled_from([1, 1, 20, 100, 150]))
    jitter = st.integers(-40, 40) if draw(st.booleans()) else st.just(0)
    kinds = st.sampled_from(["next"] * 12 + ["ahead", "late", "late", "late", "repeat", "silent", "flush", "lost"])
    for kind in draw(st.lists(kinds, min_size=1, max_size=60)):
        sent = [step for step in steps if isinstance(step, Sent)]
        if kind in {"flush", "lost"} or (kind == "repeat" and not sent):
            steps.append("lost" if kind == "lost" else "flush")
            continue
        if kind == "repeat":
            steps.append(draw(st.sampled_from(sent[-12:])))
            continue
        if kind == "ahead":
            clock_ms += draw(st.integers(1, 600) | st.integers(1, 30_000))
        at_ms = int(clock_ms) // coarse * coarse + draw(jitter)
        if kind == "late":
            at_ms -= draw(st.integers(1, 700))
        else:
            clock_ms += 20 * slots * pace
        steps.append(Sent(max(0, at_ms), SILENCE if kind == "silent" else packet(count, slots)))
        count += 1
    return steps


class Disk:
    """The file of a track, written as a flush would."""

    def __init__(self, path: Path, track: OpusTrack) -> None:
        self.path, self.track = path, track
        path.touch()

    def flush(self) -> None:
        batch = self.track.file.take()
        with self.path.open("r+b") as file:
            for offset, pieces in batch.chunks:
                assert offset == file.seek(0, 2), "only appended"
                file.write(b"".join(pieces))
        self.track.file.written(batch)
        assert self.path.stat().st_size == batch.size_bytes == self.track.size_bytes

    def packets(self) -> list[bytes]:
        return [packet for page in list(read_pages(self.path.read_bytes()))[2:] for packet in page.packets]


def new_track(path: Path) -> Disk:
    header = OggHeader(pcm=OPUS, start_ms=START_MS, stream_started_ms=START_MS, owner=5)
    return Disk(path, OpusTrack(OggFile(path, Backlog(2**40), lambda file: None, header), 5, START_MS, OPUS))


def resumed(path: Path) -> Disk:
    """The track that goes on with a file, whose torn end is cut off, as `recovery` does it."""
    with path.open("r+b") as file:
        header, end = OggHeader.decode(file.read(HEAD_BYTES)), find_end(file.fileno(), path.stat().st_size)
        assert end is not None
        file.truncate(end.size_bytes)
        found = list(last_packets(file.fileno(), end.size_bytes, 100_000))
    packets = [(HEADER_BYTES + samples * OPUS.block_bytes, data) for samples, data in found[-60:]]
    ogg = OggFile(path, Backlog(2**40), lambda file: None, header, end)
    return Disk(path, OpusTrack(ogg, 5, START_MS, OPUS, packets=packets))


@settings(max_examples=300, deadline=None)
@given(a_time())
def test_every_packet_is_where_the_contract_has_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Sent | str]
) -> None:
    disk, oracle = new_track(tmp_path_factory.mktemp("track") / "5.opus"), Oracle()
    sent: dict[bytes, int] = {}
    for number, step in enumerate(steps):
        if step == "flush":
            disk.flush()
            oracle.paged = oracle.end
        elif step == "lost":
            disk.track.interrupted()
            oracle.is_interrupted = True
        elif isinstance(step, Sent):
            assert disk.track.place(START_MS + step.at_ms, step.data) is oracle.take(step), (number, step.at_ms)
            sent[step.data] = step.at_ms
        assert disk.track.duration_ms == 20 * oracle.end
    disk.flush()
    found = disk.packets()
    assert found == oracle.content()
    assert disk.track.adjustments() == oracle.counts
    assert disk.track.file.backlog.pending_bytes == 0
    assert read_opus(disk.path)[2:] == (960 * oracle.end, None, False)

    # And what the contract promises, whatever the oracle says.
    voice = [each for each in found if each != SILENCE]
    assert len(voice) == len(set(voice))
    lost = sent.keys() - {*voice, SILENCE}
    assert sum(packet_samples(each) for each in lost) <= 48 * oracle.counts["cut_ms"]
    at_ms = 0
    for each in found:
        assert each == SILENCE or abs(at_ms - sent[each]) <= 100
        at_ms += packet_samples(each) // 48


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_kill_at_any_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """What was synced is there, what comes twice is there once, and the numbers and times of pages go on."""
    path = tmp_path_factory.mktemp("kill") / "5.opus"
    jitters = data.draw(st.lists(st.integers(-20, 20), min_size=60, max_size=60) | st.just([0] * 60))
    times = [max(0, 20 * number + jitter if number else 0) for number, jitter in enumerate(jitters)]
    times = [max(times[: number + 1]) for number in range(60)]
    killed_at, repeated = data.draw(st.integers(2, 58)), data.draw(st.integers(0, 60))
    disk = new_track(path)
    synced = 0
    for number in range(killed_at):
        assert disk.track.place(START_MS + times[number], packet(number)) is Placement.KEPT
        if data.draw(st.integers(0, 5)) == 0 or number == 0:
            disk.flush()
            synced, synced_bytes = number + 1, path.stat().st_size
    disk.flush()
    cut = data.draw(st.integers(synced_bytes, path.stat().st_size))
    path.write_bytes(path.read_bytes()[:cut] + data.draw(st.binary(max_size=30)))

    disk = resumed(path)
    there = len(disk.packets())
    assert there in {synced, killed_at}
    for number in range(max(0, there - repeated), 60):
        verdict = disk.track.place(START_MS + times[number], packet(number))
        assert verdict is (Placement.REPEAT if number < there else Placement.KEPT)
        if number % 7 == 0:
            disk.flush()
    disk.flush()
    assert [each for each in disk.packets() if each != SILENCE] == [packet(number) for number in range(60)]
    assert read_opus(path).problem is None


def test_late_packets_after_a_restart(tmp_path: Path) -> None:
    """What is before the end is a repeat, unless its time is known to be silence on disk: then it is lost."""
    path = tmp_path / "5.opus"
    disk = new_track(path)
    for number in [*range(100), *range(200, 400)]:
        disk.track.place(START_MS + 20 * number, packet(number))
    disk.flush()
    disk = resumed(path)
    assert disk.track.place(START_MS + 20 * 50, packet(50)) is Placement.REPEAT
    assert disk.track.place(START_MS + 20 * 150, packet(150)) is Placement.REPEAT
    disk.track.silent.leave(HEADER_BYTES + 100 * 1920, HEADER_BYTES + 200 * 1920)
    assert disk.track.place(START_MS + 20 * 160, packet(160)) is Placement.LATE
    assert disk.track.place(START_MS + 20 * 160, packet(160)) is Placement.REPEAT
    assert disk.track.place(START_MS + 20 * 400, packet(400)) is Placement.KEPT
    assert disk.track.cut_bytes == 1920


def test_what_is_queued_goes_on_in_another_file(tmp_path: Path) -> None:
    """Pages that no flush could write, hours of silence, and packets that are in no page yet."""
    disk = new_track(tmp_path / "5.opus")
    hour = 3_600_000 // 20
    for number in (0, 1, hour, hour + 1):
        disk.track.place(START_MS + 20 * number, packet(number))
        if number == 1:
            disk.flush()
    disk.track.file.take()
    disk.track.place(START_MS + 20 * (hour + 50), packet(7))
    disk.track.place(START_MS + 20 * (hour + 30), packet(8))
    start_ms = disk.track.queued_ms
    assert start_ms == START_MS + 40
    header = OggHeader(pcm=OPUS, start_ms=start_ms, stream_started_ms=START_MS, owner=5)
    file = OggFile(tmp_path / "5-2.opus", disk.track.file.backlog, lambda file: None, header)
    other = Disk(file.path, disk.track.moved(file, start_ms))
    assert not disk.track.file.queued
    other.track.place(START_MS + 20 * (hour + 40), packet(9))
    other.track.place(START_MS + 20 * (hour + 51), packet(10))
    other.flush()
    found = other.packets()
    places = {number: found.index(packet(number)) for number in (hour, hour + 1, 7, 8, 9, 10)}
    assert places == {
        number: at - 2
        for number, at in zip(places, (hour, hour + 1, hour + 50, hour + 30, hour + 40, hour + 51), strict=True)
    }
    assert len(found) == hour + 50
    assert read_opus(file.path).problem is None
    assert file.backlog.pending_bytes == 0


@pytest.mark.parametrize("at_ms", [12 * 3_600_000 + 1, 20 * 86_400_000])
def test_too_far_ahead(tmp_path: Path, at_ms: int) -> None:
    disk = new_track(tmp_path / "5.opus")
    disk.track.place(START_MS, packet(0))
    assert disk.track.place(START_MS + 20 + at_ms, packet(1)) is Placement.TOO_FAR


def test_a_file_ends_after_a_month(tmp_path: Path) -> None:
    disk = new_track(tmp_path / "5.opus")
    verdicts = [disk.track.place(START_MS + each * 43_000_000, packet(each)) for each in range(70)]
    assert verdicts == [Placement.KEPT] * 63 + [Placement.TOO_FAR] * 7
