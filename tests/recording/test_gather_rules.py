"""What is taken of which part, what is missing in all, and how audio fits at the seams: against simple models."""

import random
from array import array
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.gather.audio import join_clips
from rtmsd.recording.gather.clips import WavClip
from rtmsd.recording.gather.coverage import PartTimes, missing_behind, missing_in_all
from rtmsd.recording.gather.lines import join_lines, time_of_event, time_of_text
from rtmsd.recording.gather.pieces import Run, choose
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat, WavHeader
from rtmsd.recording.timeline.gaps import AT_ONCE_MS, CONTIGUOUS_MS, Gap
from rtmsd.recording.timeline.intervals import IntervalSet

T: Final = 1_790_000_000_000
PCM: Final = PcmFormat(8000, 1)


def spans() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 59), st.integers(1, 40)).map(span), max_size=4)


def span(start_and_length: tuple[int, int]) -> tuple[int, int]:
    start, length = start_and_length
    return start, min(start + length, 60)


def instants(parts: Any) -> set[int]:
    return {at for start, stop in parts for at in range(start, min(int(stop), 60) if stop != float("inf") else 60)}


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), spans()), max_size=5))
def test_each_instant_is_taken_once_of_the_earliest_epoch(clips: list[tuple[int, int, list[tuple[int, int]]]]) -> None:
    runs = [Run(epoch, clip, *part) for epoch, clip, parts in clips for part in parts]
    pieces = choose(runs)
    assert pieces == sorted(pieces)
    taken = Counter(at for piece in pieces for at in range(piece.from_ms, piece.to_ms))
    assert set(taken) == instants((run.from_ms, run.to_ms) for run in runs)
    assert set(taken.values()) <= {1}
    for piece in pieces:
        assert piece.run.from_ms <= piece.from_ms < piece.to_ms <= piece.run.to_ms
        for at in range(piece.from_ms, piece.to_ms):
            assert piece.run.epoch == min(run.epoch for run in runs if run.from_ms <= at < run.to_ms)


gap_lists = st.lists(
    st.builds(
        lambda part, is_open, user_id, cause: Gap(
            "audio", user_id, part[0], float("inf") if is_open else part[1], cause
        ),
        st.tuples(st.integers(0, 59), st.integers(1, 40)).map(span),
        st.booleans(),
        st.sampled_from([None, 5, 6]),
        st.sampled_from(["dropped", "daemon_restart"]),
    ),
    max_size=4,
)
part_times = st.builds(
    lambda connected, gaps, elsewhere: PartTimes(connected={"audio": connected}, gaps=gaps, elsewhere=elsewhere),
    spans(),
    gap_lists,
    spans(),
)


@given(
    st.lists(part_times, min_size=1, max_size=3),
    spans(),
    st.dictionaries(st.sampled_from([5, 6]), spans().map(IntervalSet)),
)
def test_a_time_is_missing_that_no_part_has(
    parts: list[PartTimes], pauses: list[tuple[int, int]], heard: dict[int | str, IntervalSet]
) -> None:
    missing = missing_in_all(parts, ["audio"], (0, 60), pauses=pauses, heard=heard)
    by_user = {
        user_id: Counter(
            at for gap in missing.gaps if gap.user_id == user_id for at in range(gap.from_ms, int(gap.to_ms))
        )
        for user_id in (None, 5, 6)
    }
    paused, absent = instants(pauses), instants(each for part in parts for each in part.elsewhere)
    came = instants(part for each in heard.values() for part in each)

    def lacks(part: PartTimes, at: int, user_id: int | None) -> bool:
        is_connected = any(start <= at < stop for start, stop in part.connected["audio"])
        gaps = [gap for gap in part.gaps if gap.user_id in {None, user_id}]
        return not is_connected or any(gap.from_ms <= at < gap.to_ms for gap in gaps)

    for at in range(60):
        nobody_has = at not in paused and all(lacks(part, at, None) for part in parts) and at not in came
        assert by_user[None][at] == (nobody_has and at not in absent)
        assert (at in instants(missing.elsewhere)) == (nobody_has and at in absent)
        for user_id in (5, 6):
            is_named = any(gap.user_id == user_id for part in parts for gap in part.gaps)
            is_heard = any(start <= at < stop for start, stop in heard.get(user_id, ()))
            is_missing = at not in paused and all(lacks(part, at, user_id) for part in parts) and not is_heard
            expected = is_named and is_missing and not by_user[None][at] and at not in absent
            assert by_user[user_id][at] == expected


def test_the_cause_is_that_of_a_gap_with_an_end_before_one_without() -> None:
    first = PartTimes(connected={"audio": [(0, 10)]}, gaps=[Gap("audio", None, 10, float("inf"), "daemon_restart")])
    second = PartTimes(
        connected={"audio": [(30, 40), (45, 60)]}, gaps=[Gap("audio", None, 40, 45, GapCause.MEDIA_RECONNECT)]
    )
    found = missing_in_all([first, second], ["audio"], (0, 60)).gaps
    assert sorted((gap.from_ms, gap.to_ms, gap.cause) for gap in found) == [
        (10, 30, "daemon_restart"),
        (40, 45, "media_reconnect"),
    ]


