"""Media parameters: what is valid, what a server makes of it, what was agreed on, and where to ask.

The same rules serve the configuration, before anything is sent, and the strict simulator, which answers with their
status codes. Source: Zoom documentation, "Media parameter definitions".
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeVar

import attrs

from rtmsd.errors import RemoteProtocolError
from rtmsd.protocol.enums import (
    ContentType,
    DataOption,
    MediaType,
    PayloadType,
    Resolution,
    SampleRate,
    StatusCode,
)
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.messages import (
    AudioParams,
    ChatParams,
    DeskshareParams,
    MediaParams,
    TranscriptParams,
    VideoParams,
)
from rtmsd.protocol.products import product_of

# The attributes of `MediaParams` and the bit that asks for each.
SECTIONS: Final[Mapping[str, MediaType]] = {
    "audio": MediaType.AUDIO,
    "video": MediaType.VIDEO,
    "deskshare": MediaType.DESKSHARE,
    "transcript": MediaType.TRANSCRIPT,
    "chat": MediaType.CHAT,
}

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
MAX_FPS: Final = 30
MAX_IMAGE_FPS: Final = 5  # of JPG and PNG; for share Zoom's prose says 1 and its enum comment 5


# What is asked for, with the blanks filled in


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


# What audio was agreed on


@attrs.frozen
class AudioFormat:
    """What the packets of an audio connection hold, as negotiated. `is_rtp`: behind RTP headers, or so it was said."""

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


# Where to ask for it


_URL_KEYS: Final[Mapping[MediaType, tuple[str, ...]]] = {
    MediaType.AUDIO: ("audio",),
    MediaType.VIDEO: ("video",),
    MediaType.DESKSHARE: ("deskshare", "share", "sharescreen"),
    MediaType.TRANSCRIPT: ("transcript",),
    MediaType.CHAT: ("chat",),
}


def choose_url(media_urls: Mapping[str, str], media: MediaType, product: str = "session") -> str | None:
    """Return the URL for a media connection, or None when there is no WebSocket URL at all.

    Args:
        media_urls: of message 2.
        media: one type, or for a unified connection several bits or ALL.
        product: as in `StartStream`.
    """
    keys = _URL_KEYS.get(media, product_of(product).unified_urls)
    usable = {key: url for key, url in media_urls.items() if url.lower().startswith(("wss://", "ws://"))}
    named = (usable[key] for key in (*keys, "all") if key in usable)
    return next(named, next(iter(usable.values()), None))


# What is valid


@attrs.frozen
class ParamMistake:
    """Why a server would refuse these parameters.

    Attributes:
        media: section of `MediaParams`.
        field: the wire's name of the field.
        message: for a person: what is allowed.
        status: with which a server refuses.
    """

    media: str
    field: str
    message: str
    status: StatusCode


@attrs.frozen
class _AudioRow:
    """A row of Zoom's audio matrix: what goes with a pair of content type and codec."""

    sample_rates: Collection[int]
    channels: Collection[int]
    send_rates_ms: Collection[int]


_OPUS: Final = _AudioRow((SampleRate.RATE_48K,), (1, 2), (20,))
_G711: Final = _AudioRow((SampleRate.RATE_8K,), (1,), (20,))
_G722: Final = _AudioRow((SampleRate.RATE_16K,), (1,), (20,))
_AUDIO_MATRIX: Final[Mapping[tuple[int, int], _AudioRow]] = {
    (ContentType.RTP, PayloadType.OPUS): _OPUS,
    (ContentType.RTP, PayloadType.G711): _G711,
    (ContentType.RTP, PayloadType.G722): _G722,
    (ContentType.RAW_AUDIO, PayloadType.L16): _AudioRow(tuple(SampleRate), (1, 2), range(20, MAX_SEND_RATE_MS + 1, 20)),
    (ContentType.RAW_AUDIO, PayloadType.OPUS): _OPUS,
    (ContentType.RAW_AUDIO, PayloadType.G711): _G711,
    (ContentType.RAW_AUDIO, PayloadType.G722): _G722,
}
_AUDIO_CODECS: Final = tuple(dict.fromkeys(codec for _, codec in _AUDIO_MATRIX))
_AUDIO_OPTIONS: Final = (DataOption.AUDIO_MIXED_STREAM, DataOption.AUDIO_MULTI_STREAMS)
_VIDEO_OPTIONS: Final = (DataOption.VIDEO_SINGLE_ACTIVE_STREAM, DataOption.VIDEO_SINGLE_INDIVIDUAL_STREAM)
_IMAGES: Final = (PayloadType.JPG, PayloadType.PNG)


