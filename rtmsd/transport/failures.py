"""Causes of failed connections, each with a text of its own. Pure: errors of the system and of OpenSSL in.

The reader must know where to look: at a firewall, a route, DNS, a certificate, or at Zoom.
"""

import errno
import http
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Final

from rtmsd.errors import leaves

_ERRNOS: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: "refused: nothing listens there, or a firewall rejects it",
    errno.ETIMEDOUT: "timed out: no answer at all, as behind a firewall that drops",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the network",
    errno.ENETDOWN: "the network is down",
    errno.EADDRNOTAVAIL: "no local address for it",
    errno.ECONNRESET: "reset by the other side",
    errno.ECONNABORTED: "aborted",
    errno.EPIPE: "closed by the other side",
    errno.EACCES: "not permitted by this machine",
    errno.EPERM: "not permitted by this machine",
    errno.EMFILE: "no file descriptor left",
    errno.ENFILE: "no file descriptor left on this machine",
}
_NOT_FOUND: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_EXPIRED: Final = 10  # X509_V_ERR of OpenSSL
_NOT_YET_VALID: Final = 9
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21, 27})
_OTHER_HOST: Final = frozenset({62, 64})
_OLD_VERSION: Final = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW"}
)
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_ENDED: Final = frozenset({"UNEXPECTED_EOF_WHILE_READING"})


def why_not_connected(error: OSError) -> str:
    """Return why TCP failed: of several addresses each cause once, the last one first."""
    return "; ".join(dict.fromkeys(system_error(each) for each in reversed(list(_attempts(error))))) or str(error)


def _attempts(error: BaseException) -> Iterator[OSError]:
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):  # Trio's, with one error for each address
        yield from (each for each in leaves(cause) if isinstance(each, OSError))
    elif isinstance(cause, OSError):
        yield cause
    elif isinstance(error, OSError):
        yield error


def system_error(error: OSError) -> str:
    """Return what one error of the system means."""
    if isinstance(error, socket.gaierror):
        if error.errno in _NOT_FOUND:
            return "DNS: the name is not known"
        if error.errno == socket.EAI_AGAIN:
            return "DNS: no answer for the name now"
        return f"DNS: {error.strerror or error}"
    if error.errno is None:
        return str(error) or type(error).__name__
    return _ERRNOS.get(error.errno) or os.strerror(error.errno)


def why_broken(error: BaseException) -> str:
    """Return why an open connection broke, from the chain of causes; "" when it is unknown."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and not isinstance(seen, ssl.SSLError):
            return system_error(seen)
        seen = seen.__cause__ or seen.__context__
    return ""


def tls_failure(error: ssl.SSLError) -> str:
    """Return why TLS refused the other side: certificate, host name, version, or no TLS at all."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {_certificate(error)}"
    text = getattr(error, "reason", None) or str(error)  # one raised by Python code has no reason
    reason = text.upper()
    if reason in _OLD_VERSION:
        return f"TLS version: the server supports none from 1.2 on ({text})"
    if reason in _NOT_TLS:
        return f"TLS: the server does not speak TLS ({text})"
    if reason in _ENDED:
        return "TLS: the other side ended the connection"
    return f"TLS: {text}"


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    text = error.verify_message
    if error.verify_code in _OTHER_HOST:
        return f"it is for another host ({text})"
    if error.verify_code == _EXPIRED:
        return f"it has expired, or this machine's clock is ahead ({text})"
    if error.verify_code == _NOT_YET_VALID:
        return f"it is not valid yet, or this machine's clock is behind ({text})"
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"nobody known here signed it; zoom.ca_file can name a CA ({text})"
    return text


def http_answer(status: int) -> str:
    """Return a status with its phrase: "HTTP status 503 (Service Unavailable)"."""
    try:
        return f"HTTP status {status} ({http.HTTPStatus(status).phrase})"
    except ValueError:
        return f"HTTP status {status}"
