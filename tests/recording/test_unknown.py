"""The record of what this version does not know: kept up to a bound, counted by names, which are bounded, too."""

from collections import Counter
from typing import Any
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from rtmsd.protocol.unknown import WHOLE, Unknown, UnknownKind
from rtmsd.recording.manifest.unknown_counts import MAX_NAMES, OTHERS, UnknownCounts
from rtmsd.recording.unknown import MAX_KEPT, UnknownLog

SECRET = {"phone_number": "+49 30 1234567"}
things = st.builds(Unknown, st.sampled_from(UnknownKind), st.integers(0, 150).map(lambda number: f"message_{number}"))


def log_of(counts: UnknownCounts) -> tuple[UnknownLog, list[tuple[str, dict[str, Any]]]]:
    lines: list[tuple[str, dict[str, Any]]] = []
    events = Mock()
    events.write = lambda kind, _zoom_ms, fields: lines.append((kind, fields))
    return UnknownLog(events, counts), lines


@given(seen=st.lists(things, max_size=400), earlier=st.dictionaries(st.sampled_from(["message_1", "x"]), st.just(2)))
def test_all_is_counted_once_and_by_a_bounded_number_of_names(seen: list[Unknown], earlier: dict[str, int]) -> None:
    counts = UnknownCounts(earlier)
    for what in seen:
        counts.add(what)
    assert counts.names.total() == len(seen) + sum(earlier.values())
    assert len(counts.names) <= MAX_NAMES + 1
    assert counts.kinds == Counter(what.kind for what in seen)
    assert counts.whole == sum(what.kind in WHOLE for what in seen)
    exact = Counter(earlier) + Counter(what.name for what in seen)
    assert all(count == exact[name] for name, count in counts.names.items() if name != OTHERS)


def test_the_log_has_each_name_once_and_nothing_else() -> None:
    unknown, lines = log_of(UnknownCounts({"message_40": 1}))
    with capture_logs() as logs:
        for number in (31, 31, 40, 32):
            unknown.take(Unknown(UnknownKind.MESSAGE, f"message_{number}"), SECRET)
    assert [entry["name"] for entry in logs] == ["message_31", "message_32"]
    assert "1234567" not in repr(logs)
    assert lines == [(f"message_{number}", SECRET) for number in (31, 31, 40, 32)]


def test_of_one_name_and_of_all_only_so_many_are_kept() -> None:
    counts = UnknownCounts({"before the restart": MAX_KEPT - 5, "keep_alive_req.new": 2 * MAX_KEPT})
    unknown, lines = log_of(counts)
    for _ in range(10):
        unknown.take(Unknown(UnknownKind.MESSAGE, "message_31"), {}, most=3)
    for _ in range(10):
        unknown.take(Unknown(UnknownKind.EVENT, "event_40"), {})
    assert Counter(kind for kind, _ in lines) == {"message_31": 3, "event_40": 2}
    assert (counts.names["message_31"], counts.names["event_40"]) == (10, 10)
