from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.disk_file import PIECE_BYTES, Backlog, DiskFile
from rtmsd.recording.track import MAX_AHEAD_MS, Placement, Track
from rtmsd.recording.wav_file import HEADER_BYTES, PcmFormat

PCM = PcmFormat(8000, 1)  # 16 bytes a millisecond
START_MS = 1_790_000_000_000


def new_track(limit_bytes: int = 2**40) -> Track:
    return Track(DiskFile(Path("x.wav"), 0, Backlog(limit_bytes), lambda file: None), 1, START_MS, PCM)


def content(track: Track) -> bytes:
    """What the file would hold, without its header."""
    batch = track.file.take()
    image = bytearray(batch.size_bytes)
    for offset, pieces in batch.chunks:
        data = b"".join(pieces)
        image[offset : offset + len(data)] = data
    return bytes(image[HEADER_BYTES:])


def packet(number: int, ms: int = 20) -> bytes:
    return bytes([number % 255 + 1]) * (16 * ms)


def place(track: Track, at_ms: int, number: int, ms: int = 20) -> Placement:
    return track.place(START_MS + at_ms, packet(number, ms))


def test_jitter_is_contiguous_and_leaves_no_hole() -> None:
    track = new_track()
    for number, at_ms in enumerate([0, 23, 38, 61, 95, 100]):
        assert place(track, at_ms, number) is Placement.KEPT
    assert content(track) == b"".join(packet(number) for number in range(6))
    assert not track.holes


def test_a_later_packet_leaves_silence_and_a_late_one_fills_it() -> None:
    track = new_track()
    place(track, 0, 0)
    place(track, 60, 3)
    assert place(track, 20, 1) is Placement.KEPT
    assert place(track, 40, 2) is Placement.KEPT
    assert content(track) == b"".join(packet(number) for number in range(4))
    assert not track.holes


def test_repeats_are_told_whether_the_newest_or_older() -> None:
    track = new_track()
    for number in range(4):
        place(track, 20 * number + number, number)  # drifts by a millisecond each
    size = track.end
    assert [place(track, 21 * number, number) for number in range(4)] == [Placement.REPEAT] * 4
    assert track.end == size


def test_an_overlapping_packet_fills_only_what_is_not_written() -> None:
    track = new_track()
    place(track, 0, 0, ms=100)
    assert place(track, 50, 1, ms=100) is Placement.KEPT
    assert content(track) == packet(0, 100) + packet(1, 50)


def test_twelve_hours_ahead_is_broken() -> None:
    track = new_track()
    place(track, 0, 0)
    assert place(track, 20 + MAX_AHEAD_MS, 1) is Placement.KEPT
    assert place(track, 40 + 2 * MAX_AHEAD_MS + 1, 2) is Placement.TOO_FAR


def test_no_room_is_no_append() -> None:
    track = new_track(limit_bytes=1)
    assert track.append(START_MS, packet(0))
    assert not track.append(START_MS + 20, packet(1))


def test_bounded_holes() -> None:
    track = new_track()
    for number in range(500):
        place(track, 100 * number, number)
    assert len(track.holes) <= 64
    assert place(track, 499 * 100 - 50, 1) is Placement.KEPT
    assert place(track, 50, 1) is Placement.REPEAT  # so old a hole is forgotten: counted, never written over


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 6)), max_size=60))
def test_placement_is_that_of_a_simple_model(packets: list[tuple[int, int]]) -> None:
    """The model writes a packet's milliseconds one by one into a dict, where nothing is yet."""
    track = new_track()
    model: dict[int, int] = {}
    end_ms = newest_ms = 0
    for number, (at_10ms, length_20ms) in enumerate(packets):
        at_ms, ms = at_10ms * 10, length_20ms * 20
        is_new = at_ms > newest_ms or not model
        place_ms = end_ms if is_new and abs(at_ms - end_ms) <= 20 else at_ms
        fresh = [when for when in range(place_ms, place_ms + ms) if when not in model]
        verdict = place(track, at_ms, number, ms)
        if model and at_ms == newest_ms:
            assert verdict is Placement.REPEAT
            continue
        assert verdict is (Placement.KEPT if fresh else Placement.REPEAT)
        if fresh:
            newest_ms = max(newest_ms, at_ms)
        end_ms = max(end_ms, place_ms + ms)
        for when in fresh:
            model[when] = number % 255 + 1
    assert content(track) == b"".join(bytes([model.get(when, 0)]) * 16 for when in range(end_ms))


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["place", "flush fails", "flush", "written"])), max_size=60)
)
def test_the_backlog_holds_what_is_not_on_disk(steps: list[tuple[int, str]]) -> None:
    """A flush that fails leaves everything queued, and what comes while one writes stays queued, too."""
    track = new_track()
    file, backlog = track.file, track.file.backlog
    batch = None
    for number, (at_10ms, step) in enumerate(steps):
        if step == "place":
            place(track, at_10ms * 10, number)
        elif step == "written" and batch is not None:
            file.written(batch)
            batch = None
        elif step != "written":
            batch = file.take() if step == "flush" else None
        queued = [piece for _, pieces in file.take().chunks for piece in pieces]
        assert backlog.pending_bytes == sum(len(piece) + PIECE_BYTES for piece in queued)
    file.discard()
    assert backlog.pending_bytes == 0
