"""Control of the daemon: streams, drain, reload, and the right to it; all through rtmsctl and curl."""

import os
import signal
from pathlib import Path

import httpx
import pytest

from rtmsd.protocol.enums import StopReason
from tests.service.installation import SIMULATED, Busy, Installation, until, zoom_for

NOBODY = 65534


def test_stop_and_reconnect(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="abc-1")
        until(lambda: len(daemon.asked("inspect", "abc")["connections"]) >= 3)
        connections = len(daemon.asked("inspect", "abc")["connections"])
        assert daemon.ctl("reconnect", "abc").out == "abc-1 reconnects\n"
        until(lambda: len(daemon.asked("inspect", "abc")["connections"]) == 2 * connections)
        until(lambda: daemon.states() == {"abc-1": "active"})
        assert daemon.curl("/v1/streams/abc/stop", "-X", "POST").json == {"rtms_stream_id": "abc-1"}
        until(lambda: not daemon.states())
        assert session.stop_reason == StopReason.RECEIVER_REQUEST_CLOSE
        assert daemon.asked("inspect", "abc")["stop_reason"] == StopReason.RECEIVER_REQUEST_CLOSE
        late = daemon.ctl("stop", "abc")
        assert (late.code, late.err) == (7, "rtmsctl: stream abc-1 has ended\n")
        assert daemon.ctl("reconnect", "abc").code == 7
        assert daemon.ctl("tap", "abc").code == 7
        assert daemon.ctl("recordings", "repair", "abc").out.endswith("\tok\n")
        assert daemon.ctl("recordings", "rm", "abc", "--yes").out == "abc-1 is deleted\n"
        assert daemon.asked("recordings", "ls") == []
    assert daemon.stop() == 0


