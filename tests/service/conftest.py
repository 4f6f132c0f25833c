"""Installations in short-named directories: a Unix socket's path may not be long."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtmsd.protocol.enums import MediaType
from tests.service.installation import Busy, Installation, NotifySocket, until, zoom_for


@contextmanager
def short_directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    path.chmod(0o711)  # another user may try the admin socket
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture(scope="module")
def busy() -> Iterator[Busy]:
    """A daemon with an ended stream, one that lost its media once, and a good one. Do not change it."""
    with short_directory() as path:
        daemon = Installation(path)
        try:
            daemon.start()
            with zoom_for(daemon) as zoom:
                ended = zoom.session("Cy", rtms_stream_id="ended-one")
                zoom.wait(ended.stop)
                cut = zoom.session("Ana", "Bo", rtms_stream_id="cut-one")
                well = zoom.session("Di", rtms_stream_id="cute-one")
                zoom.do(lambda: cut.cut_media(MediaType.TRANSCRIPT))  # which Zoom does not buffer
                until(lambda: [link["why"] for link in daemon.curl("/v1/streams/cut-one").json["links"]][1])
                until(lambda: daemon.states() == {"cut-one": "active", "cute-one": "active"})
                yield Busy(daemon, zoom, cut, well)
        finally:
            daemon.close()


@pytest.fixture
def daemon(place: Path) -> Iterator[Installation]:
    """Not started yet."""
    installation = Installation(place)
    yield installation
    installation.close()


@pytest.fixture
def manager(place: Path, daemon: Installation) -> Iterator[NotifySocket]:
    """The notification socket of the service manager of `daemon`."""
    notify = NotifySocket(place / "notify.sock")
    daemon.environment["NOTIFY_SOCKET"] = str(notify.path)
    yield notify
    daemon.close()
    notify.close()
