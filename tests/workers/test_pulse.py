"""The judgement whether a worker hangs, and the delay before it is started again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.workers.pulse import Backoff, Pulse


def is_steady(pulse: Pulse) -> bool:
    return pulse.is_steady


def hangs(pulse: Pulse) -> bool:
    return pulse.hangs


def beats(pulse: Pulse, number: int, now_s: float, *, every_s: float | None = None) -> float:
    for _ in range(number):
        pulse.ask(now_s)
        now_s += pulse.beat_s if every_s is None else every_s
    return now_s


def test_who_answers_is_steady_and_does_not_hang() -> None:
    pulse, now_s = Pulse(8.0), 0.0
    for _ in range(100):
        number = pulse.ask(now_s)
        pulse.answered(number)
        now_s += pulse.beat_s
        assert is_steady(pulse)
        assert not hangs(pulse)


def test_who_does_not_answer_is_unsteady_after_half_of_the_time_and_hangs_after_all_of_it() -> None:
    pulse = Pulse(8.0)
    assert pulse.beat_s == 1.0
    now_s = beats(pulse, 5, 0.0)
    assert is_steady(pulse)
    now_s = beats(pulse, 1, now_s)
    assert not is_steady(pulse)
    now_s = beats(pulse, 3, now_s)
    assert not hangs(pulse)
    beats(pulse, 1, now_s)
    assert hangs(pulse)


def test_time_in_which_the_parent_stood_still_does_not_count() -> None:
    pulse = Pulse(8.0)
    now_s = beats(pulse, 2, 0.0)
    beats(pulse, 1, now_s + 3600)
    assert is_steady(pulse)
    assert not hangs(pulse)


@pytest.mark.parametrize("number", [0, -1, 2, 10**9])
def test_an_answer_to_no_question_is_none(number: int) -> None:
    pulse = Pulse(8.0)
    beats(pulse, 2, 0.0)
    pulse.answered(2)
    now_s = beats(pulse, 6, 2.0)
    pulse.answered(number)
    beats(pulse, 4, now_s)
    assert hangs(pulse)


@given(st.lists(st.floats(0.0, 100.0), max_size=30), st.floats(0.2, 100.0))
def test_no_course_of_times_makes_one_hang_that_answers_each_question(pauses_s: list[float], limit_s: float) -> None:
    pulse, now_s = Pulse(limit_s), 0.0
    for pause_s in pauses_s:
        number = pulse.ask(now_s)
        assert not hangs(pulse)
        pulse.answered(number)
        now_s += pause_s


@given(st.lists(st.floats(0.0, 60.0), min_size=1, max_size=30))
def test_the_delay_grows_while_lives_are_short(lives_s: list[float]) -> None:
    backoff = Backoff()
    delay_s: float | None = None
    for number, lived_s in enumerate(lives_s):
        before_s, delay_s = delay_s, backoff.next_s(delay_s, lived_s)
        assert backoff.first_s <= delay_s <= backoff.most_s
        if number == 0 or lived_s >= backoff.steady_s:
            assert delay_s == backoff.first_s
        else:
            assert before_s is not None
            assert delay_s == min(2 * before_s, backoff.most_s)
