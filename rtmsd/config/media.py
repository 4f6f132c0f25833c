"""The section `[media]`, and its translation into the wire's parameters."""

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeAlias

import attrs

from rtmsd.config.rules.values import Between, Mistake, no_repeats, not_empty
from rtmsd.protocol.enums import ContentType, DataOption, MediaType, PayloadType, Resolution, SampleRate
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_params import (
    DEFAULTS,
    AudioParams,
    DeskshareParams,
    MediaParams,
    TranscriptParams,
    VideoParams,
    only,
)
from rtmsd.protocol.media_types import NAMES

MediaName: TypeAlias = Literal["audio", "video", "share", "transcript", "chat"]
ImageCodec: TypeAlias = Literal["JPG", "PNG", "H264"]
ResolutionName: TypeAlias = Literal["SD", "HD", "FHD", "QHD"]

MAX_APPS: Final = 1000  # so many apps' settings are remembered, which each stream asks for

_TYPES: Final = {name: bit for bit, name in NAMES.items()}
_AUDIO_STREAMS: Final = {"per-participant": DataOption.AUDIO_MULTI_STREAMS, "mixed": DataOption.AUDIO_MIXED_STREAM}
_VIDEO_STREAMS: Final = {
    "active-speaker": DataOption.VIDEO_SINGLE_ACTIVE_STREAM,
    "individual": DataOption.VIDEO_SINGLE_INDIVIDUAL_STREAM,
}
_CONTENTS: Final = {"raw": ContentType.RAW_AUDIO, "rtp": ContentType.RTP}
_SAMPLE_RATES: Final = {rate.hz: rate for rate in SampleRate}
LANGUAGES: Final[Mapping[str, TranscriptLanguage]] = {
    "auto" if language is TranscriptLanguage.NONE else language.name.lower().replace("_", "-"): language
    for language in TranscriptLanguage
}


def _language(name: str) -> None:
    if name not in LANGUAGES:
        near = difflib.get_close_matches(name.lower(), LANGUAGES, n=1)
        instead = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(LANGUAGES)}"
        raise Mistake(f"{name!r} is not a language of Zoom's transcripts; {instead}")


@attrs.frozen(kw_only=True)
class AudioConfig:
    codec: Literal["L16", "G711", "G722", "OPUS"] = "L16"
    sample_rate_hz: Literal[8000, 16000, 32000, 48000] = 16000
    channels: Literal[1, 2] = 1
    content: Literal["raw", "rtp"] = "raw"
    streams: Literal["per-participant", "mixed"] = "per-participant"
    send_rate_ms: Annotated[int, Between(20, 1000)] = 100

    def params(self) -> AudioParams:
        return AudioParams(
            content_type=_CONTENTS[self.content],
            sample_rate=_SAMPLE_RATES[self.sample_rate_hz],
            channel=self.channels,
            codec=PayloadType[self.codec],
            data_opt=_AUDIO_STREAMS[self.streams],
            send_rate=self.send_rate_ms,
        )


@attrs.frozen(kw_only=True)
class VideoConfig:
    """The active speaker's video, or one participant's at a time; the defaults are the wire's.

    Attributes:
        follow, switch_after_s: whose video is asked for, and how soon another's; with "individual" alone.
    """

    codec: ImageCodec = "JPG"
    resolution: ResolutionName = "HD"
    fps: Annotated[int, Between(1, 30)] = 5
    streams: Literal["active-speaker", "individual"] = "active-speaker"
    follow: Literal["active-speaker", "first-camera", "manual"] = "active-speaker"
    switch_after_s: Annotated[float, Between(0, 3600)] = 2.0

    def params(self) -> VideoParams:
        return VideoParams(
            content_type=ContentType.RAW_VIDEO,
            codec=PayloadType[self.codec],
            resolution=Resolution[self.resolution],
            fps=self.fps,
            data_opt=_VIDEO_STREAMS[self.streams],
        )


@attrs.frozen(kw_only=True)
class ShareConfig:
    """Shared screens, `deskshare` on the wire; the defaults are the wire's."""

    codec: ImageCodec = "JPG"
    resolution: ResolutionName = "FHD"
    fps: Annotated[int, Between(1, 30)] = 1

    def params(self) -> DeskshareParams:
        return DeskshareParams(
            content_type=ContentType.RAW_VIDEO,
            codec=PayloadType[self.codec],
            resolution=Resolution[self.resolution],
            fps=self.fps,
        )


@attrs.frozen(kw_only=True)
class TranscriptConfig:
    language: Annotated[str, _language] = "english"
    detect_language: bool = True

    def params(self) -> TranscriptParams:
        return TranscriptParams(
            content_type=ContentType.TEXT, src_language=LANGUAGES[self.language], enable_lid=self.detect_language
        )


@attrs.frozen(kw_only=True)
class MediaConfig:
    types: Annotated[tuple[MediaName, ...], not_empty, no_repeats] = ("audio", "transcript")
    connections: Literal["split", "unified"] = "split"
    audio: AudioConfig = AudioConfig()
    video: VideoConfig = VideoConfig()
    share: ShareConfig = ShareConfig()
    transcript: TranscriptConfig = TranscriptConfig()

    @property
    def requested(self) -> MediaType:
        """The bits of `types`; never the sentinel `MediaType.ALL`."""
        bits = MediaType(0)
        for name in self.types:
            bits |= _TYPES[name]
        return bits

    def params(self) -> MediaParams:
        """The parameters of message 3; media that are not in `types` are left out."""
        return _params(self)


@lru_cache(maxsize=MAX_APPS)
def _params(config: MediaConfig) -> MediaParams:
    everything = attrs.evolve(
        DEFAULTS,
        audio=config.audio.params(),
        video=config.video.params(),
        deskshare=config.share.params(),
        transcript=config.transcript.params(),
    )
    return only(everything, config.requested)
