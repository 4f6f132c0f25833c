"""Three members over the engine in memory, each with an admin API for all, and a clock that jumps."""

from collections.abc import AsyncIterator, Callable, Iterable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from tests.node.nodes import Nodes, three_nodes

HERE: Final = Path(__file__).parent
JUMPING: Final = frozenset(HERE / f"test_{name}.py" for name in ("control", "draining", "machines", "metrics", "view"))


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with three_nodes() as nodes:
        yield nodes


@pytest.fixture
async def of_two_machines() -> AsyncIterator[Nodes]:
    """Two of them are workers of the machine `a`."""
    async with three_nodes("a.1", "a.2", "b.1") as nodes:
        yield nodes


def _run_jumping(test: Callable[[], Any], *, clock: trio.abc.Clock | None = None, **options: Any) -> Any:
    return trio.run(test, clock=MockClock(autojump_threshold=0), **options)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """There time is never real: pytest-trio finds a clock only where the test itself asks for it."""
    for item in items:
        if item.path in JUMPING and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=_run_jumping))
