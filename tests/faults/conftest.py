"""Stages in short-named directories: a Unix socket's path may not be long."""

import shutil
import subprocess
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


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """Yield a real file system of 2 MB, where mounting is permitted."""
    mount = place / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0750", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here; the refusing disk is tested all the same")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)
