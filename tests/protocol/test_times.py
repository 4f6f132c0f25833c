"""Zoom's times in every unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.times import normalise_ms, transcript_ms

NOW_MS = 1_790_000_000_123


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOW_MS, NOW_MS),
        (NOW_MS // 1000, NOW_MS // 1000 * 1000),
        (NOW_MS * 1000 + 7, NOW_MS),
        (NOW_MS * 1_000_000 + 7, NOW_MS),
        (10**9, 10**12),
        (10**11, 10**11),
        (10**14, 10**11),
        (10**17, 10**11),
        (10**9 - 1, NOW_MS + 10**9 - 1),
        (0, NOW_MS),
        (-1, None),
    ],
)
def test_the_unit_is_told_by_the_size(value: int, expected: int | None) -> None:
    assert normalise_ms(value, NOW_MS) == expected


def test_an_offset_needs_an_origin() -> None:
    assert normalise_ms(5000) is None
    assert transcript_ms(5000) is None


@given(st.integers(0, 10**11 - 1))
def test_a_small_transcript_time_is_an_offset(offset_ms: int) -> None:
    assert transcript_ms(offset_ms, NOW_MS) == NOW_MS + offset_ms


@given(st.integers(-(2**63), -1) | st.integers(10**11, 2**63))
def test_other_transcript_times_are_as_all_times(value: int) -> None:
    assert transcript_ms(value, NOW_MS) == normalise_ms(value, NOW_MS)
