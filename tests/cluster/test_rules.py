"""Ranking and placement: the same for all, fair, and never somebody without room."""

from collections import Counter
from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.cluster.engine import Placed
from rtmsd.cluster.records import Beat, Log, MemberState, Part, PartState
from rtmsd.cluster.rules import AWAITS, awaited, has_room, least_loaded, place, rank, without_repeats
from tests.cluster.strategies import IDS, NODES, PARTS, VALUES


def member(node: str, streams: int = 0, capacity: int = 10, state: MemberState = MemberState.UP) -> Beat:
    return Beat(node=node, incarnation=f"life-of-{node}", n=1, streams=streams, capacity=capacity, state=state)


MEMBERS = st.lists(
    st.builds(member, NODES, st.integers(0, 12), st.integers(0, 10), st.sampled_from(MemberState)),
    max_size=8,
    unique_by=lambda each: each.node,
)
GIVEN = st.dictionaries(NODES, st.integers(0, 3))


# Ranking


def test_a_rank_that_must_never_change() -> None:
    """Members of different versions have to agree."""
    assert rank(["a", "b", "c"], "a+b/c==") == ["b", "a", "c"]


@given(nodes=st.lists(NODES, unique=True, min_size=1, max_size=8), stream=IDS, data=st.data())
def test_ranks_are_the_same_for_all_and_when_others_come_or_go(
    nodes: list[str], stream: str, data: st.DataObject
) -> None:
    ranked = rank(nodes, stream)
    assert sorted(ranked) == sorted(nodes)
    assert rank(data.draw(st.permutations(nodes)), stream) == ranked
    left = data.draw(st.sampled_from(nodes))
    assert rank([node for node in nodes if node != left], stream) == [node for node in ranked if node != left]


def test_streams_of_a_dead_member_are_spread_over_the_others() -> None:
    first, second = Counter[str](), Counter[str]()
    for number in range(3000):
        best, next_best, *_ = rank(["a", "b", "c", "d"], f"stream-{number}")
        first[best] += 1
        if best == "a":
            second[next_best] += 1
    assert all(650 < count < 850 for count in first.values())
    assert all(180 < second[node] < 320 for node in "bcd")


# Placement


@given(members=MEMBERS, here=NODES, given_=GIVEN, seed=st.integers(0, 1000))
def test_a_stream_is_placed_where_there_is_room_and_nowhere_else(
    members: list[Beat], here: str, given_: dict[str, int], seed: int
) -> None:
    rooms = {each.node for each in members if has_room(each, given_.get(each.node, 0))}
    for chosen in (place(members, Random(seed), given_), least_loaded(members, here, given_)):
        assert chosen in rooms if rooms else chosen is None


@given(members=MEMBERS, here=NODES, given_=GIVEN)
def test_nobody_with_room_has_less_load_than_the_least_loaded(
    members: list[Beat], here: str, given_: dict[str, int]
) -> None:
    def load(each: Beat) -> tuple[float, bool, str]:
        return (each.streams + given_.get(each.node, 0)) / each.capacity, each.node != here, each.node

    rooms = [each for each in members if has_room(each, given_.get(each.node, 0))]
    assert least_loaded(members, here, given_) == (min(rooms, key=load).node if rooms else None)


def test_of_equals_the_one_that_asks_is_chosen() -> None:
    members = [member("1"), member("2"), member("3", streams=1)]
    assert least_loaded(members, "2") == "2"
    assert least_loaded(members, "3") == "1"
    assert least_loaded(members, "2", {"2": 1}) == "1"


@pytest.mark.parametrize("others", [1, 5])
def test_of_two_random_ones_the_less_loaded_is_chosen(others: int) -> None:
    """The most loaded is never chosen, and the least loaded not always."""
    members = [member("most", streams=9), member("least"), *(member(f"m{n}", streams=5) for n in range(others))]
    chosen = Counter(place(members, Random(seed)) for seed in range(300))
    assert chosen["most"] == 0
    assert chosen["least"] > 300 / (others + 2)
    assert sum(chosen[f"m{n}"] for n in range(others)) > 30


def test_what_was_just_given_counts() -> None:
    """Else all that come within a beat would go to the same member."""
    members = [member(node, capacity=1000) for node in "abcd"]
    given_: Counter[str] = Counter()
    random = Random(1)
    for _ in range(400):
        given_[place(members, random, given_) or ""] += 1
    assert max(given_.values()) - min(given_.values()) <= 4
    assert place([member("a", streams=9)], random, {"a": 1}) is None


@pytest.mark.parametrize("state", [MemberState.STARTING, MemberState.DRAINING])
def test_who_starts_or_drains_takes_nothing(state: MemberState) -> None:
    assert not has_room(member("a", state=state))
    assert place([member("a", state=state)], Random(1)) is None
    assert least_loaded([member("a", state=state)], "a") is None


# Logs


@given(data=st.data())
def test_lines_that_were_appended_again_are_read_once(data: st.DataObject) -> None:
    """Whatever answers were lost, over several tenures."""
    appended: list[Log] = []
    for token in data.draw(st.lists(st.integers(1, 50), unique=True, max_size=4).map(sorted)):
        count = data.draw(st.integers(0, 4))
        appended += [
            Log(rtms_stream_id="s", token=token, n=n, lines={"events": (f"{token}-{n}",)}) for n in range(count)
        ]
    stored = [log for log in appended for _ in range(data.draw(st.integers(1, 3)))]
    assert [*without_repeats(Placed(place, log) for place, log in enumerate(stored))] == appended


def test_a_beat_says_what_a_candidate_has_to_say() -> None:
    beat = member("a", streams=3)
    assert has_room(beat)
    assert not has_room(attrs.evolve(beat, capacity=3))


# Confirmations


@given(parts=st.lists(PARTS, max_size=5), named=VALUES, nodes=st.lists(NODES))
def test_awaited_is_whoever_is_named_and_has_not_confirmed(parts: list[Part], named: object, nodes: list[str]) -> None:
    parts = [attrs.evolve(part, more={AWAITS: each}) for part, each in zip(parts, [named, nodes] * 3, strict=False)]
    found = awaited(parts)
    confirmed = {part.node for part in parts if part.state is PartState.DELETED}
    assert not found & confirmed
    assert found >= {part.node for part in parts} - confirmed
    if len(parts) > 1 and parts[1].state is PartState.DELETED:
        assert found >= set(nodes) - confirmed
