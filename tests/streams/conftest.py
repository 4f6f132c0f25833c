"""Fixtures: everything under a clock that jumps."""

from collections.abc import AsyncIterator, Callable, Iterable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.streams.harness import Bench, open_bench


def _run_jumping(test: Callable[[], Any], *, clock: trio.abc.Clock | None = None, **options: Any) -> Any:
    return trio.run(test, clock=MockClock(autojump_threshold=0), **options)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Here time is never real: pytest-trio finds a clock only where the test itself asks for it."""
    for item in items:
        if Path(__file__).parent in item.path.parents and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=_run_jumping))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch) as opened:
        yield opened
