"""Health: whether media flow, in status, doctor, metrics and log, until it has recovered."""

import re
import signal
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rtmsd.protocol.enums import StatusCode
from tests.service.installation import Installation, NotifySocket, until, zoom_for
from tests.service.prepared import PYTHON_MODULE


@pytest.fixture
def impaired(daemon: Installation, place: Path) -> Iterator[Installation]:
    daemon.launcher = (*PYTHON_MODULE, "tests.service.impaired")
    daemon.environment["STALL"] = str(place / "stall")
    daemon.sections["media"] = {"types": ["audio"]}
    yield daemon
    (place / "stall").unlink(missing_ok=True)


def wrong(daemon: Installation) -> list[str]:
    return [trouble["code"] for trouble in daemon.status()["degraded"]]


def test_a_silent_stream_and_a_stalled_disk(impaired: Installation, manager: NotifySocket, place: Path) -> None:
    daemon = impaired
    daemon.environment["WATCHDOG_USEC"] = "400000"
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="quiet-one")
        until(lambda: wrong(daemon) == [])

        zoom.do(lambda: session.silence("media"))
        until(lambda: wrong(daemon) == ["no_media"])
        shown = daemon.seen("status").out.splitlines()
        assert shown[0].split() == ["state", "degraded"]
        assert shown[-1] == "degraded: connected, but neither media nor keep-alives for 1 s: quiet-one (no_media)"
        doctor = daemon.seen("doctor", "--offline")
        assert doctor.code == 1
        assert "FAILED  media         connected, but neither media nor keep-alives for 1 s: quiet-one\n" in doctor.out
        assert "-> `rtmsctl reconnect STREAM` makes new connections" in doctor.out
        assert daemon.asked("metrics")['rtmsd_degraded{code="no_media"}'] == 1
        until(lambda: any(text.endswith(", no_media") for _, text in manager.having("STATUS")))
        assert daemon.ctl("reconnect", "quiet").code == 0
        until(lambda: wrong(daemon) == [])

        (place / "stall").touch()
        until(lambda: wrong(daemon) == ["sync_lag"])
        # Told of when it is older than a second; what is wrong is known before.
        until(lambda: re.search(r"to write, last synced [\d.]+s ago", daemon.seen("status").out))
        fed = len(manager.having("WATCHDOG"))
        manager.wait("WATCHDOG", fed + 3)  # a kill would lose what the disk has not taken yet
        assert daemon.ctl("doctor", "--offline").out.count("FAILED\tdisk") == 1
        (place / "stall").unlink()
        until(lambda: wrong(daemon) == [])
    for code in ("no_media", "sync_lag"):  # once each, unless the machine stood still, too
        assert len(daemon.logged("degraded", code=code)) == len(daemon.logged("recovered", code=code)) >= 1
    assert daemon.stop() == 0


def test_a_dead_disk_does_not_outlast_a_second_signal(impaired: Installation, place: Path) -> None:
    daemon = impaired
    daemon.start()
    with zoom_for(daemon) as zoom:
        zoom.session("Ana")
        (place / "stall").touch()
        until(lambda: wrong(daemon) == ["sync_lag"])
        daemon.signal(signal.SIGTERM)
        until(lambda: daemon.logged("stopping"))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 1
    assert daemon.logged("files not finished in time")
    assert daemon.logged("disk does not answer; exiting without it, unwritten media are lost")


def failing(daemon: Installation) -> dict[str, str]:
    """Return the failed findings of the daemon: check to detail."""
    return {each["check"]: each["detail"] for each in daemon.curl("/v1/doctor").json if each["ok"] is False}


def test_webhooks_that_cannot_be_trusted(impaired: Installation) -> None:
    daemon = impaired
    daemon.start()
    until(lambda: failing(daemon) == {})  # that none has come says nothing so soon
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana")
        until(lambda: failing(daemon) == {})
        for _ in range(3):
            assert zoom.wait(session.forged_webhook) == 401
        until(lambda: wrong(daemon) == ["webhook_signatures"])
        assert "no webhook_secret verifies the webhooks (3 forged)" in failing(daemon)["signatures"]
        assert daemon.asked("metrics")['rtmsd_webhooks_total{result="forged"}'] == 3
        zoom.wait(session.duplicate_webhook)
        until(lambda: wrong(daemon) == [] and failing(daemon) == {})

        notice = {"concurrency_number": 10}
        zoom.wait(lambda: zoom.sim.send_webhook("rtms.concurrency_limited", notice))
        assert "rtms.concurrency_limited" in failing(daemon)["concurrency"]


def test_doctor_finds_swapped_credentials_and_missing_scopes(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon, client_secret="another-secret-at-zoom") as zoom:
        zoom.session("Ana", connected=False)
        until(lambda: "credentials" in failing(daemon))
        assert "status 3" in failing(daemon)["credentials"]
    with zoom_for(daemon, webhook_secret=daemon.app["client_secret"]["value"]) as zoom:
        assert not zoom.wait(zoom.sim.validate_endpoint)
        assert "webhooks are signed with what is configured as client_secret" in failing(daemon)["credentials"]
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana")
        zoom.do(lambda: session.refuse_next(StatusCode.MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT, kind="media"))
        assert daemon.ctl("reconnect", session.rtms_stream_id).code == 0
        until(lambda: "scopes" in failing(daemon))
        assert "(" in failing(daemon)["scopes"]


NAMES = {
    "rtmsd_streams": "gauge",
    "rtmsd_media_messages_total": "counter",
    "rtmsd_media_bytes_total": "counter",
    "rtmsd_media_dropped_total": "counter",
    "rtmsd_webhooks_total": "counter",
    "rtmsd_reconnects_total": "counter",
    "rtmsd_keep_alives_total": "counter",
    "rtmsd_ingest_latency_seconds": "histogram",
    "rtmsd_sync_seconds": "histogram",
    "rtmsd_event_loop_lag_seconds": "gauge",
}


def is_measured(daemon: Installation, sample: str) -> bool:
    return re.search(f"^{re.escape(sample)} [1-9]", daemon.curl("/v1/metrics").out, re.MULTILINE) is not None


def test_metrics(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon, speed=20.0) as zoom:
        session = zoom.session("Ana")
        zoom.do(session.cut_media)
        for sample in (
            'rtmsd_reconnects_total{result="ok",scenario="media_reconnect"}',
            'rtmsd_keep_alives_total{connection="signaling"}',
        ):
            until(partial(is_measured, daemon, sample))
        zoom.wait(session.stop)
        until(lambda: not daemon.states())
    (address,) = daemon.status()["listening"]["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert types.items() >= NAMES.items()
    assert session.rtms_stream_id not in text
    assert re.findall(r"^# TYPE (\S+)", daemon.curl("/v1/metrics").out, re.MULTILINE) == list(types)
    samples = daemon.asked("metrics")
    assert samples['rtmsd_streams{state="active"}'] == 0
    (log,) = session.record.audio.values()
    assert samples['rtmsd_media_messages_total{media="audio"}'] == len(log.arrived())
    # The histogram counts each message once it is on disk, and the keep-alives between them.
    messages = sum(samples[f'rtmsd_media_messages_total{{media="{media}"}}'] for media in ("audio", "transcript"))
    latencies = [samples[f"rtmsd_ingest_latency_seconds_{part}"] for part in ("count", "sum")]
    assert messages <= latencies[0] <= messages + 100
    assert 0 < latencies[1] / latencies[0] < 2
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{address}/v1/status")
