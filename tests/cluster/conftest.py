"""A clock that jumps, for members over the engine in memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.jumping import mark_jumping

HERE: Final = Path(__file__).parent
JUMPING: Final = frozenset(
    HERE / f"test_{name}.py" for name in ("members", "ownership", "router", "takeover", "versions")
)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    mark_jumping(item for item in items if item.path in JUMPING or item.path.parent == HERE / "handover")
