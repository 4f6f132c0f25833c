"""The count of open file descriptors: how often it is made, and that nothing is promised twice meanwhile."""

import pytest

from rtmsd.streams.descriptors import Descriptors

STREAM = 2  # connections of each


class Counted(Descriptors):
    """A number of descriptors, some of them open. Counts how often somebody looks."""

    def __init__(self, limit: int, used: int) -> None:
        super().__init__()
        self.looks = 0
        self.open = used
        self._limit = limit

    @property
    def limit(self) -> int:
        return self._limit

    def used(self) -> int:
        self.looks += 1
        return self.open


def test_many_starts_at_once_share_a_look() -> None:
    descriptors = Counted(limit=100_000, used=100)
    assert [descriptors.shortage(STREAM, ()) for _ in range(100)] == [None] * 100
    assert descriptors.looks <= 2


@pytest.mark.parametrize("limit", [200, 400, 2000])
def test_no_more_begin_than_there_is_room_for(limit: int) -> None:
    descriptors = Counted(limit=limit, used=20)
    begun = 0
    while descriptors.shortage(STREAM, ()) is None:
        begun += 1
        descriptors.open += STREAM + 2
    assert begun == (limit - 20 - descriptors.reserve) // (STREAM + 2)


def test_whoever_asks_for_others_too_looks() -> None:
    descriptors = Counted(limit=1000, used=20)
    assert descriptors.shortage(STREAM, ()) is None
    descriptors.open = 990
    assert descriptors.shortage(STREAM, (), 1) is not None
    assert descriptors.shortage(STREAM, ()) is not None  # and what it saw counts


def test_a_limit_that_was_lowered_counts_at_once() -> None:
    descriptors = Counted(limit=100_000, used=100)
    assert descriptors.shortage(STREAM, ()) is None
    descriptors._limit = 110
    assert descriptors.shortage(STREAM, ()) is not None
