"""The answers to media handshakes that grant something else than was asked for, as Zoom may.

Names and values are those of the daemon's configuration.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from rtmsd.protocol.enums import ContentType, DataOption, PayloadType, Resolution, SampleRate
from rtmsd.protocol.media_params import MediaParams

# A codec brings the only rate, number of channels and interval that it has, unless they are given, too.
_FIXED: Final[Mapping[PayloadType, Mapping[str, int]]] = {
    PayloadType.G711: {"sample_rate": SampleRate.RATE_8K, "channel": 1, "send_rate": 20},
    PayloadType.G722: {"sample_rate": SampleRate.RATE_16K, "channel": 1, "send_rate": 20},
    PayloadType.OPUS: {"sample_rate": SampleRate.RATE_48K, "send_rate": 20},
}
_CONTENTS: Final = {"raw": ContentType.RAW_AUDIO, "rtp": ContentType.RTP}
_STREAMS: Final = {"per-participant": DataOption.AUDIO_MULTI_STREAMS, "mixed": DataOption.AUDIO_MIXED_STREAM}


@attrs.frozen(kw_only=True)
class AudioAnswer:
    """The audio that is granted; None leaves a field as it was asked for."""

    codec: Literal["L16", "G711", "G722", "OPUS"] | None = None
    content: Literal["raw", "rtp"] | None = None
    sample_rate_hz: Literal[8000, 16000, 32000, 48000] | None = None
    channels: Literal[1, 2] | None = None
    streams: Literal["per-participant", "mixed"] | None = None
    send_rate_ms: int | None = None

    def fields(self) -> dict[str, int]:
        given = {
            "codec": self.codec and PayloadType[self.codec],
            "content_type": self.content and _CONTENTS[self.content],
            "sample_rate": next((rate for rate in SampleRate if rate.hz == self.sample_rate_hz), None),
            "channel": self.channels,
            "data_opt": self.streams and _STREAMS[self.streams],
            "send_rate": self.send_rate_ms,
        }
        fixed = {} if self.codec is None else _FIXED.get(PayloadType[self.codec], {})
        return {**fixed, **{name: value for name, value in given.items() if value is not None}}


@attrs.frozen(kw_only=True)
class PictureAnswer:
    """The video, or share, that is granted; None leaves a field as it was asked for."""

    codec: Literal["JPG", "PNG", "H264"] | None = None
    resolution: Literal["SD", "HD", "FHD", "QHD"] | None = None
    fps: int | None = None

    def fields(self) -> dict[str, int]:
        given = {
            "codec": self.codec and PayloadType[self.codec],
            "resolution": self.resolution and Resolution[self.resolution],
            "fps": self.fps,
        }
        return {name: value for name, value in given.items() if value is not None}


@attrs.frozen(kw_only=True)
class Answers:
    """The parameters that are granted instead of those asked for, by media."""

    audio: AudioAnswer = AudioAnswer()
    video: PictureAnswer = PictureAnswer()
    share: PictureAnswer = PictureAnswer()

    def to(self, params: MediaParams) -> MediaParams:
        """Return the answer to complete parameters; media that were not asked for are left out."""
        changes: dict[str, Any] = {}
        for section, answer in (("audio", self.audio), ("video", self.video), ("deskshare", self.share)):
            asked = getattr(params, section)
            if asked is not None:
                changes[section] = attrs.evolve(asked, **answer.fields())
        return attrs.evolve(params, **changes)


AS_ASKED: Final = Answers()
