"""A short soak: the long one is `python -m tests.faults.soak`."""

from collections.abc import Callable
from pathlib import Path

from tests.faults.soak import soak


async def test_resources_do_not_grow_in_some_seconds_of_faults(place: Path, show: Callable[..., None]) -> None:
    result = await soak(place, duration_s=8, every_s=0.5, streams=3, say=lambda text: None)
    show(result)
    assert not result.growth
    assert not result.total.faults
