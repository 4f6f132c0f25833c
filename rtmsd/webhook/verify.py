"""Signatures of webhooks and their age. Pure; the simulator signs with the same code."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from rtmsd.config import AppConfig

MAX_TIMESTAMP_DIGITS: Final = 18


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the header `x-zm-signature`: "v0=" and 64 lowercase hex digits.

    Args:
        secret: the app's webhook secret token, not its client secret.
        timestamp: header `x-zm-request-timestamp` as sent.
        body: the request body as sent, not JSON encoded again.

    Source: Zoom documentation, "Using webhooks", verification by Zoom's header.
    """
    message = b"v0:%b:%b" % (timestamp.encode(errors="replace"), body)
    return f"v0={_hmac_hex(secret, message)}"


def is_genuine(secret: str, timestamp: str, body: bytes, signature: str) -> bool:
    """Return whether Zoom signed this webhook. A malformed header is False, not an error.

    Args:
        timestamp: header `x-zm-request-timestamp` as sent; its age is checked elsewhere.
        body: the request body as received, not JSON encoded again.
        signature: header `x-zm-signature`.
    """
    return hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode(errors="replace"))


def age_s(timestamp: str, now_s: float) -> float | None:
    """Return how long ago a signed timestamp was, negative when it is yet to come; None for what is no number.

    Args:
        timestamp: Unix time in seconds, decimal digits.
        now_s: local Unix time in seconds.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= MAX_TIMESTAMP_DIGITS):
        return None
    return now_s - int(timestamp)


def is_fresh(timestamp: str, now_s: float, max_age_s: float) -> bool:
    """Return whether a signed timestamp lies within `max_age_s` of now, before or after; what is no number does not."""
    age = age_s(timestamp, now_s)
    return age is not None and abs(age) <= max_age_s


def find_app(apps: Sequence[AppConfig], timestamp: str, body: bytes, signature: str) -> tuple[AppConfig, str] | None:
    """Return the app that owns this webhook and the one of its secrets that verifies it; None for a forgery."""
    for app in apps:
        for secret in app.webhook_secrets:
            if is_genuine(secret, timestamp, body, signature):
                return app, secret
    return None


def find_swapped(apps: Sequence[AppConfig], timestamp: str, body: bytes, signature: str) -> AppConfig | None:
    """Return the app whose *client* secret signed this webhook: its two secrets are swapped in the configuration."""
    return next((app for app in apps if is_genuine(app.client_secret, timestamp, body, signature)), None)


def validation_answer(secret: str, plain_token: str) -> dict[str, str]:
    """Return the JSON object that answers `endpoint.url_validation`.

    Source: Zoom documentation, "Using webhooks", validate your webhook endpoint.
    """
    return {"plainToken": plain_token, "encryptedToken": _hmac_hex(secret, plain_token.encode())}


def _hmac_hex(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
