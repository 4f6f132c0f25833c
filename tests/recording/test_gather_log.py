"""Lines that no part has any more, out of the engine's log: each in its place and once, and what they show of gaps."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.recording.gather.coverage import logged_times
from rtmsd.recording.gather.lines import Line, Logged, fill, join_lines, time_of_event, time_of_text
from rtmsd.recording.gather.sources import EngineLog

T: Final = 1_790_000_000_000


def utterance(number: int, at_ms: int, node: int = 0) -> Line:
    """A line as one member wrote it: others received it at another time."""
    return {
        "user_id": 5,
        "user_name": f"Ana at {node}",
        "text": f"said {number}",
        "start_ms": None,
        "end_ms": None,
        "timestamp_ms": T + at_ms,
        "attribute": 0,
        "received_ms": T + at_ms + node,
    }


def event(number: int, at_ms: int, node: int = 0) -> Line:
    """Every third is of the member itself, without Zoom's time."""
    zoom_ms = None if number % 3 == 1 else T + at_ms
    return {"at_ms": T + number * 10 + node, "kind": "said", "zoom_ms": zoom_ms, "number": number}


@attrs.frozen
class Course:
    """Attributes:
    times: of all that was said.
    tenures: what each owner received of it, by number; it may begin with what the one before had, too.
    lost: by tenure, what is not in the part any more.
    appends: how many lines each append has, which are repeated as the answer was lost.
    """

    times: list[int]
    tenures: list[range]
    lost: list[set[int]]
    appends: list[tuple[int, bool]]

    def log(self, stem: str, make: Callable[[int, int, int], Line]) -> Iterable[Logged]:
        appends, place = iter(self.appends * 100), 0
        for token, received in enumerate(self.tenures, 1):
            left, n = list(received), 0
            while left:
                count, is_repeated = next(appends)
                lines = tuple(json.dumps(make(number, self.times[number], token)) for number in left[:count])
                for _ in range(1 + is_repeated):
                    place += 1
                    yield Logged(place, 10 * token, n, {stem: lines})
                left, n = left[count:], n + 1

    def parts(self, make: Callable[[int, int, int], Line]) -> list[list[Line]]:
        """Return what each owner's part still has."""
        return [
            [make(number, self.times[number], token) for number in received if number not in lost]
            for token, (received, lost) in enumerate(zip(self.tenures, self.lost, strict=True), 1)
        ]


@st.composite
def courses(draw: st.DrawFn, *, overlap: bool) -> Course:
    steps = draw(st.lists(st.integers(1 if overlap else 0, 3), min_size=1, max_size=30))
    cuts = sorted(draw(st.sets(st.integers(0, len(steps)), max_size=4)) | {0, len(steps)})
    for start in cuts[:-1]:
        steps[start] += 1  # between two owners some time goes by
    tenures = [
        range(max(0, start - (draw(st.integers(0, 4)) if overlap else 0)), stop) for start, stop in pairwise(cuts)
    ]
    return Course(
        times=[sum(steps[: number + 1]) for number in range(len(steps))],
        tenures=tenures,
        lost=[draw(st.sets(st.sampled_from(received))) for received in tenures],
        appends=draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=9)),
    )


def copied(path: Path, log: Iterable[Logged]) -> EngineLog:
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in log) + b'{"place": 7, "tok')
    return EngineLog(path)


@settings(max_examples=60, deadline=None)
@given(course=courses(overlap=True) | courses(overlap=False))
def test_whatever_parts_have_lost_all_that_was_said_is_there_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, course: Course
) -> None:
    log = copied(tmp_path_factory.mktemp("log") / "log", course.log("transcript", utterance))
    parts = course.parts(utterance)
    filled, count = fill(join_lines(parts, time_of_text), log.lines("transcript.jsonl"), time_of_text)
    assert [line["text"] for line in filled] == [f"said {number}" for number in range(len(course.times))]
    in_parts = {line["text"] for lines in parts for line in lines}
    assert count == len(course.times) - len(in_parts)


@settings(max_examples=60, deadline=None)
@given(course=courses(overlap=False))
def test_events_are_there_once_and_those_of_one_member_in_order(
    tmp_path_factory: pytest.TempPathFactory, course: Course
) -> None:
    log = copied(tmp_path_factory.mktemp("log") / "log", course.log("events", event))
    joined = join_lines(course.parts(event), time_of_event)
    filled, count = fill(joined, log.lines("events.jsonl"), time_of_event)
    numbers = [line["number"] for line in filled]
    assert sorted(numbers) == list(range(len(course.times)))
    assert count == len(numbers) - len(joined)
    for received in course.tenures:
        assert [number for number in numbers if number in received] == list(received)


@given(course=courses(overlap=True), data=st.data())
def test_what_the_log_lacks_is_where_it_was(course: Course, data: st.DataObject) -> None:
    """Nothing is moved or lost by a log that has holes of its own."""
    log = [each for each in course.log("transcript", utterance) if data.draw(st.booleans())]
    joined = join_lines(course.parts(utterance), time_of_text)
    filled, _ = fill(joined, [(each.token, line) for each in log for line in each.of("transcript.jsonl")], time_of_text)
    assert [line for line in filled if line in joined] == joined
    assert filled == sorted(filled, key=lambda line: line["timestamp_ms"])


