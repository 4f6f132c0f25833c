"""The buffer shared out among streams: bounded together, and one that cannot write leaves room for the others."""

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.shared_buffer import Buffer

LIMIT = 1 << 20


def fill(share: Backlog, size: int = 100) -> int:
    """Take messages until there is no room. Returns how many bytes that were."""
    before = share.pending_bytes
    while not share.full:
        share.pending_bytes += size
    return share.pending_bytes - before


def test_a_stream_that_is_alone_may_have_everything() -> None:
    share = Buffer(LIMIT).open_share()
    assert LIMIT <= fill(share) < LIMIT + 100
    assert share.full


def test_one_that_cannot_write_leaves_half_to_the_others() -> None:
    buffer = Buffer(LIMIT)
    sick, *healthy = [buffer.open_share() for _ in range(4)]
    assert LIMIT * 0.4 < fill(sick) < LIMIT * 0.51
    for _ in range(50):
        for share in healthy:
            for _ in range(LIMIT // 10 // 100):
                assert not share.full
                share.pending_bytes += 100
        for share in healthy:
            share.pending_bytes = 0
        buffer.shrink()
        assert sick.full


def test_all_that_cannot_write_end_with_about_the_same_and_a_newcomer_finds_room() -> None:
    buffer = Buffer(LIMIT)
    shares = [buffer.open_share() for _ in range(9)]
    while any(not share.full for share in shares):
        for share in shares:
            if not share.full:
                share.pending_bytes += 100
    sizes = [share.pending_bytes for share in shares]
    assert min(sizes) > LIMIT // 10 * 0.8
    assert max(sizes) < 1.3 * min(sizes)
    assert fill(buffer.open_share()) > LIMIT // 10 * 0.3


def test_the_share_of_a_stream_that_ended_is_free_again() -> None:
    buffer = Buffer(LIMIT)
    first, second = buffer.open_share(), buffer.open_share()
    fill(first)
    buffer.close_share(first)
    buffer.close_share(first)
    assert first.full
    assert fill(second) >= LIMIT
    assert buffer.pending_bytes == second.pending_bytes


@given(
    st.integers(1000, 10_000),
    st.lists(st.tuples(st.sampled_from(["open", "close", "take", "write", "shrink"]), st.integers(0, 5))),
)
def test_shares_never_add_up_to_more_than_there_is(limit_bytes: int, steps: list[tuple[str, int]]) -> None:
    buffer, shares = Buffer(limit_bytes), list[Backlog]()
    for what, number in steps:
        share = shares[number % len(shares)] if shares else None
        if what == "open":
            shares.append(buffer.open_share())
        elif what == "shrink":
            buffer.shrink()
        elif share is not None:
            if what == "close":
                shares.remove(share)
                buffer.close_share(share)
            elif what == "write":
                share.pending_bytes = 0
            elif not share.full:
                share.pending_bytes += 64
        assert sum(each.limit_bytes for each in shares) <= limit_bytes
        assert all(each.limit_bytes >= 0 for each in shares)
        assert all(each.pending_bytes < each.limit_bytes + 64 for each in shares)
    for share in shares:
        share.pending_bytes = 0
    buffer.shrink()
    assert all(not share.full for share in shares[:1])


def test_what_a_read_may_bring_is_the_same_for_all_however_many_come_and_go() -> None:
    buffer = Buffer(16 << 20)
    shares = [buffer.open_share() for _ in range(200)]
    assert len({share.read_bytes for share in shares}) == 1
    assert 0 < shares[0].read_bytes < 65_536
    for share in shares[1:]:
        buffer.close_share(share)
    assert shares[0].read_bytes == 65_536
