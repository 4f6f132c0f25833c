"""The daemon's log: for a terminal, as JSON, with fields in the journal; each change once, secrets never."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtmsd.protocol.signature import handshake_signature
from rtmsd.system.journald import message_id
from tests.service.installation import SIMULATED, Installation, Zoom, on_terminal, until, zoom_for

# The journal's socket, where the daemon looks for it, and only for this process.
IN_NAMESPACE = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
mount --bind "$1" /run/systemd/journal
shift
export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
exec "$@"
"""


def test_each_change_once_with_its_cause_and_no_secrets(daemon: Installation) -> None:
    daemon.sections["log"]["level"] = "debug"
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="abc")
        zoom.do(session.cut_media)
        zoom.wait(session.wait_reconnected)
        until(lambda: daemon.states() == {"abc": "active"})
        zoom.wait(session.forged_webhook)
        zoom.wait(session.stop)
        until(lambda: daemon.logged("stream ended"))
        signature = handshake_signature(SIMULATED.client_id, SIMULATED.client_secret, session.session_id, "abc")
    assert daemon.stop() == 0
    changes = [line for line in daemon.lines() if line["event"] in {"stream state", "stream ended"}]
    assert [line["state"] for line in changes] == ["active", "recovering", "active", "ended"]
    assert all(line["why"] for line in changes)
    assert all((line["rtms_stream_id"], line["app"]) == ("abc", "main") for line in changes)
    text = daemon.log_file.read_text()
    assert not any("raw" in line for line in daemon.lines())
    for secret in (SIMULATED.client_secret, SIMULATED.webhook_secret, signature):
        assert secret not in text


def test_on_a_terminal_for_a_person(daemon: Installation) -> None:
    daemon.sections["log"]["format"] = "auto"
    daemon.write_config()
    command = [*daemon.launcher, "run", "--config", str(daemon.config_file)]
    shown = on_terminal(command, {}, until_shown=b"ready")
    assert shown.code == 0  # SIGINT is a clean stop
    assert "\x1b" not in shown.out  # NO_COLOR
    assert any("[info     ] ready" in line and "streams=0" in line for line in shown.out.splitlines())
    assert "\x1b[" in on_terminal(command, {"NO_COLOR": ""}, until_shown=b"ready").out


@pytest.fixture
def journal(place: Path) -> Iterator[socket.socket]:
    """The journal's end of its socket."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root for a mount namespace")
    (place / "journal").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place / "journal/socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.settimeout(20)
        yield sock


def test_in_the_journal_with_fields(daemon: Installation, journal: socket.socket, place: Path) -> None:
    daemon.sections["log"]["format"] = "auto"
    namespace = ("unshare", "--mount", "bash", "-c", IN_NAMESPACE, "bash", str(place / "journal"))
    daemon.launcher = (*namespace, *daemon.launcher)
    process = daemon.spawn()
    entries: list[dict[str, str]] = []

    def read_until(phrase: str) -> dict[str, str]:
        while True:
            fields = dict(line.split("=", 1) for line in journal.recv(1 << 16).decode().splitlines())
            entries.append(fields)
            if fields["MESSAGE_ID"] == message_id(phrase):
                return fields

    try:
        listening = read_until("webhook listening")
    except TimeoutError:
        assert process.poll() is not None, "running, but not writing to the journal"
        pytest.skip(f"no namespaces here: {daemon.log_file.read_text()}")
    read_until("ready")
    with Zoom(webhook_url=f"http://{listening['RTMS_ADDRESS']}/webhook") as zoom:
        session = zoom.session("Ana", rtms_stream_id="abc")
        active = read_until("stream state")
        zoom.wait(session.stop)
        ended = read_until("stream ended")
    assert (active["RTMS_STREAM_ID"], active["RTMS_APP"], active["RTMS_STATE"]) == ("abc", "main", "active")
    assert (ended["RTMS_STATE"], ended["PRIORITY"], ended["SYSLOG_IDENTIFIER"]) == ("ended", "6", "rtmsd")
    assert active["MESSAGE"].startswith("stream state ")
    assert daemon.log_file.read_text() == ""  # nothing twice
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
