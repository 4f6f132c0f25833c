"""Clocks: tests with whole streams have one that jumps."""

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock


def _run_jumping(test: Callable[[], Any], *, clock: trio.abc.Clock | None = None, **options: Any) -> Any:
    return trio.run(test, clock=MockClock(autojump_threshold=0), **options)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Pytest-trio finds a clock only where the test itself asks for it, not where a fixture does."""
    for item in items:
        is_ours = item.path == Path(__file__).with_name("test_finished_streams.py")
        if is_ours and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=_run_jumping))
