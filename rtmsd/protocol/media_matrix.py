"""The matrix of valid media parameters, for the configuration before anything is sent, and for the strict simulator.

Source: Zoom documentation, "Media parameter definitions".
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import attrs

from rtmsd.protocol.enums import ContentType, DataOption, MediaType, PayloadType, Resolution, SampleRate, StatusCode
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_params import MAX_IMAGE_FPS, MAX_SEND_RATE_MS, MediaParams, with_defaults
from rtmsd.protocol.media_types import SECTIONS

MAX_FPS: Final = 30


@attrs.frozen
class ParamMistake:
    """The reason why a server would refuse these parameters.

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
    checks = {"audio": _check_audio, "video": _check_video, "deskshare": _check_video}
    return [
        mistake
        for media in SECTIONS
        if (section := getattr(complete, media))
        for mistake in sorted(checks.get(media, _check_text)(media, section), key=lambda mistake: mistake.status)
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
