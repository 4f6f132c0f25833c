"""The client of the admin socket: HTTP/1.1 over a Unix socket, errors as exit statuses."""

import contextlib
import errno
import grp
import http.client
import json
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.terminal import printable

EXIT_OF_CODE: Final[Mapping[str, Exit]] = {
    "bad_request": Exit.USAGE,
    "ambiguous": Exit.USAGE,
    "no_such_stream": Exit.NO_SUCH_STREAM,
    "no_such_recording": Exit.NO_SUCH_STREAM,
    "no_such_node": Exit.NO_SUCH_STREAM,
    "no_such_delivery": Exit.NO_SUCH_STREAM,
    "no_such_participant": Exit.REFUSED,  # may still speak
    "not_in_stream": Exit.NO_SUCH_STREAM,
    "not_permitted": Exit.NOT_PERMITTED,
    "timed_out": Exit.TIMED_OUT,
    "refused_in_state": Exit.REFUSED,
}
"""By the problem's `code`, which is stable; every other one is a plain failure."""

CONNECT_RETRY_S: Final = 0.05
MAX_PROBLEM_BYTES: Final = 65536
CHUNK_BYTES: Final = 65536
SERVER: Final = "rtmsd-admin"  # each answer's Server header: another server's "200 OK" says nothing about rtmsd
ELSEWHERE: Final = "--socket or RTMSD_SOCKET name another socket (rtmsd's is admin.socket of its configuration)."


