"""Media types: the names that configuration, manifest, metrics and the wire have for each, and its numbers.

A new medium needs its numbers in `enums.py`, and nothing here unless Zoom names it in yet another way.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rtmsd.protocol.enums import MediaType, MsgType, StatusCode

SECTIONS: Final[Mapping[str, MediaType]] = {
    name.lower(): bit for name, bit in MediaType.__members__.items() if bit is not MediaType.ALL
}
"""The attributes of `MediaParams`, and the bit that asks for each."""

NAMES: Final[Mapping[MediaType, str]] = {
    bit: "share" if bit is MediaType.DESKSHARE else section for section, bit in SECTIONS.items()
}
TEXTS: Final = tuple(name for name in NAMES.values() if name not in {"audio", "video", "share"})
"""The media that are kept as lines, in `<name>.jsonl`."""

URL_KEYS: Final[Mapping[MediaType, tuple[str, ...]]] = {
    **{bit: (section,) for section, bit in SECTIONS.items()},
    MediaType.DESKSHARE: ("deskshare", "share", "sharescreen"),
}
MESSAGES: Final[Mapping[int, MediaType]] = {MsgType[f"MEDIA_DATA_{name.upper()}"]: bit for bit, name in NAMES.items()}
REFUSED_TYPE: Final[Mapping[int, MediaType]] = {
    StatusCode[code]: bit for bit in NAMES if (code := f"MEDIA_TYPE_{bit.name}_NOT_SUPPORT") in StatusCode.__members__
}


@lru_cache(maxsize=64)  # of all sets of them
def names_of(types: MediaType) -> frozenset[str]:
    return frozenset(name for bit, name in NAMES.items() if bit & types)