def check(params: MediaParams, types: MediaType) -> list[ParamMistake]:
    """List why a server would refuse `params`, in the order in which it looks; empty when they are valid.

    Defaults and fallbacks are applied first; sections that `types` does not ask for are ignored, as servers do.
    """
    complete = with_defaults(params, types)
    checks = (
        ("audio", complete.audio, _check_audio),
        ("video", complete.video, _check_video),
        ("deskshare", complete.deskshare, _check_video),
        ("transcript", complete.transcript, _check_text),
        ("chat", complete.chat, _check_text),
    )
    return [
        mistake
        for media, section, run in checks
        if section
        for mistake in sorted(run(media, section), key=lambda mistake: mistake.status)
    ]


def _check_audio(media: str, audio: Any) -> Iterator[ParamMistake]:
    content_types = [content for content, codec in _AUDIO_MATRIX if codec == audio.codec]
    if content_types:
        yield from _must(media, "content_type", audio.content_type, content_types)
    else:
        yield from _must(media, "codec", audio.codec, _AUDIO_CODECS)
    yield from _must(media, "data_opt", audio.data_opt, _AUDIO_OPTIONS)
    row = _AUDIO_MATRIX.get((audio.content_type, audio.codec))
    if row:
        with_codec = f" with {PayloadType(audio.codec).name}"
        yield from _must(media, "sample_rate", audio.sample_rate, row.sample_rates, with_codec)
        yield from _must(media, "channel", audio.channel, row.channels, with_codec)
        yield from _must(media, "send_rate", audio.send_rate, row.send_rates_ms, with_codec)


def _check_video(media: str, video: Any) -> Iterator[ParamMistake]:
    yield from _must(media, "content_type", video.content_type, (ContentType.RAW_VIDEO,))
    yield from _must(media, "codec", video.codec, (*_IMAGES, PayloadType.H264))
    yield from _must(media, "resolution", video.resolution, tuple(Resolution))
    if media == "video":
        yield from _must(media, "data_opt", video.data_opt, _VIDEO_OPTIONS)
    yield from _must(media, "fps", video.fps, range(1, MAX_FPS + 1))
    if video.codec in _IMAGES and MAX_IMAGE_FPS < video.fps <= MAX_FPS:
        message = f"must be H264 above {MAX_IMAGE_FPS} frames a second"
        yield ParamMistake(media, "codec", message, _status(media, "codec"))


def _check_text(media: str, text: Any) -> Iterator[ParamMistake]:
    yield from _must(media, "content_type", text.content_type, (ContentType.TEXT,))
    if media == "transcript":
        yield from _must(media, "src_language", text.src_language, tuple(TranscriptLanguage))


def _status(media: str, field: str) -> StatusCode:
    return StatusCode[f"INVALID_MEDIA_{media}_{field.replace('src', 'source')}".upper()]


def _must(media: str, field: str, value: int, allowed: Collection[int], why: str = "") -> Iterator[ParamMistake]:
    if value not in allowed:
        yield ParamMistake(media, field, f"must be {_in_words(allowed)}{why}", _status(media, field))


def _in_words(allowed: Collection[int]) -> str:
    if isinstance(allowed, range):
        steps = f" in steps of {allowed.step}" if allowed.step > 1 else ""
        return f"{allowed[0]} to {allowed[-1]}{steps}"
    return " or ".join(_name(value) for value in allowed)


def _name(value: int) -> str:
    if isinstance(value, SampleRate):
        return f"{value.hz} Hz"
    return str(getattr(value, "name", value))
