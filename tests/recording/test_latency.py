"""The latency of messages, from their socket to the disk."""

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.disk.latency import MAX_STEPS, Arrivals

READS = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), max_size=50)


@given(reads=READS)
def test_every_message_is_counted_once_and_to_a_millisecond(reads: list[tuple[float, int]]) -> None:
    arrivals = Arrivals()
    for at_s, messages in reads:
        arrivals.note(at_s, messages)
    latencies = sorted(latency_s for latency_s, messages in arrivals.take().latencies(200) for _ in range(messages))
    true = sorted(200 - at_s for at_s, messages in reads for _ in range(messages))
    assert len(latencies) == len(true)
    assert all(abs(one - other) <= 0.00101 for one, other in zip(latencies, true, strict=True))
    assert not list(arrivals.latencies(200))


@given(earlier=READS, later=READS)
def test_what_is_put_back_is_counted_with_what_came_meanwhile(
    earlier: list[tuple[float, int]], later: list[tuple[float, int]]
) -> None:
    arrivals, expected = Arrivals(), 0
    for at_s, messages in earlier:
        arrivals.note(at_s, messages)
        expected += messages
    taken = arrivals.take()
    for at_s, messages in later:
        arrivals.note(at_s, messages)
        expected += messages
    arrivals.put_back(taken)
    assert sum(messages for _, messages in arrivals.latencies(200)) == expected


def test_a_disk_that_refuses_for_ever_takes_no_memory_for_ever() -> None:
    arrivals = Arrivals()
    for second in range(MAX_STEPS + 100):
        arrivals.note(second, 2)
    latencies = list(arrivals.latencies(MAX_STEPS + 100))
    assert len(latencies) == MAX_STEPS
    assert sum(messages for _, messages in latencies) == 2 * (MAX_STEPS + 100)
