"""Placement of packets against an oracle: the contract's text once more, in whole milliseconds, slow and simple."""

from pathlib import Path
from typing import Final

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.recording.disk.file_buffer import Backlog, DiskFile
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat
from rtmsd.recording.media.wav.track import Placement, Track

PCM: Final = PcmFormat(8000, 1)
CELL: Final = PCM.bytes_per_ms  # a millisecond
START_MS: Final = 1_790_000_000_000
SILENCE: Final = bytes(CELL)

Cells = list[bytes]


@attrs.frozen
class Sent:
    at_ms: int
    cells: tuple[bytes, ...] = attrs.field(repr=lambda cells: str(len(cells)))


@attrs.define
class Oracle:
    """`written`: the milliseconds that hold something, by their place. `seen`: time and bytes of what came."""

    written: dict[int, bytes] = attrs.field(factory=dict)
    end: int = 0
    newest: int = -1
    seen: set[Sent] = attrs.field(factory=set)
    drift: int = 0
    is_interrupted: bool = False
    same_time: int = 0
    trimmed: int = 0
    inserted: int = 0
    cut: int = 0

    def take(self, sent: Sent) -> Placement:
        at, cells = sent.at_ms, list(sent.cells)
        if sent in self.seen:
            return Placement.REPEAT
        self.seen.add(sent)
        off = at - self.end
        is_late, is_next, self.newest = at < self.newest, at == self.newest, max(self.newest, at)
        is_free = is_late and all(self.is_hole(at + index) for index in range(len(cells)))
        was_interrupted = self.is_interrupted
        if not is_free and -100 <= off <= (10 if was_interrupted else 100):
            self.same_time += is_next
            self.follow(off, cells)
            verdict = Placement.KEPT
        elif off > 0:
            self.end, self.drift = at, 0
            self.write(cells)
            verdict = Placement.KEPT
        else:
            verdict = self.fill(at, cells)
        return verdict

    def is_hole(self, place: int) -> bool:
        return 0 <= place < self.end and place not in self.written

    def write(self, cells: Cells) -> None:
        for cell in cells:
            self.written[self.end] = cell
            self.end += 1
        self.is_interrupted = False

    def follow(self, off: int, cells: Cells) -> None:
        if abs(off) <= 20:
            self.drift = 0
        elif off > 0:
            self.drift = max(self.drift, 0) + 1
        else:
            self.drift = min(self.drift, 0) - 1
        if self.drift >= 5:
            cells.insert(0, SILENCE)
            self.inserted += 1
        elif self.drift <= -5 and SILENCE in cells:
            cells.remove(SILENCE)
            self.trimmed += 1
        self.write(cells)

    def fill(self, at: int, cells: Cells) -> Placement:
        """In the order of preference: as much as possible, as near as possible to its time."""
        places = {at, *(max(start, min(at, stop - len(cells))) for start, stop in self.holes())}
        fits = {place: self.fitting(place, len(cells)) for place in places if abs(place - at) <= 100}
        best = max(fits, key=lambda place: (len(fits[place]), -abs(place - at), place))
        kept = fits[best]
        for place in kept:
            self.written[place] = cells[place - best]
        if best + len(cells) > self.end:
            self.end = best + len(cells)
            self.drift = 0
            self.is_interrupted = False
        self.cut += len(cells) - len(kept)
        return Placement.KEPT if kept else Placement.CUT

    def fitting(self, place: int, size: int) -> list[int]:
        return [each for each in range(place, place + size) if self.is_hole(each) or each >= self.end]

    def holes(self) -> list[tuple[int, int]]:
        edges = [place for place in range(self.end + 1) if self.is_hole(place) != self.is_hole(place - 1)]
        return list(zip(edges[::2], edges[1::2], strict=True))

    def content(self) -> bytes:
        return b"".join(self.written.get(place, SILENCE) for place in range(self.end))


def content(track: Track) -> bytes:
    batch = track.file.take()
    image = bytearray(batch.size_bytes)
    for offset, pieces in batch.chunks:
        data = b"".join(pieces)
        image[offset : offset + len(data)] = data
    return bytes(image[HEADER_BYTES:])


