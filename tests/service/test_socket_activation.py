"""Sockets that outlive the daemon: stopped, killed and started again, while webhooks keep coming.

What was answered 200 is safe. Here a parent holds the sockets, as systemd does; `test_with_systemd` has the real one.
"""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rtmsd.webhook.verify import sign
from tests.service.installation import SIMULATED, Installation, until

UNREACHABLE = "ws://127.0.0.1:9/"  # streams stay what they are, and wait


class Parent:
    """Holds a webhook socket and an admin socket, and starts daemons on them."""

    def __init__(self, daemon: Installation) -> None:
        self.daemon = daemon
        self.webhook = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.admin = socket.socket(socket.AF_UNIX)
        self.admin.bind(daemon.admin_socket)
        self.admin.listen(16)
        self.url = f"http://127.0.0.1:{self.webhook.getsockname()[1]}/webhook"
        daemon.environment |= {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "webhook:admin"}

    def start(self) -> None:
        self.daemon.start(sockets=(self.webhook.fileno(), self.admin.fileno()))

    def close(self) -> None:
        self.webhook.close()
        self.admin.close()


class Sender:
    """Posts signed events for streams of its own, one after the other, each until it is answered 200, as Zoom does.

    Attributes:
        accepted: event names by stream id, in order.
        failures: attempts that came to nothing.
    """

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, list[str]] = {}
        self.failures: list[str] = []
        self.answers = 0
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                stream = f"stream-{number:04}"
                self.accepted[stream] = []
                for event in ("started", "stopped") if number % 3 == 0 else ("started",):
                    self._post(client, stream, event)
                self._over.wait(0.02)  # each stream is work for the daemon

    def _post(self, client: httpx.Client, stream: str, event: str) -> None:
        event_ts = int(time.time() * 1000)
        payload = {"session_id": "s/+==", "rtms_stream_id": stream, "server_urls": UNREACHABLE, "stop_reason": 6}
        body = json.dumps({"event": f"session.rtms_{event}", "event_ts": event_ts, "payload": payload}).encode()
        while not self._over.is_set():
            timestamp = str(int(time.time()))
            signature = sign(SIMULATED.webhook_secret, timestamp, body)
            headers = {"x-zm-request-timestamp": timestamp, "x-zm-signature": signature, "connection": "close"}
            try:
                status = client.post(self._url, content=body, headers=headers).status_code
            except httpx.TransportError as error:
                self.failures.append(repr(error))
                continue
            if status == 200:
                self.accepted[stream].append(event)
                self.answers += 1
                return
            self.failures.append(str(status))

    def wait_for_more(self, answers: int) -> None:
        """Wait until so many further events have been accepted."""
        goal = self.answers + answers
        until(lambda: self.answers >= goal)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def parent(daemon: Installation) -> Iterator[Parent]:
    parent = Parent(daemon)
    yield parent
    daemon.close()
    parent.close()


def test_inherited_sockets_replace_the_configured_ones(parent: Parent) -> None:
    daemon = parent.daemon
    Path(daemon.admin_socket).chmod(0o640)
    parent.start()
    listening = daemon.status()["listening"]
    assert listening["webhook"] == [parent.url.removeprefix("http://").removesuffix("/webhook")]
    assert listening["admin"] == [daemon.admin_socket]
    assert httpx.get(parent.url.replace("/webhook", "/readyz"), trust_env=False).status_code == 200
    assert daemon.stop() == 0
    assert Path(daemon.admin_socket).stat().st_mode & 0o777 == 0o640  # the file stays, and as it was
    with httpx.Client(trust_env=False, timeout=0.2) as client, pytest.raises(httpx.ReadTimeout):
        client.get(parent.url)  # nobody answers, and nobody refuses


def test_a_socket_of_another_name_is_logged_and_not_used(parent: Parent) -> None:
    daemon = parent.daemon
    daemon.environment["LISTEN_FDNAMES"] = "http:admin"
    parent.start()
    assert daemon.logged("inherited socket not used", name="http")
    assert daemon.status()["listening"]["webhook"] != [parent.url.removeprefix("http://").removesuffix("/webhook")]


def test_sockets_for_another_process_are_left_alone(daemon: Installation) -> None:
    daemon.environment |= {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "webhook:admin", "LISTEN_PID": "1"}
    daemon.environment["NOTIFY_SOCKET"] = str(daemon.directory / "nobody.sock")
    daemon.start()
    assert daemon.status()["phase"] == "serving"
    assert daemon.stop() == 0


@contextmanager
def posting(parent: Parent) -> Iterator[Sender]:
    """A running sender; at the end the daemon must know all that was accepted."""
    with Sender(parent.url) as sender:
        sender.wait_for_more(5)
        yield sender
        sender.wait_for_more(5)
    all_accepted_are_known(parent.daemon, sender)


def all_accepted_are_known(daemon: Installation, sender: Sender) -> None:
    """Every stream whose start was accepted lives, unless its stop was, too."""
    living = {stream for stream, events in sender.accepted.items() if events == ["started"]}
    until(lambda: daemon.states().keys() == living)


def test_a_stop_and_a_start_fail_no_post(parent: Parent) -> None:
    parent.start()
    with posting(parent) as sender:
        assert parent.daemon.stop() == 0
        time.sleep(0.1)  # what is posted now waits in the kernel
        parent.start()
        sender.wait_for_more(3)
    assert sender.failures == []


def test_no_kill_loses_an_accepted_event(parent: Parent) -> None:
    parent.start()
    with posting(parent) as sender:
        for _ in range(2):
            parent.daemon.signal(signal.SIGKILL)
            assert parent.daemon.wait() == -signal.SIGKILL
            parent.start()
            sender.wait_for_more(3)
    assert len(sender.failures) <= 2  # the one request that was open at each kill
