"""Daemons of several processes, real ones."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.installation import NotifySocket
from tests.workers.house import House


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """httpx leaves the body of a request behind when the other side is killed meanwhile."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"))


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield an empty directory with a short name: a Unix socket's path may not be long."""
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def house(place: Path) -> Iterator[House]:
    """Two workers, not started yet."""
    house = House(place)
    yield house
    house.close()


@pytest.fixture
def manager(place: Path, house: House) -> Iterator[NotifySocket]:
    """The notification socket of the service manager of `house`."""
    notify = NotifySocket(place / "notify.sock")
    house.environment["NOTIFY_SOCKET"] = str(notify.path)
    yield notify
    house.close()
    notify.close()
