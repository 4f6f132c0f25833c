"""Tables that fit a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.ctl.table import GAP, MIN_LAST_WIDTH, chosen, pad, width_of, wrapped


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), min_size=1, max_size=12), st.integers(1, 200))
def test_what_is_chosen_fits_or_is_all_that_matters(columns: list[tuple[int, int]], width: int) -> None:
    widths, ranks = [each[0] for each in columns], [each[1] for each in columns]
    kept = chosen(widths, ranks, width)
    assert kept == sorted(kept)
    assert {index for index, rank in enumerate(ranks) if rank == 0} <= set(kept)
    cells = [min(widths[i], MIN_LAST_WIDTH) if i == len(widths) - 1 else widths[i] for i in kept]
    assert sum(cells) + len(GAP) * (len(cells) - 1) <= width or not any(ranks[i] for i in kept)
    left_out = [rank for index, rank in enumerate(ranks) if index not in kept]
    assert not left_out or min(left_out) >= max((ranks[i] for i in kept), default=0)


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=80), st.integers(2, 60))
def test_wrapping_loses_nothing_and_keeps_the_width(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert "".join(lines) == text
    assert all(width_of(line) <= width for line in lines)


def test_chinese_takes_two_cells_and_an_accent_none() -> None:
    assert [width_of(text) for text in ("ab", "会議", "e\u0301")] == [2, 4, 1]
    assert pad("会", 4, right=False) == "会  "
    assert pad("会", 4, right=True) == "  会"
