"""webhook test and the probes of doctor, against real HTTP servers."""

import contextlib
import email.utils
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
import trustme

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.probes import judge_clock, probe_public_url, probe_zoom
from rtmsd.ctl.web import Answer, Unanswered, request
from rtmsd.webhook.verify import is_genuine, validation_answer

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]
Respond = Callable[[Any, bytes], tuple[int, bytes]]

SECRET = "w-secret"


@contextlib.contextmanager
def http_server(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on a free port; yields "host:port"."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            status, body = respond(self.headers, self.rfile.read(int(self.headers.get("content-length", "0"))))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_HEAD = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def endpoint(headers: Any, body: bytes) -> tuple[int, bytes]:
    """Answer as rtmsd does."""
    if not is_genuine(SECRET, headers["x-zm-request-timestamp"], body, headers["x-zm-signature"]):
        return 401, b""
    assert abs(int(headers["x-zm-request-timestamp"]) - time.time()) < 10
    return 200, json.dumps(validation_answer(SECRET, json.loads(body)["payload"]["plainToken"])).encode()


@pytest.fixture
def config(daemon: FakeDaemon, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
[webhook]
path = "/hook"
[[app]]
client_id = "client"
client_secret = {{ value = "c-secret" }}
webhook_secret = [{{ value = "{SECRET}" }}, {{ value = "older" }}]
"""
    )
    daemon.answers["GET /v1/status"] = {"config_file": str(path)}
    return path


def findings(capsys: Capture) -> dict[str, bool | None]:
    return {item["check"]: item["ok"] for item in json.loads(capsys.readouterr().out)}


@pytest.mark.usefixtures("config")
def test_webhook_test_sends_the_signed_request_last(ctl: Ctl) -> None:
    answered: list[int] = []

    def remember(headers: Any, body: bytes) -> tuple[int, bytes]:
        answer = endpoint(headers, body)
        answered.append(answer[0])
        return answer

    with http_server(remember) as address:
        assert ctl("webhook", "test", f"http://{address}/hook") == Exit.OK
    assert answered == [401, 200]


def test_webhook_test_of_a_good_endpoint(ctl: Ctl, daemon: FakeDaemon, config: Path, capsys: Capture) -> None:
    with http_server(endpoint) as address:
        assert ctl("webhook", "test", f"http://{address}/hook", "--json") == Exit.OK
        assert findings(capsys) == {"signed": True, "in time": True, "forged": True}
        daemon.answers["GET /v1/status"] = {"config_file": str(config), "listening": {"webhook": ["unix:/x", address]}}
        assert ctl("webhook", "test", "--json") == Exit.OK


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((401, b""), {"signed": False, "forged": True}),
        ((302, b""), {"signed": False, "forged": False}),
        ((200, b"<html>"), {"signed": False, "in time": True, "forged": False}),
        ((200, b"{}"), {"signed": False, "in time": True, "forged": False}),
    ],
)
def test_webhook_test_of_a_bad_endpoint(
    ctl: Ctl, capsys: Capture, answer: tuple[int, bytes], found: dict[str, bool]
) -> None:
    with http_server(lambda _headers, _body: answer) as address:
        assert ctl("webhook", "test", f"http://{address}/hook", "--json") == Exit.FAILED
    assert findings(capsys) == found


@pytest.mark.usefixtures("config")
def test_webhook_test_of_nothing(ctl: Ctl, capsys: Capture) -> None:
    with http_server(endpoint) as address:
        pass
    assert ctl("webhook", "test", f"http://{address}/hook", "--json") == Exit.FAILED
    assert findings(capsys) == {"reachable": False}


@pytest.mark.usefixtures("config")
def test_webhook_test_of_silence(ctl: Ctl, capsys: Capture) -> None:
    over = threading.Event()

    def silence(_headers: Any, _body: bytes) -> tuple[int, bytes]:
        over.wait()
        return 500, b""

    with http_server(silence) as address:
        code = ctl("--timeout", "0.05", "webhook", "test", f"http://{address}/hook", "--json")
        over.set()
    assert code == Exit.TIMED_OUT
    assert findings(capsys) == {"reachable": False}


def test_webhook_test_needs_an_address_and_an_app(ctl: Ctl, daemon: FakeDaemon, config: Path, capsys: Capture) -> None:
    daemon.answers["GET /v1/status"] = {"config_file": str(config), "listening": {"webhook": ["unix:/x"]}}
    assert ctl("webhook", "test") == Exit.USAGE
    assert ctl("webhook", "test", "http://127.0.0.1:1/", "--app", "other") == Exit.USAGE
    assert "no app is called other" in capsys.readouterr().err
    second = config.read_text().replace(f'[{{ value = "{SECRET}" }}, {{ value = "older" }}]', '{ value = "second" }')
    config.write_text(
        config.read_text() + second[second.index("[[app]]") :].replace("[[app]]", '[[app]]\nname = "two"')
    )
    assert ctl("webhook", "test", "http://127.0.0.1:1/") == Exit.USAGE
    assert "--app: one of main, two" in capsys.readouterr().err


def answered(date: str | None, took_s: float = 0.0) -> Answer:
    return Answer(200, {} if date is None else {"date": date}, b"", took_s)


@pytest.mark.parametrize(("skew_s", "ok"), [(0, True), (30, True), (-30, True), (31, False), (-400, False)])
def test_the_clock(skew_s: int, ok: bool) -> None:
    finding = judge_clock(answered(email.utils.formatdate(1790000000, usegmt=True)), 1790000000 + skew_s)
    assert finding.ok is ok
    assert f"{abs(skew_s)} s" in finding.detail


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_clock_that_cannot_be_compared(date: str | None) -> None:
    assert judge_clock(answered(date), 0).ok is None


def test_the_path_to_zoom(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server_tls, client_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    with http_server(lambda _headers, _body: (200, b""), server_tls) as address:
        url = urlsplit(f"https://{address}/")
        distrusted = {finding.check: finding.ok for finding in probe_zoom(url, 5, client_tls)}
        authority.configure_trust(client_tls)
        trusted = {finding.check: finding.ok for finding in probe_zoom(url, 5, client_tls)}
    assert distrusted == {"dns": True, "tls": False, "clock": None}
    assert trusted == {"dns": True, "tls": True, "clock": True}


def test_ports_are_numbers_where_there_are_no_names_of_services(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def without_services(host: str, port: Any, **_more: Any) -> NoReturn:
        asked.append((host, port))
        raise socket.gaierror(socket.EAI_SERVICE, "no such service")

    monkeypatch.setattr(socket, "getaddrinfo", without_services)
    for url in ("https://zoom.us/", "http://zoom.us/", "https://zoom.us:8443/"):
        probe_zoom(urlsplit(url), 5)
    assert asked == [("zoom.us", 443), ("zoom.us", 80), ("zoom.us", 8443)]


@pytest.mark.parametrize("ours", [True, False])
def test_the_public_url_is_ours_if_our_count_rises(ours: bool) -> None:
    results = {"accepted": 3, "unsigned": 0}

    def respond(_headers: Any, _body: bytes) -> tuple[int, bytes]:
        results["unsigned"] += ours
        return 401, b""

    with http_server(respond) as address:
        finding = probe_public_url(
            urlsplit(f"http://{address}/hook"), lambda: {"webhook": {"results": dict(results)}}, 5
        )
    assert finding.ok is ours


def test_what_is_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(Unanswered, match="does not answer in HTTP"):
            request(urlsplit(f"http://127.0.0.1:{listener.getsockname()[1]}/"), "POST", timeout_s=60)
        thread.join()


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(Unanswered, match=r"the name nowhere\.invalid cannot be resolved"):
        request(urlsplit("https://nowhere.invalid/"), "HEAD", timeout_s=60)