def cell(number: int) -> bytes:
    """A millisecond that no other has."""
    return number.to_bytes(3, "big").rjust(CELL, b"\7")


@st.composite
def a_time(draw: st.DrawFn) -> list[Sent | str]:
    """All that may come: a voice with its jitter, a coarse clock, drift, silence, holes, late packets and repeats."""
    steps: list[Sent | str] = []
    clock_ms, count = 0.0, 0
    size = draw(st.sampled_from([10, 20, 20, 60, 100]))
    pace = draw(st.sampled_from([1.0, 1.0, 0.9, 1.08, 0.5, 2.0]))
    coarse = draw(st.sampled_from([1, 1, 20, 100, 150]))
    is_quiet = draw(st.booleans())  # each packet ends in silence
    jitter = st.integers(-40, 40) if draw(st.booleans()) else st.just(0)
    kinds = st.sampled_from(["next"] * 12 + ["ahead", "late", "late", "repeat", "repeat", "silent", "settle", "lost"])
    for kind in draw(st.lists(kinds, min_size=1, max_size=60)):
        sent = [step for step in steps if isinstance(step, Sent)]
        if kind in {"settle", "lost"} or (kind == "repeat" and not sent):
            steps.append("lost" if kind == "lost" else "settle")
            continue
        if kind == "repeat":
            steps.append(draw(st.sampled_from(sent[-12:])))
            continue
        if kind == "ahead":
            clock_ms += draw(st.integers(1, 600))
        at_ms = int(clock_ms) // coarse * coarse + draw(jitter)
        if kind == "late":
            at_ms -= draw(st.integers(1, 700))
        else:
            clock_ms += size * pace
        cells = [cell(count + index) for index in range(size)]
        count += size
        if kind == "silent" or is_quiet:
            low = draw(st.integers(0, size - 1)) if kind == "silent" else size // 2
            cells[low:] = [SILENCE] * (size - low)
        steps.append(Sent(max(0, at_ms), tuple(cells)))
    return steps


@settings(max_examples=400)
@given(a_time())
def test_every_packet_is_where_the_contract_has_it(steps: list[Sent | str]) -> None:
    track = Track(DiskFile(Path("x.wav"), 0, Backlog(2**40), lambda file: None), 1, START_MS, PCM)
    oracle = Oracle()
    sent: dict[bytes, tuple[int, int]] = {}  # who, and when it belongs
    in_order: list[bytes] = []
    lost = 0
    for number, step in enumerate(steps):
        if step == "settle":
            track.settle(START_MS)
        elif step == "lost":
            track.interrupted()
            oracle.is_interrupted = True
        elif isinstance(step, Sent):
            is_behind = step.at_ms < oracle.newest or START_MS + step.at_ms < track.end_ms - 100
            verdict = track.place(START_MS + step.at_ms, b"".join(step.cells))
            assert verdict is oracle.take(step), (number, step.at_ms)
            if verdict is not Placement.REPEAT:
                voice = [each for each in step.cells if each != SILENCE]
                sent.update((each, (number, step.at_ms + step.cells.index(each))) for each in voice)
                in_order += [] if is_behind else voice
            lost += len(step.cells) if verdict is Placement.CUT else 0
    found = content(track)
    assert found == oracle.content()
    counted = track.same_time, *(each // CELL for each in (track.trimmed_bytes, track.inserted_bytes, track.cut_bytes))
    assert counted == (oracle.same_time, oracle.trimmed, oracle.inserted, oracle.cut)

    # And what the contract promises, whatever the oracle says.
    cells = [found[at : at + CELL] for at in range(0, len(found), CELL)]
    places = {each: place for place, each in enumerate(cells) if each != SILENCE}
    assert len(places) == sum(each != SILENCE for each in cells)  # nothing is there twice
    assert places.keys() <= sent.keys()
    assert len(sent) - len(places) <= oracle.cut  # nothing is lost that is not counted
    assert lost <= oracle.cut
    assert all(abs(place - sent[each][1]) <= 100 for each, place in places.items())
    kept = [places[each] for each in in_order if each in places]
    assert kept == sorted(kept)
