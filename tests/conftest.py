"""The environment of all tests: neither terminal, shell nor load of the machine has a say in what they show."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

from tests.jumping import jumping_clock

# In what tests share, an assertion that fails says as much as in a test.
pytest.register_assert_rewrite(*(f"tests.{path.name}" for path in Path(__file__).parent.iterdir() if path.is_dir()))

for _name in ("COLUMNS", "LINES"):  # rtmsctl fits its tables to them
    os.environ.pop(_name, None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start a job in the background; programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[*settings().suppress_health_check, HealthCheck.too_slow]
)
settings.load_profile("busy")


@pytest.fixture
def autojump_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """In place of pytest-trio's, which jumps on while a thread works."""
    return jumping_clock(monkeypatch)
