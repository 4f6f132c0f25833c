"""The HMAC of signaling and media handshakes. That of webhooks is in `webhook/verify.py`."""

import hashlib
import hmac


def handshake_signature(client_id: str, client_secret: str, session_id: str, rtms_stream_id: str) -> str:
    """Return the `signature` of messages 1 and 3: 64 lowercase hex digits, constant for the life of the stream.

    Args:
        session_id: the opaque session_id, meeting_uuid, ... exactly as the webhook had it.

    Source: Zoom documentation, "Working with streams", step 3.
    """
    message = f"{client_id},{session_id},{rtms_stream_id}"
    return hmac.new(client_secret.encode(), message.encode(), hashlib.sha256).hexdigest()
