"""Media types, as configuration, manifest and metrics spell them and as refusals number them."""

from collections.abc import Mapping
from typing import Final

from rtmsd.protocol.enums import MediaType, StatusCode

NAMES: Final[Mapping[MediaType, str]] = {
    MediaType.AUDIO: "audio",
    MediaType.VIDEO: "video",
    MediaType.DESKSHARE: "share",
    MediaType.TRANSCRIPT: "transcript",
    MediaType.CHAT: "chat",
}

REFUSED_TYPE: Final[Mapping[int, MediaType]] = {
    StatusCode.MEDIA_TYPE_AUDIO_NOT_SUPPORT: MediaType.AUDIO,
    StatusCode.MEDIA_TYPE_VIDEO_NOT_SUPPORT: MediaType.VIDEO,
    StatusCode.MEDIA_TYPE_DESKSHARE_NOT_SUPPORT: MediaType.DESKSHARE,
    StatusCode.MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT: MediaType.TRANSCRIPT,
    StatusCode.MEDIA_TYPE_CHAT_NOT_SUPPORT: MediaType.CHAT,
}


def names_of(types: MediaType) -> frozenset[str]:
    return frozenset(name for bit, name in NAMES.items() if bit & types)
