"""One track: jitter, drift, repeats and holes, packet by packet."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.disk.file_buffer import PIECE_BYTES, Backlog, DiskFile
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat
from rtmsd.recording.media.wav.recent_packets import RecentPackets
from rtmsd.recording.media.wav.track import MAX_AHEAD_MS, Placement, Track

PCM = PcmFormat(8000, 1)  # 16 bytes a millisecond
START_MS = 1_790_000_000_000


def new_track(limit_bytes: int = 2**40) -> Track:
    return Track(DiskFile(Path("x.wav"), 0, Backlog(limit_bytes), lambda file: None), 1, START_MS, PCM)


def content(track: Track) -> bytes:
    """The content of the file, without its header."""
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
    """Packets of 100 ms, up to 30 ms early or late, and one 40 ms late: nothing is cut, nothing silent."""
    track = new_track()
    for number, jitter_ms in enumerate([0, 30, -30, 30, -28, 40, 0, -30, 20, -20]):
        assert place(track, 100 * number + jitter_ms, number, ms=100) is Placement.KEPT
    assert content(track) == b"".join(packet(number, 100) for number in range(10))
    assert not track.holes
    assert (track.trimmed_bytes, track.inserted_bytes, track.cut_bytes, track.same_time) == (0, 0, 0, 0)


def test_small_packets_stamped_on_a_coarse_clock_are_all_kept_in_order() -> None:
    """An hour of packets of 20 ms with times in steps of 100 ms: nothing is a repeat, nothing drifts."""
    track = new_track()
    track.file.on_dirty = lambda file: None
    for number in range(180_000):
        assert place(track, number // 5 * 100, number) is Placement.KEPT
        if number % 1000 == 0:
            track.settle(0)
    assert track.same_time == 144_000
    assert (track.trimmed_bytes, track.inserted_bytes, track.cut_bytes) == (0, 0, 0)
    assert content(track) == b"".join(packet(number) for number in range(180_000))
    assert [place(track, 3_599_900, number) for number in range(179_995, 180_000)] == [Placement.REPEAT] * 5
    assert track.same_time == 144_000


def test_more_than_100_ms_ahead_leaves_silence_and_late_ones_fill_it() -> None:
    track = new_track()
    place(track, 0, 0)
    place(track, 160, 8)
    for number in range(1, 8):
        assert place(track, 20 * number, number) is Placement.KEPT
    assert content(track) == b"".join(packet(number) for number in range(9))
    assert not track.holes


def test_what_is_known_to_be_missing_stays_a_hole() -> None:
    track = new_track()
    place(track, 0, 0)
    track.interrupted()
    place(track, 60, 3)
    place(track, 120, 5)  # this is jitter again
    assert content(track) == packet(0) + bytes(640) + packet(3) + packet(5)
    assert place(track, 20, 1) is Placement.KEPT
    assert content(track) == packet(0) + packet(1) + bytes(320) + packet(3) + packet(5)


def test_a_single_packet_that_is_missing_leaves_its_place_and_jitter_none() -> None:
    track = new_track()
    place(track, 0, 0)
    track.interrupted()
    place(track, 30, 1)
    place(track, 60, 2)  # this is jitter: nothing is known to be missing here
    track.interrupted()
    assert not track.append(START_MS + 80, packet(4))  # nor does the short way close it up
    place(track, 80, 4)
    assert content(track) == packet(0) + packet(1) + packet(2) + bytes(320) + packet(4)
    assert place(track, 60, 3) is Placement.KEPT
    assert content(track) == b"".join(packet(number) for number in range(5))


def test_jitter_in_a_hole_costs_no_speech_either() -> None:
    """Out of Zoom's buffer behind live packets: five with the same time, and some that overlap a little."""
    track = new_track()
    place(track, 0, 0)
    place(track, 400, 99)
    for number in range(1, 6):
        assert place(track, 20, number) is Placement.KEPT
    for number, at_ms in ((6, 110), (7, 165), (8, 150)):
        assert place(track, at_ms, number) is Placement.KEPT
    late = [packet(number) for number in range(6)] + [packet(6), bytes(16 * 5), packet(8), packet(7)]
    assert content(track) == b"".join(late).ljust(16 * 400, b"\0") + packet(99)
    assert track.cut_bytes == 0


