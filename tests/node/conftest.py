"""Three members over the engine in memory, each with an admin API for all, and a clock that jumps."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.jumping import mark_jumping
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


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    mark_jumping(item for item in items if item.path in JUMPING)