class UnixConnection(http.client.HTTPConnection):
    """`http.client` over a Unix socket; the host name is only what the Host header says."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect, waiting at most `timeout_s` for a place in the daemon's queue. Raises OSError, also TimeoutError."""
        deadline = time.monotonic() + self._timeout_s
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self._timeout_s)
        try:
            while True:
                try:
                    sock.connect(self._path)
                    break
                except BlockingIOError:  # the queue is full: a daemon that is there but does not accept
                    if time.monotonic() >= deadline:
                        raise TimeoutError from None
                    time.sleep(CONNECT_RETRY_S)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class Request(NamedTuple):
    """`path` is percent-encoded, `query` is not; `body` is sent as JSON."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None


class LiveAnswer:
    """A body that lasts until the daemon ends it. Raises CtlError when it is cut off instead."""

    def __init__(self, response: http.client.HTTPResponse, path: str) -> None:
        self._response = response
        self._path = path

    def chunks(self) -> Iterator[bytes]:
        """Yield bytes as they come, none of them held back."""
        while True:
            with _translated(self._path):
                chunk = self._response.read1(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk

    def lines(self) -> Iterator[bytes]:
        """Yield whole lines without their newline."""
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole


class AdminClient:
    """Requests to the daemon, a connection each. A method raises CtlError, and nothing else, without a good answer.

    Attributes:
        workers: numbers of the workers that the latest answer is for; none when one process is the daemon.
        silent: those of them that are not in it.

    Args:
        path: the admin socket.
        timeout_s: the longest silence before and within an answer; a live one that has begun may be silent for ever.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        self.path = path
        self.workers: tuple[str, ...] = ()
        self.silent: tuple[str, ...] = ()
        self._timeout_s = timeout_s

    def get(self, path: str, **query: str) -> Any:
        """GET, and return the decoded JSON body."""
        return self._json(Request("GET", path, query))

    def post(self, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Any:
        """POST, with `body` as JSON when there is one, and return the decoded JSON body."""
        return self._json(Request("POST", path, query, body))

    def delete(self, path: str) -> Any:
        """DELETE, and return the decoded JSON body."""
        return self._json(Request("DELETE", path))

    def text(self, path: str) -> str:
        """GET a body that is text and not JSON."""
        return self._read(Request("GET", path)).decode()

    @contextlib.contextmanager
    def live(self, path: str, **query: str) -> Iterator[LiveAnswer]:
        """GET a body that lasts."""
        with self._exchange(Request("GET", path, query)) as (response, sock):
            sock.settimeout(None)
            yield LiveAnswer(response, self.path)

    def _json(self, request: Request) -> Any:
        content = self._read(request)
        try:
            return json.loads(content)
        except ValueError as error:
            raise CtlError(Exit.FAILED, f"{self.path} answered {request.path} with invalid JSON: {error}") from error

    def _read(self, request: Request) -> bytes:
        with self._exchange(request) as (response, _), _translated(self.path, self._timeout_s):
            return response.read()

    @contextlib.contextmanager
    def _exchange(self, request: Request) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Yield a good answer, its body unread, and the socket that it comes from."""
        target = f"{request.path}?{urlencode(request.query, safe=',')}" if request.query else request.path
        body = None if request.body is None else json.dumps(request.body)
        with contextlib.closing(UnixConnection(self.path, self._timeout_s)) as connection:
            with _translated(self.path, self._timeout_s):
                connection.connect()
                sock: socket.socket = connection.sock  # it leaves `connection` with the answer: there is only one
                connection.request(request.method, target, body=body, headers={"Connection": "close"})
                response = connection.getresponse()
                if response.getheader("server") != SERVER:
                    raise CtlError(
                        Exit.UNREACHABLE, f"{self.path} is no admin socket of rtmsd: something else answers", ELSEWHERE
                    )
                if response.status >= 400:
                    raise _refusal(response, request.path)
                self.workers, self.silent = _named(response, "rtmsd-workers"), _named(response, "rtmsd-silent")
            with response:
                yield response, sock


def _named(response: http.client.HTTPResponse, field: str) -> tuple[str, ...]:
    return tuple((response.getheader(field) or "").split())


@contextlib.contextmanager
def _translated(path: str, timeout_s: float = 0) -> Iterator[None]:
    """Translate the errors of the socket at `path`, and of nothing else, into CtlError."""
    try:
        yield
    except TimeoutError as error:
        raise CtlError(
            Exit.TIMED_OUT,
            f"no answer from {path} within {timeout_s:g} s",
            "It is overloaded or stopped, or starts, for 20 s where the cluster's servers are away: see `journalctl -u "
            "rtmsd`, or allow more with --timeout.",
        ) from error
    except PermissionError as error:
        raise CtlError(Exit.NOT_PERMITTED, f"{path}: permission denied", permission_hint(path)) from error
    except OSError as error:
        if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH110, PTH116 - see below
            raise CtlError(Exit.UNREACHABLE, f"{path} is no socket", ELSEWHERE) from error
        raise CtlError(
            Exit.UNREACHABLE,
            f"no daemon at {path or 'an empty path'}: {_reason(error)}",
            "Is it running (`systemctl status rtmsd`)? --socket or RTMSD_SOCKET name another socket.",
        ) from error
    except (http.client.BadStatusLine, http.client.UnknownProtocol) as error:
        raise CtlError(Exit.UNREACHABLE, f"{path} does not speak HTTP: it is not rtmsd's", ELSEWHERE) from error
    except http.client.HTTPException as error:
        raise CtlError(Exit.UNREACHABLE, f"{path} ended its answer early: {error!r}") from error


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such socket"
    if error.errno == errno.ECONNREFUSED:
        return "the socket is there, but nobody listens"
    return error.strerror or str(error)


def permission_hint(path: str) -> str:
    """Say who may open the socket, as its mode and group have it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib is not needed for anything else
    except OSError:
        return "You may not enter its directory: use sudo."
    if not found.st_mode & stat.S_IWGRP:
        return "Only its owner may open it: use sudo."
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    if group == "root":
        return "Use sudo: it is root's."
    return f"Become a member of the socket's group ({group}), and log in again; or use sudo."


def stream_path(stream: str, *rest: str) -> str:
    """Return the path of one stream, named by its id or a unique prefix. Raises CtlError for an empty name.

    The daemon resolves prefixes; an id may contain "/" and is therefore encoded whole.
    """
    if not stream:
        raise CtlError(Exit.USAGE, "a stream's name is empty", "`rtmsctl ps` lists the streams.")
    return "/".join(("/v1/streams", quote(stream, safe="", errors="surrogateescape"), *rest))


def _refusal(response: http.client.HTTPResponse, path: str) -> CtlError:
    """Return the CtlError for an answer of 400 and above, be it problem+json or not."""
    try:
        problem = json.loads(response.read(MAX_PROBLEM_BYTES))
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or f"the daemon answered {path} with {response.status} {response.reason}"
    names = problem.get("names") or {}
    more = [str(item) for key in ("candidates", "mistakes") for item in problem.get(key, ())]
    more += [f"{item}  {printable(names.get(item, ''))}".rstrip() for item in problem.get("participants", ())]
    return CtlError(EXIT_OF_CODE.get(str(problem.get("code")), Exit.FAILED), str(detail), "\n".join(more))