def test_drain_refuses_starts_only(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        zoom.session("Ana", rtms_stream_id="early")
        assert daemon.ctl("drain").out == "draining: new streams are refused, running ones go on\n"
        assert daemon.seen("status").out.splitlines()[0].split() == ["state", "draining"]
        assert readiness(daemon) == 503
        late = zoom.session("Bo", rtms_stream_id="late", connected=False)
        assert late.record.webhooks[0].status == 503
        assert daemon.states() == {"early": "active"}
        assert daemon.asked("undrain") == {"draining": False}
        assert readiness(daemon) == 200
        zoom.session("Cy", rtms_stream_id="later")
        assert daemon.states().keys() == {"early", "later"}


def readiness(daemon: Installation) -> int:
    return httpx.get(daemon.webhook_url.replace("/webhook", "/readyz"), trust_env=False).status_code


def test_reload(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        zoom.session("Ana", rtms_stream_id="live")
        assert daemon.seen("reload").out == "nothing changed\n"

        daemon.sections["media.audio"] = {"sample_rate_hz": 8000}
        daemon.sections["recording"]["buffer_bytes"] = 10_000_000
        daemon.app["webhook_secret"] = [{"value": "the-next-secret"}, {"value": SIMULATED.webhook_secret}]
        daemon.write_config()
        expected = [
            'app[main].webhook_secret: "***" -> "***"',
            "media.audio.sample_rate_hz: 16000 -> 8000",
            "recording.buffer_bytes: 268435456 -> 10000000  (needs a restart)",
        ]
        assert daemon.seen("config", "diff").out.splitlines() == [*expected[1:], "secrets are not compared"]
        assert daemon.seen("reload").out.splitlines() == expected
        assert daemon.seen("config", "diff").out.splitlines() == [*expected[2:], "secrets are not compared"]
        assert daemon.asked("reload")["changed"][0]["needs_restart"] is True  # listed until it is done
        assert daemon.asked("config", "show")["recording"]["buffer_bytes"] == 268435456

        zoom.session("Bo", rtms_stream_id="new")
        rates = {name: {file["sample_rate_hz"] for file in files(daemon, name)} for name in ("live", "new")}
        assert rates == {"live": {16000}, "new": {8000}}  # a live stream keeps what it negotiated


def files(daemon: Installation, name: str) -> list[dict[str, object]]:
    def audio() -> list[dict[str, object]]:
        return [file for file in daemon.asked("inspect", name)["files"] if file["media"] == "audio"]

    return until(audio)


def test_a_wrong_file_is_refused_whole(daemon: Installation) -> None:
    daemon.start()
    daemon.sections["media.audio"] = {"sample_rate_hz": 8000, "channels": 3}
    daemon.sections["log"]["leve"] = "debug"
    daemon.write_config()
    refused = daemon.ctl("reload")
    assert refused.code == 1
    assert "media.audio.channels" in refused.err
    assert "log.leve" in refused.err
    assert "level" in refused.err
    problem = daemon.curl("/v1/reload", "-X", "POST").json
    assert (problem["code"], problem["status"], len(problem["mistakes"])) == ("bad_configuration", 422, 2)
    assert daemon.asked("config", "show")["media"]["audio"]["sample_rate_hz"] == 16000
    checked = daemon.ctl("config", "check")
    assert (checked.code, checked.err.count("\n")) == (78, 3)


def test_a_new_secret_holds_for_the_next_webhook(daemon: Installation) -> None:
    daemon.app["webhook_secret"] = {"value": "the-old-secret"}
    daemon.start()
    with zoom_for(daemon) as zoom:
        assert not zoom.wait(zoom.sim.validate_endpoint)
        daemon.app["webhook_secret"] = {"value": SIMULATED.webhook_secret}
        daemon.write_config()
        daemon.signal(signal.SIGHUP)
        until(lambda: daemon.logged("configuration reloaded"))
        assert zoom.wait(zoom.sim.validate_endpoint)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_may_read_where_the_mode_permits_and_not_control(busy: Busy) -> None:
    daemon = busy.daemon
    path = Path(daemon.admin_socket)
    assert path.stat().st_mode & 0o777 == 0o660
    closed = daemon.ctl("status", uid=NOBODY)
    assert (closed.code, closed.out) == (5, "")
    assert "permission denied" in closed.err
    path.chmod(0o666)  # as a group member sees it
    assert daemon.ctl("status", uid=NOBODY).code == 0
    for verb in (("drain",), ("reload",), ("shutdown",), ("session", "start", "s"), ("recordings", "rm", "x", "--yes")):
        refused = daemon.ctl(*verb, uid=NOBODY)
        assert refused.code in ({4} if verb[0] == "recordings" else {5}), (verb, refused)
    problem = daemon.ctl("drain", uid=NOBODY)
    assert problem.err == "rtmsctl: drain: only root and the daemon's own user may do that\n"
    assert daemon.status()["phase"] == "serving"
    assert not daemon.status()["draining"]
    refusals = daemon.logged("admin command refused", uid=NOBODY, code="not_permitted")
    assert {"/v1/drain", "/v1/reload"} <= {line["target"] for line in refusals}
    assert all(line["pid"] > 0 for line in refusals)
    path.chmod(0o660)
    assert [daemon.ctl(verb).code for verb in ("drain", "undrain")] == [0, 0]
    assert daemon.logged("admin command", command="drain", uid=0)


def test_a_second_daemon_leaves_the_socket_to_the_first(daemon: Installation, place: Path) -> None:
    daemon.start()
    second = Installation(place / "2")
    second.directory.mkdir()
    second.sections["admin"]["socket"] = daemon.admin_socket
    second.spawn()
    assert second.wait() == 1
    pid = daemon.process.pid if daemon.process else None
    assert f"(process {pid}) answers on {daemon.admin_socket}" in second.log_file.read_text()
    assert daemon.status()["pid"] == (daemon.process.pid if daemon.process else None)
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    assert Path(daemon.admin_socket).exists()  # left over, and nobody answers on it
    assert daemon.ctl("status").code == 3
    second.start()
    assert second.status()["config_file"] == str(second.config_file)
    assert second.stop() == 0
    assert not Path(daemon.admin_socket).exists()


def test_a_daemon_that_does_not_answer_in_time(busy: Busy) -> None:
    daemon = busy.daemon
    daemon.signal(signal.SIGSTOP)
    try:
        printed = daemon.ctl("--timeout", "0.3", "status")
    finally:
        daemon.signal(signal.SIGCONT)
    assert (printed.code, printed.out) == (6, "")
    assert f"no answer from {daemon.admin_socket} within 0.3 s\n" in printed.err
    assert daemon.ctl("status").code == 0


def test_every_refusal_through_curl(busy: Busy) -> None:
    daemon = busy.daemon
    for path, options, status, code in (
        ("/v1/streams/x", (), 404, "no_such_stream"),
        ("/v2", (), 404, "no_such_path"),
        ("/v1/status", ("-X", "DELETE"), 405, "method_not_allowed"),
        ("/v1/streams?al=1", (), 400, "bad_request"),
        ("/v1/session/start", ("-d", "[]"), 400, "bad_request"),
    ):
        printed = daemon.curl(path, *options, "-w", "\n%{http_code} %{content_type}")
        body, _, last = printed.out.rpartition("\n")
        assert last == f"{status} application/problem+json", path
        assert f'"code":"{code}"' in body
