"""What a simulator is told when it is opened, and what it knows of Zoom's products."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.products import IdKey


@attrs.frozen
class Product:
    """How one of Zoom's products names itself on the wire (protocol.md, section 1.2)."""

    webhook_prefix: str  # followed by "started", "stopped" or "interrupted"
    id_key: IdKey
    media: MediaType  # what an app with all scopes is granted


_MEETING_MEDIA: Final = MediaType.AUDIO | MediaType.VIDEO | MediaType.DESKSHARE | MediaType.TRANSCRIPT | MediaType.CHAT
_VOICE_MEDIA: Final = MediaType.AUDIO | MediaType.TRANSCRIPT

PRODUCTS: Final = {
    "session": Product("session.rtms_", "session_id", _VOICE_MEDIA),
    "meeting": Product("meeting.rtms_", "meeting_uuid", _MEETING_MEDIA),
    "webinar": Product("webinar.rtms_", "webinar_uuid", _MEETING_MEDIA),
    "contact_center": Product("contact_center.voice_rtms_", "engagement_id", _VOICE_MEDIA),
    "phone": Product("phone.rtms_", "call_id", _VOICE_MEDIA),
}


class Tone(enum.Enum):
    """What a participant's packets hold."""

    SPEECH = "speech"  # speech-like, another voice for each participant
    MARKED = "marked"  # every packet names its participant and its number: see `marks.py`


@attrs.frozen(kw_only=True)
class Timing:
    """Zoom's delays and windows, in Zoom's seconds: `SimulatorSettings.speed` shortens them all."""

    keep_alive_s: float = 10
    keep_alive_misses: int = 3  # so many unanswered requests in a row, and the connection is cut
    signaling_window_s: float = 60
    media_window_s: float = 65
    attach_window_s: float = 60  # nobody attaches for so long after the start: the stream ends
    buffer_s: float = 60  # audio older than this is given up
    utterance_s: float = 4  # somebody who talks on gets a transcript this often
    transcript_lag_s: float = 1.5
    stop_grace_s: float = 0.5  # between "terminating" and "terminated"
    webhook_retry_s: tuple[float, ...] = (300, 1200, 3600)  # after a 5xx, a timeout or no connection


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """All a simulator needs; the defaults listen on a free loopback port and post no webhooks.

    Attributes:
        webhook_url: where events are posted; None only records them, for a client that is told its URL otherwise.
        webhook_ca_file: a CA for `webhook_url`, beside the system's.
        webhook_timeout_s: local seconds, whatever the speed: Zoom waits 3.
        tls: wss://, with a certificate of the CA in `ca_file`, or of a throw-away one (`Simulator.ca_pem`).
        ca_file: where the CA is kept; made when it is not there. Its private key is beside it.
        speed: Zoom's seconds in one local second.
        strict: False accepts what Zoom's own samples do against the documents: one message 7 for several media
            connections, image codecs above their frame rate (27, 33), subscriptions as bare numbers.
        handshake_s: local seconds a fresh connection may take to say something.
        api_key, api_secret, account_id: of the REST API; for meetings the client and the account of the OAuth app.
    """

    webhook_url: str | None = None
    webhook_ca_file: Path | None = None
    webhook_timeout_s: float = 3
    client_id: str = "simulatedClientId"
    client_secret: str = attrs.field(default="simulated-client-secret", repr=False)
    webhook_secret: str = attrs.field(default="simulated-webhook-secret", repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = False
    ca_file: Path | None = None
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    strict: bool = True
    tone: Tone = Tone.SPEECH
    timing: Timing = Timing()
    handshake_s: float = 10
    api_key: str = "simulatedApiKey"
    api_secret: str = attrs.field(default="simulated-api-secret-of-32-bytes-or-more", repr=False)
    account_id: str = "AcctDemo_001"


@attrs.frozen(kw_only=True)
class Person:
    """Somebody in a session.

    Attributes:
        user_id: None takes the next free one.
        talking: from the moment of joining, until told otherwise.
        camera: on from the moment of joining.
        wav: 16-bit PCM to play in a loop instead of the made-up voice.
    """

    user_name: str
    user_id: int | None = None
    talking: bool = True
    camera: bool = False
    wav: Path | None = None


@attrs.frozen(kw_only=True)
class SimRoom:
    """A session that is going on, with a stream or without one; `Simulator.start_stream` starts one.

    Attributes:
        product: a key of `PRODUCTS`.
        media: what the app has scopes for.
        details: further fields of the started webhook, as `account_id`.
    """

    session_id: str
    people: tuple[Person, ...]
    product: str
    session_key: str
    media: MediaType
    details: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Dialect:
    """How the server writes. Every departure from the default is something a client must put up with.

    Attributes:
        binary: binary instead of text frames.
        shuffled_keys: the keys of every object in reverse order.
        string_ids: user ids as decimal strings.
        names: user names in media data.
        length: the `length` field in media data.
        extra_fields: fields no document mentions.
        fragment_bytes: messages cut into WebSocket fragments of so many bytes; 0 never.
        keep_alive_sequence: `sequence` in keep-alive requests.
        jitter_ms: audio timestamps up to so much off their grid, both ways.
    """

    binary: bool = False
    shuffled_keys: bool = False
    string_ids: bool = False
    names: bool = True
    length: bool = True
    extra_fields: bool = False
    fragment_bytes: int = 0
    keep_alive_sequence: bool = True
    jitter_ms: int = 0

    @property
    def plain(self) -> bool:
        """Say whether audio may take the prepared way: text frames with all fields in their usual order."""
        return not (
            self.binary or self.shuffled_keys or self.string_ids or self.extra_fields or self.fragment_bytes
        ) and (self.names and self.length)
