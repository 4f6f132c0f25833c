"""The masking of secrets in any text: signatures, tokens, and all of a WebSocket URL but its host."""

import re
from typing import Final

MASK: Final = "***"
MAX_REMOTE_CHARS: Final = 200  # of the reason that a server gives: Zoom's are shorter

SECRET_TEXTS: Final = (
    (re.compile(r"\b[0-9a-fA-F]{64}\b"), MASK),  # signatures of handshakes and webhooks
    (re.compile(r"\b((?i:bearer|basic)) [\w.~+/=-]+"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), MASK),  # JSON web tokens
    (re.compile(r"\b((?i:wss?)://)(?:[^\s/?#@'\"]*@)?([^\s/?#'\"]+)[^\s'\"]*"), r"\1\2"),
)


def masked(text: str) -> str:
    for pattern, replacement in SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def sanitize_remote_text(text: str) -> str:
    """Return a server's text, fit for an error that is written to files: masked and cut to a readable length."""
    text = masked(text[: 10 * MAX_REMOTE_CHARS])
    return text if len(text) <= MAX_REMOTE_CHARS else f"{text[:MAX_REMOTE_CHARS]} ..."