def test_lines_of_several_members_that_no_part_has_are_in_the_order_of_time() -> None:
    """The log lacks what the first one had of the earlier one."""
    last = utterance(3, 30, node=2)
    log = [(1, utterance(2, 20, node=1)), (2, utterance(1, 10, node=2)), (2, utterance(2, 20, node=2)), (2, last)]
    filled, count = fill([last], log, time_of_text)
    assert ([line["text"] for line in filled], count) == (["said 1", "said 2", "said 3"], 2)


def test_what_a_part_writes_in_another_moment_than_it_publishes_is_no_other_event() -> None:
    damage = {"at_ms": 1, "kind": "file_damaged", "zoom_ms": None, "path": "transcript.jsonl"}
    opened = {"at_ms": 2, "kind": "connection", "zoom_ms": 5, "connection": 1, "media": ["audio"]}
    joined = [damage, {**opened, "connection": 7}]  # renumbered
    assert fill(joined, [(1, {**damage, "at_ms": 3}), (1, opened)], time_of_event) == (joined, 0)


def test_a_connection_that_the_manifest_does_not_have_has_no_number() -> None:
    closed = {"at_ms": 2, "kind": "connection", "zoom_ms": 5, "connection": 1, "change": "closed"}
    assert fill([], [(1, closed)], time_of_event) == ([{key: closed[key] for key in closed if key != "connection"}], 1)


def test_what_is_no_such_line_is_left_out() -> None:
    lines = ("", "[]", "{", '{"timestamp_ms": 1}', "[" * 10_000, json.dumps(utterance(1, 1)))
    assert [line["text"] for line in Logged(1, 1, 0, {"transcript": lines}).of("transcript.jsonl")] == ["said 1"]
    assert list(Logged(1, 1, 0, {"of_tomorrow": lines}).of("transcript.jsonl")) == []


# Times


def change(change: str, number: int, media: Sequence[str] = ("audio", "transcript")) -> Line:
    return {"at_ms": 1, "kind": "connection", "zoom_ms": 1, "connection": number, "media": [*media], "change": change}


def appended(n: int, *lines: Line, token: int = 1) -> Logged:
    by_stem: dict[str, list[str]] = {}
    for line in lines:
        by_stem.setdefault("events" if "kind" in line else "transcript", []).append(json.dumps(line))
    return Logged(n + 1, token, n, {stem: tuple(each) for stem, each in by_stem.items()})


def times(*log: Logged) -> list[tuple[int, int]]:
    return [(from_ms - T, to_ms - T) for from_ms, to_ms in logged_times(log)]


OPENED: Final = appended(0, change("opened", 2))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ([OPENED, appended(1, utterance(1, 10)), appended(2, utterance(2, 30))], [(10, 30)]),
        ([appended(0, change("opened", 2), utterance(1, 10), utterance(2, 30))], [(10, 30)]),
        ([appended(0, utterance(1, 10)), appended(1, utterance(2, 30))], []),  # events are not kept there
        ([appended(7, utterance(1, 10)), appended(8, utterance(2, 30))], []),  # what came before has aged out
        ([OPENED, appended(1, utterance(1, 10)), appended(3, utterance(2, 30)), appended(4, utterance(3, 40))], []),
        ([OPENED, appended(1, utterance(1, 10)), appended(0, utterance(2, 30), token=2)], []),
        (
            [
                OPENED,
                appended(1, utterance(1, 10), utterance(2, 20)),
                appended(2, change("closed", 2), utterance(3, 30)),
                appended(3, change("opened", 4), utterance(4, 40)),
                appended(4, utterance(5, 50)),
            ],
            [(10, 20), (40, 50)],
        ),
        (
            [
                OPENED,
                appended(1, utterance(1, 10), change("opened", 3, ["audio"])),
                appended(2, change("closed", 3, ["audio"])),
                appended(3, utterance(2, 20)),
            ],
            [(10, 20)],
        ),
        ([OPENED, appended(1, utterance(2, 30), utterance(1, 10))], []),
        ([appended(0, {**change("opened", 2), "media": 5}), appended(1, utterance(1, 1), utterance(2, 2))], []),
    ],
)
def test_the_log_has_the_transcript_between_lines_of_one_connection(
    log: list[Logged], expected: list[tuple[int, int]]
) -> None:
    assert times(*log) == expected


def test_two_connections_that_overlap_are_one() -> None:
    log = [
        OPENED,
        appended(1, utterance(1, 10), change("opened", 3)),
        appended(2, utterance(2, 20)),
        appended(3, change("closed", 2)),
        appended(4, utterance(3, 30)),
        appended(5, utterance(4, 40)),
    ]
    assert times(*log) == [(10, 20), (30, 40)]
