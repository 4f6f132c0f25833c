"""A clock that jumps, for members over the engine in memory."""

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

HERE: Final = Path(__file__).parent
JUMPING: Final = frozenset(HERE / f"test_{name}.py" for name in ("members", "ownership", "router", "takeover"))


def _run_jumping(test: Callable[[], Any], *, clock: trio.abc.Clock | None = None, **options: Any) -> Any:
    return trio.run(test, clock=MockClock(autojump_threshold=0), **options)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """There time is never real: pytest-trio finds a clock only where the test itself asks for it."""
    for item in items:
        is_jumping = item.path in JUMPING or item.path.parent == HERE / "handover"
        if is_jumping and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=_run_jumping))
