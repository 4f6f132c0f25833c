"""The settings of a simulator, its sessions and its messages."""

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.products import IdKey, SpeakerKey
from rtmsd.simulator.model.answers import AS_ASKED, Answers

Addresses: TypeAlias = Literal["ws", "srt"]
DuplicateSignaling: TypeAlias = Literal["refuse", "evict"]
"""What a second signaling connection of a stream meets: "refuse" answers it with status 8, as Zoom's documents say;
"evict" accepts it and closes the first one with its media, as partners' texts say. An eviction sends no webhook: the
stream is never without signaling."""
WebhookRoute: TypeAlias = Literal["round-robin", "random", "first"]
"""Which of several URLs a webhook is posted to: each in turn, any, or always the first."""


class Tone(enum.Enum):
    """The content of a participant's packets."""

    SPEECH = "speech"  # speech-like, another voice for each participant
    MARKED = "marked"  # every packet names its participant and its number: see `marks.py`


@attrs.frozen(kw_only=True)
class Timing:
    """Zoom's delays and windows, in Zoom's seconds: `SimulatorSettings.speed` shortens them all."""

    keep_alive_s: float = 10
    keep_alive_misses: int = 3  # unanswered requests in a row until the connection is cut
    signaling_window_s: float = 60
    media_window_s: float = 65
    attach_window_s: float = 60  # from the start to the first attachment, or the stream ends
    buffer_s: float = 60  # audio older than this is given up
    utterance_s: float = 4  # the longest transcript of continuous speech
    transcript_lag_s: float = 1.5
    stop_grace_s: float = 0.5  # between "terminating" and "terminated"
    webhook_retry_s: tuple[float, ...] = (300, 1200, 3600)  # after a 5xx, a timeout or no connection


def _urls(given: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """The settings of one simulator; the defaults listen on a free loopback port and post no webhooks.

    Attributes:
        webhook_url: where events are posted: a URL, or several of one client behind a balancer, which Zoom knows
            nothing of; None only records them, for a client that gets its URL otherwise.
        webhook_route: of several URLs, which one is chosen for each POST.
        webhook_failover: the balancer tries the next URL after a 5xx, without a connection, and without an answer
            within `webhook_try_s`; the answer to the last one is Zoom's.
        webhook_try_s: local seconds.
        webhook_keep_alive: False posts each on a connection of its own, which any of several processes may accept.
        webhook_ca_file: a CA for `webhook_url`, beside the system's.
        webhook_timeout_s: local seconds, whatever the speed and for all tries together: Zoom waits 3.
        tls: wss://, with a certificate of the CA in `ca_file`, or of a temporary one (`Simulator.ca_pem`).
        ca_file: holds the CA, with its private key beside it; created when missing.
        speed: Zoom's seconds in one local second.
        duplicate_signaling: for streams whose session does not say otherwise (`SimRoom`).
        name_processes: find the process of each connection, for the record (`Peer.pid`): a millisecond for each.
        strict: False accepts what Zoom's own samples do contrary to the documents: one message 7 for several media
            connections, image codecs above their frame rate (27, 33), subscriptions as bare numbers.
        handshake_s: local seconds until a new connection must have sent its handshake.
        close_s: local seconds for a client's answer to a close frame.
        api_key, api_secret, account_id: of the REST API; for meetings the client and the account of the OAuth app.
    """

    webhook_url: tuple[str, ...] = attrs.field(default=None, converter=_urls)
    webhook_route: WebhookRoute = "round-robin"
    webhook_failover: bool = False
    webhook_try_s: float = 1
    webhook_keep_alive: bool = True
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
    duplicate_signaling: DuplicateSignaling = "refuse"
    name_processes: bool = False
    strict: bool = True
    tone: Tone = Tone.SPEECH
    timing: Timing = Timing()
    handshake_s: float = 10
    close_s: float = 1
    api_key: str = "simulatedApiKey"
    api_secret: str = attrs.field(default="simulated-api-secret-of-32-bytes-or-more", repr=False)
    account_id: str = "AcctDemo_001"


@attrs.frozen(kw_only=True)
class Person:
    """A person in a session.

    Attributes:
        user_id: None takes the next free one.
        talking: from the moment of joining.
        camera: on from the moment of joining.
        wav: 16-bit PCM to play in a loop instead of the synthetic voice; as Opus with `rtmsd[media]` only.
    """

    user_name: str
    user_id: int | None = None
    talking: bool = True
    camera: bool = False
    wav: Path | None = None


@attrs.frozen(kw_only=True)
class SimRoom:
    """A running session, with or without a stream; `Simulator.start_stream` starts one.

    Attributes:
        product: a key of `protocol.products.PRODUCTS`.
        media: the app has scopes for these.
        details: further fields of the started webhook, as `account_id`.
        id_key: of its id, in webhooks and handshakes.
        speaker_key: names people in media and events.
        protocol_version: that the server answers with; handshakes may ask for it, or for 1.
        addresses: of media servers, for WebSocket, or for another transport alone.
        answers: what media handshakes are granted instead of what they ask for.
        duplicate_signaling: what a second signaling connection meets.
    """

    session_id: str
    people: tuple[Person, ...]
    product: str
    session_key: str
    media: MediaType
    details: Mapping[str, Any]
    id_key: IdKey
    speaker_key: SpeakerKey
    protocol_version: int = 1
    addresses: Addresses = "ws"
    answers: Answers = AS_ASKED
    duplicate_signaling: DuplicateSignaling = "refuse"


def _up_to(most: int) -> Any:
    return attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(most))


ChatShape: TypeAlias = Literal["inside", "encoded", "beside"]


@attrs.frozen(kw_only=True)
class Dialect:
    """The way a server writes messages. A client must accept every departure from the default.

    Attributes:
        binary: binary instead of text frames.
        shuffled_keys: the keys of every object in reverse order.
        string_ids: user ids as decimal strings.
        names: user names in media data.
        length: the `length` field in media data.
        extra_fields: undocumented fields.
        fragment_bytes: size of the WebSocket fragments of a message; 0 for no fragments.
        keep_alive_sequence: `sequence` in keep-alive requests.
        chat_shape: where the fields of a chat message are: an object in `data`, JSON text there, or beside it.
        jitter_ms: greatest deviation of audio timestamps from their grid, both ways.
        rtp_csrcs: contributing sources in RTP headers, at most 15.
        rtp_extension_words: size of the RTP header extension, at most 65535; 0 for none.
        rtp_padding_bytes: behind the audio in RTP, at most 255; 0 for none.
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
    chat_shape: ChatShape = "inside"
    rtp_csrcs: int = attrs.field(default=0, validator=_up_to(15))
    rtp_extension_words: int = attrs.field(default=0, validator=_up_to(0xFFFF))
    rtp_padding_bytes: int = attrs.field(default=0, validator=_up_to(0xFF))

    @property
    def plain(self) -> bool:
        """Whether audio may be sent as prepared bytes: text frames with all fields in their usual order."""
        return not (
            self.binary or self.shuffled_keys or self.string_ids or self.extra_fields or self.fragment_bytes
        ) and (self.names and self.length)
