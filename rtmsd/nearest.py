"""The name that was probably meant by a mistyped beginning."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

CUTOFF: Final = 0.6  # of an id's first four characters one may be wrong


def nearest(beginning: str, names: Iterable[str]) -> str | None:
    """Return the name whose beginning is most like this one; None when none is like it."""
    beginnings = {name[: len(beginning)]: name for name in sorted(names, reverse=True)}
    near = get_close_matches(beginning, beginnings, n=1, cutoff=CUTOFF)
    return beginnings[near[0]] if near else None


def did_you_mean(beginning: str, names: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: "; did you mean 9f2c?", or ""."""
    meant = nearest(beginning, names)
    return f"; did you mean {meant}?" if meant else ""
