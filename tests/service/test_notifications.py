"""Notifications to the service manager, over a real datagram socket."""

import itertools
import json
import os
import signal
import time

from rtmsd.protocol.enums import StopReason
from tests.service.installation import Installation, NotifySocket, until, zoom_for


def test_from_ready_to_stopped(daemon: Installation, manager: NotifySocket) -> None:
    daemon.spawn()
    assert manager.wait("READY") == "1"
    # Both sockets answer by now, at the first try.
    assert daemon.status()["phase"] == "serving"
    assert daemon.curl("/v1/status").code == 0
    with zoom_for(daemon) as zoom:
        assert zoom.wait(zoom.sim.validate_endpoint)
    assert manager.having("STATUS")[0][1] == "0 streams, 0 bytes to write"
    assert daemon.stop() == 0
    assert manager.wait("STOPPING") == "1"
    assert int(manager.wait("EXTEND_TIMEOUT_USEC")) >= 8_000_000  # streams.drain_s
    assert [list(fields) for _, fields in manager.messages[-2:]] == [["STOPPING"], ["EXTEND_TIMEOUT_USEC"]]


def test_ready_only_when_both_sockets_answer(daemon: Installation, manager: NotifySocket) -> None:
    """READY comes after the log lines of both sockets, and not from a daemon that cannot listen."""
    daemon.sections["webhook"]["listen"] = "192.0.2.1:80"  # nobody's
    daemon.spawn()
    assert daemon.wait() == 1
    assert not manager.having("READY")
    assert "192.0.2.1" in daemon.log_file.read_text()


def test_the_watchdog_is_fed_at_half_its_limit_with_the_status(daemon: Installation, manager: NotifySocket) -> None:
    daemon.environment["WATCHDOG_USEC"] = "200000"
    began_s = time.monotonic()
    daemon.start()

    def fed_s() -> list[float]:
        return [at_s for at_s, _ in manager.having("WATCHDOG")]

    with zoom_for(daemon) as zoom:
        zoom.session("Ana")
        until(lambda: any(text.startswith("1 stream, ") for _, text in manager.having("STATUS")))
        until(lambda: len(fed_s()) >= 5)
        # A busy machine may be late with one, but not always.
        until(lambda: any(later - earlier < 0.15 for earlier, later in itertools.pairwise(fed_s())))
    assert len(fed_s()) <= (time.monotonic() - began_s) / 0.1 + 1


def test_no_watchdog_unless_configured(daemon: Installation, manager: NotifySocket) -> None:
    daemon.environment["WATCHDOG_USEC"] = "100000"
    daemon.environment["WATCHDOG_PID"] = str(os.getpid())  # another process
    daemon.start()
    time.sleep(0.3)
    assert not manager.having("WATCHDOG")


def test_a_refused_reload_is_framed_as_well(daemon: Installation, manager: NotifySocket) -> None:
    daemon.start()
    for number, drain_s in enumerate((3, -3), start=1):
        daemon.sections["streams"]["drain_s"] = drain_s
        daemon.write_config()
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.signal(signal.SIGHUP)
        manager.wait("READY", number + 1)
        assert len(manager.having("RELOADING")) == number
        assert 0 <= int(manager.having("MONOTONIC_USEC")[-1][1]) - now_us < 10_000_000
        kinds = [name for _, fields in manager.messages for name in ("RELOADING", "READY") if name in fields]
        assert kinds == ["READY"] + ["RELOADING", "READY"] * number
    (refusal,) = daemon.logged("reload refused; nothing changed")
    assert "streams.drain_s" in json.dumps(refusal)
    assert daemon.asked("config", "show")["streams"]["drain_s"] == 3
    assert daemon.stop() == 0


def test_the_timeout_is_extended_once_also_while_streams_are_closed(
    daemon: Installation, manager: NotifySocket
) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana")
        assert daemon.ctl("shutdown", "--end-streams").out == "the daemon is stopping and ends its streams\n"
        assert daemon.wait() == 0
        assert session.stop_reason == StopReason.RECEIVER_REQUEST_CLOSE
    assert int(manager.wait("EXTEND_TIMEOUT_USEC")) >= 8_000_000  # streams.drain_s
    order = [name for _, fields in manager.messages for name in ("STOPPING", "EXTEND_TIMEOUT_USEC") if name in fields]
    assert order == ["STOPPING", "EXTEND_TIMEOUT_USEC"]
