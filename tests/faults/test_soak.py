"""A short soak: the long one is `python -m tests.faults.soak`."""

from collections.abc import Callable
from pathlib import Path

from tests.faults.soak import soak


async def test_some_seconds_of_faults_let_nothing_grow(place: Path, show: Callable[..., None]) -> None:
    result = await soak(place, duration_s=8, every_s=0.5, streams=3, say=lambda text: None)
    show(result)
    assert not result.growth
    assert not result.total.faults