def test_a_clock_that_drifts_is_followed_a_millisecond_at_a_time() -> None:
    ahead, behind, silent = new_track(), new_track(), new_track()
    for number in range(200):
        place(ahead, 21 * number, number)
        place(behind, 19 * number, number)
        silent.place(START_MS + 19 * number, packet(number, 10) + bytes(16 * 10))
    assert ahead.inserted_bytes // 16 == 200 - 25  # 21 to drift out of what is jitter, and five to notice
    assert (ahead.trimmed_bytes, ahead.cut_bytes) == (0, 0)
    assert content(ahead).count(packet(150)) == 1
    assert (behind.trimmed_bytes, behind.inserted_bytes) == (0, 0)  # there is no silence to be trimmed
    assert 0 <= behind.end_ms - START_MS - 199 * 19 - 20 <= 100  # so the bound wins
    assert behind.cut_bytes // 16 == 20 * 5
    assert silent.trimmed_bytes // 16 == 200 - 25
    assert silent.cut_bytes == 0


def test_repeats_are_recognised_whether_the_newest_or_older() -> None:
    track = new_track()
    for number in range(4):
        place(track, 20 * number + number, number)  # drifts by a millisecond each
    size = track.end
    assert [place(track, 21 * number, number) for number in range(4)] == [Placement.REPEAT] * 4
    assert track.end == size


def test_the_newest_time_with_other_bytes_is_no_repeat_but_with_the_same_it_is() -> None:
    track = new_track()
    assert [place(track, 0, number) for number in (1, 2, 1, 2, 3)] == [
        Placement.KEPT,
        Placement.KEPT,
        Placement.REPEAT,
        Placement.REPEAT,
        Placement.KEPT,
    ]
    assert content(track) == packet(1) + packet(2) + packet(3)
    assert track.same_time == 2


def test_repeats_are_known_wherever_a_correction_has_put_them() -> None:
    track = new_track()
    times = [20 * number + (60 if number > 20 else 0) for number in range(80)]
    for number, at_ms in enumerate(times):
        place(track, at_ms, number)
    assert track.inserted_bytes
    before = content(track)
    assert {place(track, at_ms, number) for number, at_ms in enumerate(times)} == {Placement.REPEAT}
    assert content(track) == before


def test_after_65_s_a_repeat_is_recognised_by_its_place() -> None:
    track = new_track()
    for number in range(3300):
        place(track, 20 * number, number)
    other = [place(track, at_ms, 77) for at_ms in (0, 960, 980, 65_000)]
    assert other == [Placement.REPEAT, Placement.REPEAT, Placement.CUT, Placement.CUT]
    assert track.cut_bytes == 2 * len(packet(77))


def test_the_last_packets_of_a_silent_participant_are_remembered() -> None:
    track = new_track()
    for number in range(100):
        place(track, 20 * number, number)
    track.settle(START_MS + 3_600_000)
    size = track.end
    assert {place(track, 20 * number, number) for number in range(100)} == {Placement.REPEAT}
    assert track.end == size


def test_memory_for_repeats_is_bounded() -> None:
    recent = RecentPackets()
    for number in range(200_000):
        recent.keys.append((START_MS + number) ^ hash(number.to_bytes(4, "big")))
        if number % 100 == 0:
            recent.settle(START_MS + number)
    newest_ms = START_MS + 199_999
    recent.settle(newest_ms)
    assert len(recent) <= 16_384
    known = [number for number in range(200_000) if recent.knows(START_MS + number, newest_ms)]
    assert len(known) > 10_000
    assert all(recent.holds(START_MS + number, number.to_bytes(4, "big"), newest_ms) for number in known)


def test_late_by_more_than_100_ms_fills_only_what_is_not_written() -> None:
    track = new_track()
    place(track, 0, 0, ms=300)
    assert place(track, 150, 1, ms=200) is Placement.KEPT
    assert content(track) == packet(0, 300) + packet(1, 50)
    assert track.cut_bytes == 16 * 150


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
        place(track, 200 * number, number)
    assert len(track.holes) <= 64
    assert place(track, 499 * 200 - 50, 1) is Placement.KEPT
    assert place(track, 50, 1) is Placement.REPEAT  # so old a hole is forgotten: counted, never written over


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
