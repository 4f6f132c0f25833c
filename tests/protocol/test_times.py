"""Zoom's times in every unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.times import EARLIEST_MS, is_believable, normalise_ms, read_time, time_ms

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
def test_the_size_of_a_number_gives_its_unit(value: int, expected: int | None) -> None:
    assert normalise_ms(value, NOW_MS) == expected


def test_an_offset_needs_an_origin() -> None:
    assert normalise_ms(5000) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOW_MS, NOW_MS),
        (str(NOW_MS), NOW_MS),
        (float(NOW_MS), NOW_MS),
        (NOW_MS / 1000, NOW_MS),
        (f"{NOW_MS // 1000}.123", NOW_MS),
        (str(NOW_MS * 1000), NOW_MS),
        (NOW_MS * 1_000_000, NOW_MS),
    ],
)
def test_a_time_of_any_type_and_unit(value: object, expected: int) -> None:
    assert time_ms(value) == expected


@pytest.mark.parametrize("value", [None, True, "", "soon", "1e12", [NOW_MS], {}, -1, 2**63, float("nan"), 1e300])
def test_other_values_are_no_time(value: object) -> None:
    assert time_ms(value) is None


@given(st.integers(EARLIEST_MS, 4_000_000_000_000), st.sampled_from([1, 1000, 1_000_000]), st.sampled_from([int, str]))
def test_finer_units_and_strings_make_no_difference(ms: int, factor: int, kind: type) -> None:
    assert time_ms(kind(ms * factor)) == ms
    assert is_believable(ms)


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_anything_is_a_time_or_none(value: object) -> None:
    number = read_time(value)
    assert number is None or (type(number) is int and abs(number) < 2**63)


@pytest.mark.parametrize("ms", [0, NOW_MS // 1000, NOW_MS * 1000, EARLIEST_MS - 1])
def test_a_time_in_a_wrong_unit_is_not_believable(ms: int) -> None:
    assert not is_believable(ms)
