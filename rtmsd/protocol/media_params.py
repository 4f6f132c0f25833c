"""Media parameters: defaults, what a server makes of a request, what was agreed on, and where to ask.

Source: Zoom documentation, "Media parameter definitions". The combinations that it allows are in `media_matrix.py`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import attrs

from rtmsd.errors import RemoteProtocolError
from rtmsd.protocol.addresses import websocket_url
from rtmsd.protocol.enums import ContentType, DataOption, MediaType, PayloadType, Resolution, SampleRate
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_types import SECTIONS, URL_KEYS
from rtmsd.protocol.products import product_of

# None means "left out", and the wire's default or the request applies.


@attrs.frozen(kw_only=True)
class AudioParams:
    content_type: int | None = None
    sample_rate: int | None = None  # index of `SampleRate`, not hertz
    channel: int | None = None
    codec: int | None = None
    data_opt: int | None = None
    send_rate: int | None = None  # milliseconds a packet


@attrs.frozen(kw_only=True)
class VideoParams:
    content_type: int | None = None
    codec: int | None = None
    resolution: int | None = None
    fps: int | None = None
    data_opt: int | None = None


@attrs.frozen(kw_only=True)
class DeskshareParams:
    content_type: int | None = None
    codec: int | None = None
    resolution: int | None = None
    fps: int | None = None


@attrs.frozen(kw_only=True)
class TranscriptParams:
    content_type: int | None = None
    src_language: int | None = None
    enable_lid: bool | None = None


@attrs.frozen(kw_only=True)
class ChatParams:
    content_type: int | None = None


@attrs.frozen(kw_only=True)
class MediaParams:
    audio: AudioParams | None = None
    video: VideoParams | None = None
    deskshare: DeskshareParams | None = None
    transcript: TranscriptParams | None = None
    chat: ChatParams | None = None


DEFAULTS: Final = MediaParams(
    audio=AudioParams(
        content_type=ContentType.RAW_AUDIO,
        sample_rate=SampleRate.RATE_16K,
        channel=1,
        codec=PayloadType.L16,
        data_opt=DataOption.AUDIO_MIXED_STREAM,
        send_rate=20,
    ),
    video=VideoParams(
        content_type=ContentType.RAW_VIDEO,
        codec=PayloadType.JPG,
        resolution=Resolution.HD,
        fps=5,
        data_opt=DataOption.VIDEO_SINGLE_ACTIVE_STREAM,
    ),
    deskshare=DeskshareParams(
        content_type=ContentType.RAW_VIDEO, codec=PayloadType.JPG, resolution=Resolution.FHD, fps=1
    ),
    transcript=TranscriptParams(
        content_type=ContentType.TEXT, src_language=TranscriptLanguage.ENGLISH, enable_lid=True
    ),
    chat=ChatParams(content_type=ContentType.TEXT),
)

MAX_SEND_RATE_MS: Final = 1000
MAX_IMAGE_FPS: Final = 5  # of JPG and PNG; for share Zoom's prose says 1 and its enum comment 5


# Requests and answers


@lru_cache(maxsize=64)  # nearly all streams ask for the same
def with_defaults(params: MediaParams, types: MediaType) -> MediaParams:
    """Return what a server makes of a request: the wanted sections only, every field set, fallbacks applied.

    A send rate beyond 1000 ms becomes 1000; video faster than 5 fps (share: 1) without a codec becomes JPG at 5 (1).
    """
    return MediaParams(
        **{section: _effective(getattr(params, section), section) for section in SECTIONS if _wants(types, section)}
    )


def only(params: MediaParams, types: MediaType) -> MediaParams:
    """Return the sections of `params` that `types` asks for, as they are."""
    return MediaParams(**{section: getattr(params, section) for section in SECTIONS if _wants(types, section)})


def negotiated(asked: MediaParams, echoed: MediaParams | None) -> MediaParams:
    """Return what was agreed on: as requested, except where the server echoed something else.

    Sections that were not requested are ignored.
    """
    return only(_overlay(asked, echoed or MediaParams()), requested(asked))


def requested(params: MediaParams) -> MediaType:
    """Return the bits of the sections that there are."""
    return MediaType(sum(bit for section, bit in SECTIONS.items() if getattr(params, section)))


def absent(asked: MediaType, echoed: MediaParams | None) -> MediaType:
    """Return what was asked for and is not granted: an answer that names any media names all that it grants."""
    granted = requested(echoed or MediaParams())
    return asked & ~granted if granted else MediaType(0)


@attrs.frozen
class Difference:
    """A field that was asked for with one value and is another: `media` and `field` as on the wire."""

    media: str
    field: str
    asked: int
    got: int


def differences(asked: MediaParams, got: MediaParams) -> list[Difference]:
    """List what was asked for and became something else, as multi-stream audio that was granted mixed.

    With `with_defaults(asked, types)` for `got`: what a server would silently change.
    """
    return [
        Difference(section, field.name, asked_value, got_value)
        for section in SECTIONS
        if (asked_section := getattr(asked, section)) and (got_section := getattr(got, section))
        for field in attrs.fields(type(asked_section))
        if (asked_value := getattr(asked_section, field.name)) is not None
        and (got_value := getattr(got_section, field.name)) not in (None, asked_value)
    ]


def _wants(types: MediaType, section: str) -> bool:
    return bool(types & (SECTIONS[section] | MediaType.ALL))


def _effective(requested: Any, section: str) -> Any:
    """Return one section as a server completes it; `requested` may be None."""
    default = getattr(DEFAULTS, section)
    complete = _overlay(default, requested) if requested else default
    if section == "audio" and complete.send_rate > MAX_SEND_RATE_MS:
        return attrs.evolve(complete, send_rate=MAX_SEND_RATE_MS)
    if section in ("video", "deskshare") and requested and requested.codec is None:
        image_fps = MAX_IMAGE_FPS if section == "video" else default.fps
        return attrs.evolve(complete, fps=min(complete.fps, image_fps))
    return complete


_Params = TypeVar("_Params", bound=attrs.AttrsInstance)


def _overlay(below: _Params, above: _Params) -> _Params:
    """Return `below` with every field that is set in `above`, nested sections field by field."""
    values: dict[str, Any] = {}
    for field in attrs.fields(type(below)):
        old, new = getattr(below, field.name), getattr(above, field.name)
        nested = new is not None and attrs.has(type(old))
        values[field.name] = _overlay(old, new) if nested else old if new is None else new
    return type(below)(**values)


# The agreed audio format


@attrs.frozen
class AudioFormat:
    """The negotiated content of audio packets. `is_rtp`: behind RTP headers, or so the answer said."""

    codec: PayloadType
    rate_hz: int
    channels: int
    mixed: bool
    send_rate_ms: int
    is_rtp: bool = False


def audio_format(params: AudioParams) -> AudioFormat:
    """Return the format that negotiated `params` describe; a field left out has the wire's default.

    Raises:
        RemoteProtocolError: a codec, sample rate or number of channels that this version cannot read.
    """
    audio = _effective(params, "audio")
    try:
        codec, rate_hz = PayloadType(audio.codec), SampleRate(audio.sample_rate).hz
    except ValueError as exc:
        raise RemoteProtocolError(f"negotiated audio: {exc}") from None
    if audio.channel not in (1, 2):
        raise RemoteProtocolError(f"negotiated audio: {audio.channel} channels")
    return AudioFormat(
        codec=codec,
        rate_hz=rate_hz,
        channels=audio.channel,
        mixed=audio.data_opt != DataOption.AUDIO_MULTI_STREAMS,
        send_rate_ms=audio.send_rate,
        is_rtp=audio.content_type == ContentType.RTP,
    )


# The URL to ask


def choose_url(media_urls: Mapping[str, str], media: MediaType, product: str = "session") -> str | None:
    """Return the URL for a media connection, or None when there is no WebSocket URL at all.

    Args:
        media_urls: of message 2.
        media: one type, or for a unified connection several bits or ALL.
        product: as in `StartStream`.
    """
    keys = URL_KEYS.get(media, product_of(product).unified_urls)
    usable = {key: url for key, named in media_urls.items() if (url := websocket_url(named)) is not None}
    named = (usable[key] for key in (*keys, "all") if key in usable)
    return next(named, next(iter(usable.values()), None))
