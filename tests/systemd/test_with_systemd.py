"""The units under a real service manager, with a small stand-in for the daemon.

`tests/service/test_under_systemd.py` has the daemon itself.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.manager import Manager, open_manager

STAND_IN = """
import os, socket, sys, time
from pathlib import Path
from rtmsd.system.notify import Notifier, listen_fds

mode = Path(sys.argv[1], "mode").read_text()
with Path(sys.argv[1], "starts").open("a") as starts:
    print(os.getpid(), file=starts)
if mode == "wrong":
    sys.exit(78)
(webhook,), (admin,) = (listen_fds()[name] for name in ("webhook", "admin"))
assert socket.socket(fileno=admin).family == socket.AF_UNIX
listener = socket.socket(fileno=webhook)
notifier = Notifier()
time.sleep(0.2)
notifier.ready("up")
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        if mode == "killed":
            Path(sys.argv[1], "mode").write_text("good")
            os.kill(os.getpid(), 9)
        connection.sendall(str(os.getpid()).encode())
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    with open_manager(tmp_path, f"{sys.executable} {tmp_path}/stand_in.py {tmp_path}") as manager:
        yield manager


def test_the_service_reports_readiness_and_a_post_survives_a_kill(manager: Manager) -> None:
    manager.mode("good")
    assert manager.systemctl("start", "rtmsd.service") == ""
    assert manager.shown("ActiveState", "StatusText") == {"ActiveState": "active", "StatusText": "up"}
    first = manager.starts()[0]
    with manager.connect() as connection:
        connection.sendall(b"POST")
        assert connection.recv(100).decode() == first
    manager.systemctl("kill", "--signal=KILL", "rtmsd.service")
    with manager.connect() as waiting:  # nobody is there: it waits in the kernel
        waiting.sendall(b"POST")
        assert waiting.recv(100).decode() == manager.starts()[1] != first


def test_sockets_start_the_service(manager: Manager) -> None:
    manager.mode("good")
    manager.systemctl("start", "rtmsd-webhook.socket", "rtmsd-admin.socket")
    assert manager.systemctl("is-active", "rtmsd.service") == "inactive"
    with manager.connect() as connection:
        connection.sendall(b"POST")
        assert connection.recv(100).decode() == manager.starts()[0]


def test_a_wrong_configuration_is_not_retried_for_ever(manager: Manager) -> None:
    manager.mode("wrong")
    manager.systemctl("start", "rtmsd.service")
    shown = manager.shown("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    assert len(manager.starts()) == 1
    with manager.connect() as waiting:  # starts it again and again, but not for ever
        manager.wait("is-active", "rtmsd-webhook.socket", answer="failed")
        with pytest.raises(ConnectionResetError):
            waiting.recv(100)
    assert len(manager.starts()) <= 1 + 2 * 20
    manager.mode("good")
    manager.systemctl("start", "rtmsd.service")
    with manager.connect() as connection:
        connection.sendall(b"POST")
        assert connection.recv(100).decode() == manager.starts()[-1]
