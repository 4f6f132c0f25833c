"""Whose clock differs: told by beats that went the same way at the same time, whatever that took."""

import pytest

from rtmsd.cluster.life.clocks import MOST_S, Clocks
from rtmsd.cluster.records import Beat

T0_MS = 1_790_000_000_000


def beat(node: str, at_s: float) -> Beat:
    return Beat(node=node, incarnation=node, n=1, at_ms=T0_MS + int(at_s * 1000))


@pytest.fixture
def clocks() -> Clocks:
    return Clocks(recent_s=2.0)


@pytest.mark.parametrize("off_s", [-3600.0, -MOST_S - 1, MOST_S + 1, 3600.0])
def test_a_clock_that_differs_is_said_once(clocks: Clocks, off_s: float) -> None:
    clocks.hear(beat("b", off_s), 100)
    assert clocks.echo(beat("a", 0), 100) == {"b": off_s}
    clocks.hear(beat("b", off_s + 1), 101)
    assert clocks.echo(beat("a", 1), 101) == {}
    assert clocks.off_s == {"b": off_s}


@pytest.mark.parametrize("off_s", [-MOST_S, 0.0, MOST_S])
def test_a_clock_that_is_set_right_is_no_trouble_any_more(clocks: Clocks, off_s: float) -> None:
    clocks.hear(beat("b", 40), 100)
    clocks.echo(beat("a", 0), 100)
    clocks.hear(beat("b", off_s), 101)
    assert clocks.echo(beat("a", 0), 101) == {}
    assert clocks.off_s == {}


def test_who_was_not_heard_since_keeps_its_judgement(clocks: Clocks) -> None:
    clocks.hear(beat("b", 40), 100)
    clocks.echo(beat("a", 0), 100)
    assert clocks.echo(beat("a", 1), 101) == {}
    assert clocks.off_s == {"b": 40}
    clocks.forget("b")
    assert clocks.off_s == {}


def test_what_was_heard_before_an_outage_is_not_compared_with_what_comes_after(clocks: Clocks) -> None:
    clocks.hear(beat("b", 0), 100)
    assert clocks.echo(beat("a", 600), 700) == {}