# Lines


def test_lines_come_in_the_order_of_time_and_once() -> None:
    def said(at_ms: int, text: str, received_ms: int = 0) -> dict[str, Any]:
        return {"timestamp_ms": at_ms, "text": text, "received_ms": received_ms}

    one = [said(10, "a"), said(40, "d"), said(30, "late")]
    two = [said(10, "a", 7), said(20, "b"), said(50, "e"), said(50, "e")]
    assert [line["text"] for line in join_lines([one, two], time_of_text)] == ["a", "b", "d", "late", "e", "e"]


def test_what_members_say_of_themselves_is_no_repeat() -> None:
    def event(kind: str, zoom_ms: int | None, at_ms: int = 0) -> dict[str, Any]:
        return {"at_ms": at_ms, "kind": kind, "zoom_ms": zoom_ms}

    one = [event("stream_state", None), event("participant_join", 10), event("connection", 10)]
    two = [event("stream_state", None, 98), event("participant_join", 10, 99), event("connection", 10, 99)]
    kinds = [line["kind"] for line in join_lines([one, two], time_of_event)]
    assert kinds == ["stream_state", "participant_join", "connection", "stream_state", "connection"]


# Seams


def voice(samples: int, seed: int) -> "array[int]":
    return array("h", random.Random(seed).choices(range(1, 32_000), k=samples))


def clip(path: Path, start_ms: int, samples: "array[int]") -> WavClip:
    """A file that begins at a time after T."""
    header = WavHeader(pcm=PCM, start_ms=T + start_ms, stream_started_ms=T, owner=5)
    size_bytes = HEADER_BYTES + 2 * len(samples)
    path.write_bytes(header.encode(size_bytes) + samples.tobytes())
    return WavClip(path, header, size_bytes)


def joined(directory: Path, clips: list[tuple[int, WavClip]]) -> "array[int]":
    maker = FileMaker(directory, Backlog(2**40))
    runs = [
        Run(epoch, number, from_ms, int(to_ms))
        for number, (epoch, each) in enumerate(clips)
        for from_ms, to_ms in each.runs()
    ]
    entry, _ = join_clips(runs, [each for _, each in clips], Disk(directory.parent), maker, T)
    return array("h", (directory / entry.path).read_bytes()[HEADER_BYTES:])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shifts=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    ends=st.tuples(st.integers(1500, 3000), st.integers(0, 3000)),
)
def test_nothing_is_lost_or_there_twice_at_a_seam(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shifts: tuple[int, int], ends: tuple[int, int]
) -> None:
    """Two parts have the same voice, each stored a little beside its time, as jitter may bring it about."""
    root = tmp_path_factory.mktemp("seam")
    first_end_ms, second_start_ms = ends[0], min(ends)
    whole = voice(8 * 4000, seed)
    first = clip(root / "first.wav", 100 + shifts[0], whole[: 8 * first_end_ms])
    second = clip(root / "second.wav", 100 + shifts[1] + second_start_ms, whole[8 * second_start_ms :])
    found = joined(root / "joined", [(1, first), (2, second)])
    kept = array("h", [sample for sample in found if sample])
    assert kept == whole


def test_holes_of_one_part_are_filled_by_the_other(tmp_path: Path) -> None:
    whole = voice(8 * 10_000, 1)
    holed, other = array("h", whole), array("h", bytes(2 * len(whole)))
    for start_ms in range(500, 10_000, 700):
        for at in range(8 * start_ms, 8 * min(start_ms + 300, 10_000)):
            other[at], holed[at] = whole[at], 0
    clips = [(1, clip(tmp_path / "a.wav", 0, holed)), (2, clip(tmp_path / "b.wav", 0, other))]
    assert joined(tmp_path / "joined", clips) == whole


def test_silence_takes_no_space_and_keeps_its_length(tmp_path: Path) -> None:
    silent = array("h", bytes(2 * 8 * 60_000))
    found = joined(tmp_path / "joined", [(1, clip(tmp_path / "a.wav", 0, silent))])
    assert len(found) == len(silent)
    (path,) = (tmp_path / "joined").rglob("*.wav")
    assert path.stat().st_blocks * 512 < len(silent)


@given(
    st.integers(0, 500),
    st.dictionaries(
        st.sampled_from([5, 6, 7]), st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300)), max_size=4)
    ),
    st.sampled_from(["node_takeover", "media_reconnect", "dropped"]),
)
def test_who_is_back_right_behind_another_lacks_the_time_of_their_first_packet(
    back: int, said: dict[int, list[tuple[int, int]]], cause: str
) -> None:
    heard: dict[int | str, IntervalSet] = {
        user_id: IntervalSet((back + at, back + at + long) for at, long in parts) for user_id, parts in said.items()
    }
    found = list(missing_behind([Gap("audio", None, back - 50, back, cause)], heard))
    firsts = {user_id: min(parts)[0] for user_id, parts in said.items() if parts}
    is_back = 0 in firsts.values() and cause != "dropped"
    assert found == [
        Gap("audio", user_id, back, back + first, cause)
        for user_id, first in firsts.items()
        if is_back and CONTIGUOUS_MS <= first < AT_ONCE_MS
    ]
