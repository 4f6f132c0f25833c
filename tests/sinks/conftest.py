"""Clocks: tests with whole streams have one that jumps."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.jumping import mark_jumping


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    mark_jumping(item for item in items if item.path == Path(__file__).with_name("test_finished_streams.py"))
