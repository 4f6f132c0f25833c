"""Notices of the limit of concurrent streams: a warning and figures for an hour, whatever a notice holds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.webhook.concurrency import COUNTS_S, LIMITED, NEAR_LIMIT, Concurrency

NOW_S = 1_790_000_000.0
NEAR = {"concurrency_limit": 2000, "concurrency_number": 1604, "percentage": 80}


def test_a_notice_counts_for_an_hour() -> None:
    known = Concurrency()
    known.take("main", NEAR_LIMIT, NEAR, NOW_S)
    assert known.gauge(["main", "care"], NOW_S + COUNTS_S - 1) == {
        ("main", "number"): 1604,
        ("main", "limit"): 2000,
        ("care", "number"): 0,
        ("care", "limit"): 0,
    }
    [warning] = known.warnings(NOW_S + COUNTS_S - 1)
    assert warning == (
        "app 'main': the limit of concurrent streams, at which Zoom starts no new one, is near, at 1604 of 2000 streams"
    )
    assert known.warnings(NOW_S + COUNTS_S) == []
    assert set(known.gauge(["main"], NOW_S + COUNTS_S).values()) == {0}


def test_a_limit_that_is_reached_keeps_the_limit_named_before() -> None:
    known = Concurrency()
    known.take("main", NEAR_LIMIT, NEAR, NOW_S)
    known.take("main", LIMITED, {"concurrency_number": "2001", "id_field": {"session_id": "s"}}, NOW_S + 1)
    [warning] = known.warnings(NOW_S + 1)
    assert "is reached, at 2001 of 2000 streams" in warning
    assert known.gauge(["main"], NOW_S + 1) == {("main", "number"): 2001, ("main", "limit"): 2000}


@given(
    number=st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.floats(),
    limit=st.none() | st.integers() | st.text() | st.booleans(),
)
def test_whatever_a_notice_holds(number: Any, limit: Any) -> None:
    known = Concurrency()
    known.take("main", LIMITED, {"concurrency_number": number, "concurrency_limit": limit}, NOW_S)
    assert len(known.warnings(NOW_S)) == 1
    assert all(value >= 0 for value in known.gauge(["main"], NOW_S).values())


@pytest.mark.parametrize("event", [LIMITED, NEAR_LIMIT])
def test_an_empty_notice_is_one(event: str) -> None:
    known = Concurrency()
    known.take("main", event, {}, NOW_S)
    assert known.warnings(NOW_S)
