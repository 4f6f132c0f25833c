"""The head of a request before h11 reads it: its end, and the ambiguities that no honest client sends. Pure.

h11 (0.16) takes a lone LF for the end of a line, joins folded lines, and lets Transfer-Encoding win over
Content-Length. Another server between the client and us may see two requests there, or a different one.
"""

import re
from typing import Final

import h11

from rtmsd.http.messages import Fault, Refusal

_END: Final = re.compile(rb"\n\r?\n")  # as h11 finds it, so that a lone LF is refused and not waited for
_AMBIGUOUS: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\r\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:([^\r]*)", re.IGNORECASE)
_ABSOLUTE: Final = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[^][/?#@:\\]+)(?::[0-9]*)?(?=[/?]|$)", re.IGNORECASE)
_VERSIONS: Final = (b"1.0", b"1.1")


def take_head(buffer: bytearray, limit_bytes: int) -> bytes | None:
    """Take a whole head out of the buffer; None while it is incomplete.

    Raises:
        Refusal: it is too large, or can be read in more than one way.
    """
    while buffer[:2] == b"\r\n":  # RFC 9112 §2.2: what an old client sends after a body
        del buffer[:2]
    if buffer and buffer[0] < 0x21 and buffer[:1] != b"\r":
        raise Refusal(Fault.MALFORMED, "not an HTTP request; TLS is for a proxy in front")
    end = _END.search(buffer, 0, limit_bytes + 4)
    if end is None or end.end() > limit_bytes:
        if len(buffer) > limit_bytes:
            raise Refusal(Fault.HEADERS_TOO_LARGE, f"the headers may hold {limit_bytes} bytes")
        return None
    head = bytes(buffer[: end.end()])
    del buffer[: end.end()]
    if _AMBIGUOUS.search(head):
        raise Refusal(Fault.MALFORMED, "the headers hold a folded line, a control character, or a lone CR or LF")
    lengths = _LENGTH.findall(head)
    if len(lengths) > 1 or (lengths and b"," in lengths[0]):
        raise Refusal(Fault.MALFORMED, "more than one Content-Length")
    return head


def check_framing(request: h11.Request) -> None:
    """Refuse what h11 accepts and other servers may read differently.

    Raises:
        Refusal: with the reason.
    """
    if request.http_version not in _VERSIONS:
        raise Refusal(Fault.MALFORMED, "only HTTP/1.0 and HTTP/1.1 are supported")
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            raise Refusal(Fault.MALFORMED, "Content-Length together with Transfer-Encoding")
        if request.http_version == b"1.0":
            raise Refusal(Fault.MALFORMED, "HTTP/1.0 has no Transfer-Encoding")


def asks_to_close(request: h11.Request) -> bool:
    """Whether the connection ends with the answer. HTTP/1.0 has no other way that all of its clients understand."""
    options = (value for name, value in request.headers if name == b"connection")
    return request.http_version == b"1.0" or any(
        option.strip().lower() == b"close" for value in options for option in value.split(b",")
    )


def origin_form(target: str) -> str:
    """Return the path and query of a target sent with scheme and host, as to a proxy; others unchanged."""
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        return target
    rest = target[absolute.end() :]
    return rest if rest.startswith("/") else f"/{rest}"
