"""What must not be written anywhere, whoever said it: signatures, tokens, and all of a WebSocket URL but its host."""

import re
from typing import Final

MASK: Final = "***"
MAX_REMOTE_CHARS: Final = 200  # of what a server gives as a reason: Zoom's are shorter

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
    """Return what a server said, fit for an error that ends up in files: masked, and no longer than anybody reads."""
    text = masked(text[: 10 * MAX_REMOTE_CHARS])
    return text if len(text) <= MAX_REMOTE_CHARS else f"{text[:MAX_REMOTE_CHARS]} ..."
