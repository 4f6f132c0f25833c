"""A fake daemon on a real Unix socket, with answers chosen by the test."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rtmsd.ctl.main import main


class Stream(NamedTuple):
    """A body that is sent in chunks.

    Attributes:
        cut_off: without the last one, as by a daemon that is killed.
        stay: nothing more comes, but the body does not end.
    """

    chunks: list[bytes]
    cut_off: bool
    stay: bool


class FakeDaemon:
    """Attributes:
    answers: by "METHOD /path?query": a JSON value, bytes, a `Stream`, or (status, JSON value).
    requests: what was asked, with the body of POSTs.
    server: the name in its Server header.
    fields: further header fields of each answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {}
        self.requests: list[tuple[str, bytes]] = []
        self.finished = threading.Event()
        self.server = "rtmsd-admin"
        self.fields: dict[str, str] = {}

    def stream(self, *chunks: bytes, cut_off: bool = False, stay: bool = False) -> Stream:
        """An answer for `answers`."""
        return Stream(list(chunks), cut_off, stay)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that leaves early."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "admin.sock")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def version_string(self) -> str:
            return fake.server

        def address_string(self) -> str:
            return "local"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            request = f"{self.command} {self.path}"
            fake.requests.append((request, body))
            answer = fake.answers.get(request, (404, {"code": "no_such_path", "detail": f"nothing is at {self.path}"}))
            if isinstance(answer, Stream):
                self.send_response(200)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for chunk in answer.chunks:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                if answer.stay:
                    fake.finished.wait()
                if not answer.cut_off:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = True
                return
            status, value = answer if isinstance(answer, tuple) else (200, answer)
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            for name, field in fake.fields.items():
                self.send_header(name, field)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any

    with Server(str(fake.path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        fake.finished.set()
        server.shutdown()
        thread.join()


Ctl = Callable[..., int]


@pytest.fixture
def ctl(daemon: FakeDaemon) -> Ctl:
    """rtmsctl against the fake daemon; usage errors are returned like every other exit status."""

    def run(*args: str) -> int:
        try:
            return main(["--socket", str(daemon.path), *args])
        except SystemExit as leaving:
            return int(leaving.code or 0)

    return run
