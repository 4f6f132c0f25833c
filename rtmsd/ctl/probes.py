"""The checks that `doctor` makes itself: the clock, the path to Zoom, and the path from outside to our webhook."""

import socket
import ssl
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import SplitResult

from rtmsd.ctl.findings import Finding
from rtmsd.ctl.web import Answer, Unanswered, request

PORTS: Final = {"http": 80, "https": 443}  # as numbers: a small system has no /etc/services
CLOCK_GOOD_S: Final = 30.0
"""Far below webhook.max_age_s (300 by default), where every signature is refused: better seen before."""


def probe_zoom(url: SplitResult, timeout_s: float, tls: ssl.SSLContext | None = None) -> list[Finding]:
    """Resolve, connect to and query one of Zoom's servers: checks `dns`, `tls` and `clock`.

    Args:
        tls: the system's certificate authorities by default.
    """
    host = url.hostname or ""
    try:
        socket.getaddrinfo(host, url.port or PORTS[url.scheme], type=socket.SOCK_STREAM)
    except OSError as error:
        return [
            Finding(
                "dns", False, f"{host}: {error.strerror}", "Repair the resolver (/etc/resolv.conf) or the network."
            ),
            Finding("tls", None, "needs DNS"),
            Finding("clock", None, "needs an answer from Zoom"),
        ]
    dns = Finding("dns", True, f"{host} resolves")
    sent_s = time.time()
    try:
        answer = request(url, "HEAD", timeout_s=timeout_s, tls=tls)
    except Unanswered as error:
        hint = "Let this host reach *.zoom.us:443, directly: a proxy that opens TLS breaks it. Install ca-certificates."
        return [dns, Finding("tls", False, str(error), hint), Finding("clock", None, "needs an answer from Zoom")]
    return [dns, Finding("tls", True, f"{host} answers, and its certificate is good"), judge_clock(answer, sent_s)]


def judge_clock(answer: Answer, sent_s: float) -> Finding:
    """Compare our clock with the Date of an answer, which is whole seconds and somewhere between request and answer."""
    try:
        theirs_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Finding("clock", None, "the answer has no date")
    skew_s = sent_s + answer.took_s / 2 - theirs_s
    where = "ahead of" if skew_s > 0 else "behind"
    return Finding(
        "clock",
        abs(skew_s) <= CLOCK_GOOD_S,
        f"{abs(skew_s):.0f} s {where} Zoom's",
        "Set the clock (chrony, systemd-timesyncd): genuine webhooks are refused as stale by a wrong one.",
    )


def probe_public_url(url: SplitResult, status: Callable[[], Any], timeout_s: float) -> Finding:
    """Post an unsigned event to the public address: rtmsd answers 401, and its count of webhooks rises.

    Args:
        status: asks the daemon for its status; called before and after.
    """
    before = _webhooks(status())
    try:
        answer = request(url, "POST", b"{}", {"content-type": "application/json"}, timeout_s=timeout_s)
    except Unanswered as error:
        return Finding(
            "public url", False, str(error), "Zoom needs a public name, port 443, and a trusted certificate."
        )
    if _webhooks(status()) > before and answer.status >= 500:
        return Finding(
            "public url",
            False,
            f"{url.geturl()} reaches this daemon, which answers {answer.status}",
            "A bug in rtmsd, or an incompatible release of a library: the log has the traceback.",
        )
    if _webhooks(status()) > before:
        return Finding("public url", True, f"{url.geturl()} reaches this daemon")
    return Finding(
        "public url",
        False,
        f"answered {answer.status}, but this daemon received nothing",
        "Something else answers there: check the path (webhook.path), and where the front proxy sends it.",
    )


def _webhooks(status: Any) -> int:
    return sum(status["webhook"]["results"].values())
