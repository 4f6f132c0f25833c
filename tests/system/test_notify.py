"""sd_notify against a real datagram socket, and the sockets of socket activation."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtmsd.system.notify import UNNAMED, Notifier, listen_fds


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def notifier(manager: socket.socket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname()})


def received(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_ready_carries_its_status(manager: socket.socket, notifier: Notifier) -> None:
    assert notifier.ready("2 streams")
    assert received(manager) == {"READY": "1", "STATUS": "2 streams"}
    assert notifier.ready()
    assert received(manager) == {"READY": "1"}


def test_reloading_sends_the_monotonic_time(manager: socket.socket, notifier: Notifier) -> None:
    before_us = time.monotonic_ns() // 1000
    notifier.reloading()
    fields = received(manager)
    assert fields["RELOADING"] == "1"
    assert before_us <= int(fields["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_status_is_one_line(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("one\nREADY=1")
    assert received(manager) == {"STATUS": "one READY=1"}


def test_stopping_extension_and_watchdog(manager: socket.socket, notifier: Notifier) -> None:
    notifier.stopping("draining")
    notifier.extend_timeout(2.5)
    notifier.watchdog()
    assert received(manager) == {"STOPPING": "1", "STATUS": "draining"}
    assert received(manager) == {"EXTEND_TIMEOUT_USEC": "2500000"}
    assert received(manager) == {"WATCHDOG": "1"}


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel chooses a free abstract name
        manager.settimeout(5)
        name: bytes = manager.getsockname()
        assert Notifier({"NOTIFY_SOCKET": f"@{name[1:].decode()}"}).watchdog()
        assert received(manager) == {"WATCHDOG": "1"}


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_no_manager_is_no_error(environ: dict[str, str]) -> None:
    assert not Notifier(environ).ready()


def test_a_stopped_manager_is_no_error(tmp_path: Path) -> None:
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_a_full_queue_loses_messages_and_returns(notifier: Notifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtmsd.system.notify.SEND_TIMEOUT_S", 0.01)
    assert notifier.watchdog()
    assert any(not notifier.watchdog() for _ in range(100_000))  # net.unix.max_dgram_qlen is far below


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], interval_s: float | None) -> None:
    assert Notifier(environ).watchdog_interval_s == interval_s


CHILD = """
import json, os, socket, sys
from rtmsd.system.notify import listen_fds
fds = [socket.socket(socket.AF_UNIX).detach() for _ in range(3)]  # 3, 4 and 5 in a fresh process
for fd in fds:
    os.set_inheritable(fd, True)
found = listen_fds({"LISTEN_PID": str(os.getpid())} | json.loads(sys.argv[1]))
print(json.dumps([fds, found, [os.get_inheritable(fd) for fd in fds]]))
"""


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "webhook:admin"}, {"webhook": [3], "admin": [4]}),
        ({"LISTEN_FDS": "3", "LISTEN_FDNAMES": "webhook:admin:webhook"}, {"webhook": [3, 5], "admin": [4]}),
        ({"LISTEN_FDS": "2"}, {UNNAMED: [3, 4]}),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "webhook"}, {UNNAMED: [3, 4]}),
    ],
)
def test_sockets_are_found_by_name(environ: dict[str, str], found: dict[str, list[int]]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(environ)], capture_output=True, text=True, check=True
    )
    fds, seen, inheritable = json.loads(child.stdout)
    assert fds == [3, 4, 5]
    assert seen == found
    assert inheritable == [fd - 3 >= int(environ["LISTEN_FDS"]) for fd in fds]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "webhook"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "webhook"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "some"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
    ],
)
def test_sockets_for_another_process_are_ignored(environ: dict[str, str]) -> None:
    assert listen_fds(environ) == {}
