"""Numbers in logs, answers and scripts other than those of RTMS: WebSocket close codes, HTTP answers, exit statuses."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from rtmsd.ctl.errors import Exit
from rtmsd.protocol.explanations import Meaning

_WAIT: Final = "Nothing: rtmsd connects again until Zoom's window ends."
_PROXY: Final = "The network, a proxy or firewall in between, or a server that was killed."
_BUG: Final = "A bug at Zoom or in rtmsd."
_REPORT: Final = "rtmsd connects again. If it continues, report it with the log lines around it."

_Texts: TypeAlias = tuple[str, str, str, str]  # of a `Meaning`

CLOSE_CODES: Final[Mapping[int, _Texts]] = {
    1000: ("NORMAL_CLOSURE", "The connection was closed normally.", "The stream ended, or moved.", "Nothing."),
    1001: ("GOING_AWAY", "The server shuts down.", "Zoom's server is shut down, or the stream moves.", _WAIT),
    1002: ("PROTOCOL_ERROR", "One side broke the rules of WebSocket.", _BUG, _REPORT),
    1003: ("UNSUPPORTED_DATA", "One side received a type of message that it does not accept.", _BUG, _REPORT),
    1005: ("NO_STATUS", "The connection was closed without a code.", "Zoom's server does that.", _WAIT),
    1006: ("ABNORMAL_CLOSURE", "The connection was lost without a close.", _PROXY, _WAIT),
    1007: ("INVALID_TEXT", "A text message was not UTF-8.", _BUG, _REPORT),
    1008: ("POLICY_VIOLATION", "The server refuses the connection.", "A rule of Zoom or of a proxy.", _WAIT),
    1009: (
        "MESSAGE_TOO_BIG",
        "A message was larger than the receiver accepts.",
        "From rtmsd: larger than zoom.max_message_bytes. A hostile or broken server, or large video frames.",
        "If the frames are genuine, raise zoom.max_message_bytes.",
    ),
    1010: ("MANDATORY_EXTENSION", "The server lacks an extension.", _BUG, _REPORT),
    1011: ("INTERNAL_ERROR", "The server failed.", "A failure at Zoom.", _WAIT),
    1012: ("SERVICE_RESTART", "The server restarts.", "Maintenance at Zoom.", _WAIT),
    1013: ("TRY_AGAIN_LATER", "The server is overloaded.", "A failure at Zoom.", _WAIT),
    1014: ("BAD_GATEWAY", "A gateway got no valid answer from the server behind it.", _PROXY, _WAIT),
    1015: (
        "TLS_HANDSHAKE",
        "TLS failed.",
        "A certificate that is not trusted: a proxy that opens TLS, or no ca-certificates.",
        "`rtmsctl doctor` looks at TLS.",
    ),
}

HTTP_ANSWERS: Final[Mapping[int, _Texts]] = {
    200: ("OK", "The webhook was accepted and stored.", "All is well.", "Nothing."),
    400: (
        "BAD_REQUEST",
        "A genuine webhook is not an event that rtmsd can use.",
        "A required field is missing, or the request was invalid HTTP.",
        "The log line says what is missing; report it if it is Zoom's.",
    ),
    401: (
        "UNAUTHORIZED",
        "The webhook's signature is missing, wrong or stale. Zoom does not send it again.",
        "The wrong Secret Token, a proxy that changes the body, or a clock that is wrong.",
        "`rtmsctl doctor` says which; then start the stream again.",
    ),
    404: (
        "NOT_FOUND",
        "Nothing is at this path.",
        "The URL that Zoom has does not end in webhook.path, or something else answers.",
        "Compare the URL in the Zoom app with webhook.path and the front proxy.",
    ),
    405: ("METHOD_NOT_ALLOWED", "The webhook accepts only POST.", "A browser, or a scanner.", "Nothing."),
    413: ("TOO_LARGE", "The body is larger than webhook.max_body_bytes.", "Not Zoom, most likely.", "Nothing."),
    502: (
        "BAD_GATEWAY",
        "The front proxy does not reach rtmsd.",
        "rtmsd is down, or the proxy has another address for it.",
        "Compare its upstream address with `rtmsctl status`.",
    ),
    503: (
        "SERVICE_UNAVAILABLE",
        "A start was refused for now; Zoom tries again, but usually too late.",
        "rtmsd is draining, starting, short of disk space or descriptors, or cannot write its state file.",
        "`rtmsctl status` says why.",
    ),
    504: (
        "GATEWAY_TIMEOUT",
        "The front proxy got no answer from rtmsd in time.",
        "A proxy that has the wrong address, or a disk that does not answer.",
        "`rtmsctl status`, and the proxy's log.",
    ),
}

EXIT_STATUSES: Final[Mapping[int, _Texts]] = {
    Exit.OK: ("OK", "It was done.", "All is well.", "Nothing."),
    Exit.FAILED: ("FAILED", "It could not be done.", "The line on standard error says why.", "See that line."),
    Exit.USAGE: (
        "USAGE",
        "The command line is wrong, or a prefix matches several streams.",
        "A typing error.",
        "`rtmsctl VERB --help`, `rtmsctl ps -a`.",
    ),
    Exit.UNREACHABLE: (
        "UNREACHABLE",
        "No daemon answers.",
        "It is not running, or uses another socket.",
        "`systemctl status rtmsd`; --socket or RTMSD_SOCKET name another socket.",
    ),
    Exit.NO_SUCH_STREAM: ("NO_SUCH_STREAM", "No stream has that id.", "A typing error.", "`rtmsctl ps -a` lists them."),
    Exit.NOT_PERMITTED: (
        "NOT_PERMITTED",
        "You may not do this.",
        "The socket's mode keeps you out, or it is for root and the daemon's own user.",
        "Join the socket's group to look; use sudo to control.",
    ),
    Exit.TIMED_OUT: (
        "TIMED_OUT",
        "The daemon did not answer in time.",
        "It is overloaded, stopped, or waits for a disk.",
        "Allow more with --timeout; `systemctl status rtmsd`.",
    ),
    Exit.REFUSED: (
        "REFUSED",
        "Not in this state.",
        "The stream has ended, is being recorded, or has no such media.",
        "The line on standard error says which.",
    ),
    Exit.BAD_CONFIG: (
        "BAD_CONFIG",
        "The configuration is wrong; nothing was started, and systemd does not try again.",
        "A mistake in the file.",
        "`rtmsd check --config FILE` names every mistake.",
    ),
}

OTHER_NUMBERS: Final[Mapping[str, Mapping[int, Meaning]]] = {
    kind: {number: Meaning(*texts) for number, texts in rows.items()}
    for kind, rows in {"close code": CLOSE_CODES, "HTTP answer": HTTP_ANSWERS, "exit status": EXIT_STATUSES}.items()
}
"""By kind."""
