"""Fixtures: everything under a clock that jumps."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from tests.jumping import mark_jumping
from tests.streams.harness import Bench, open_bench


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    mark_jumping(item for item in items if Path(__file__).parent in item.path.parents)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch) as opened:
        yield opened
