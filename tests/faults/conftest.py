"""Stages in short-named directories: a Unix socket's path may not be long."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """httpx leaves the body of a request behind when the other side is killed meanwhile."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"))


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield an empty directory with a short name."""
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print figures whatever pytest captures: they are part of the result."""

    def show(*figures: object) -> None:
        with capsys.disabled():
            print("", *figures, sep="\n  ")

    return show
