"""HTTP requests to other servers, for the verbs that check the paths from and to Zoom."""

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult

MAX_ANSWER_BYTES: Final = 65536


class Unanswered(Exception):
    """There was no HTTP answer; the text says which step failed, and why.

    Attributes:
        timed_out: the server did not answer in time.
    """

    def __init__(self, text: str, *, timed_out: bool = False) -> None:
        super().__init__(text)
        self.timed_out = timed_out


class Answer(NamedTuple):
    """`headers` have lowercase names; `took_s` runs from the first packet to the last byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float


def request(
    url: SplitResult,
    method: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Make one request, following no redirects, as Zoom follows none.

    Args:
        tls: for https; the system's certificate authorities by default.

    Raises:
        Unanswered: saying which of name, connection, TLS or answer failed.
    """
    host = url.hostname or ""
    connection: http.client.HTTPConnection
    if url.scheme == "https":
        context = tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, url.port, timeout=timeout_s)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    started_s = time.monotonic()
    try:
        connection.request(method, target, body=body or None, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES)
    except socket.gaierror as error:
        raise Unanswered(f"the name {host} cannot be resolved: {error.strerror}") from error
    except ssl.SSLCertVerificationError as error:
        raise Unanswered(f"the TLS certificate of {host} is not trusted: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise Unanswered(f"TLS with {host} fails: {error.reason or error}") from error
    except TimeoutError as error:
        raise Unanswered(f"no answer from {url.netloc} within {timeout_s:g} s", timed_out=True) from error
    except OSError as error:
        raise Unanswered(f"cannot connect to {url.netloc}: {error.strerror or error}") from error
    except http.client.HTTPException as error:
        raise Unanswered(f"{url.netloc} does not answer in HTTP: {error!r}") from error
    finally:
        connection.close()
    lower = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, lower, content, time.monotonic() - started_s)
