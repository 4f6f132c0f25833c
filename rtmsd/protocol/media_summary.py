"""Media parameters in words, for people and for manifests: the names and units of the configuration."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

import attrs

from rtmsd.protocol.enums import ContentType, DataOption, PayloadType, Resolution, SampleRate
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_params import MediaParams
from rtmsd.protocol.media_types import NAMES, SECTIONS


def summary(params: MediaParams) -> dict[str, dict[str, Any]]:
    """Return the parameters of each medium that is there. Streams share what is in it."""
    return {
        NAMES[bit]: _section(section)
        for name, bit in SECTIONS.items()
        if (section := getattr(params, name)) is not None
    }


@lru_cache(maxsize=64)  # nearly all streams have the same
def _section(section: Any) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for field, value in attrs.asdict(section).items():
        name, describe = _FIELDS.get(field, (field, _unchanged))
        described[name] = None if value is None else describe(value)
    return described


def _unchanged(value: Any) -> Any:
    return value


def _name(names: type[IntEnum]) -> Callable[[int], str | int]:
    """Return a function that names a number, and leaves one that is not known as it is."""

    def name(value: int) -> str | int:
        return names(value).name if value in {member.value for member in names} else value

    return name


def _hertz(index: int) -> int:
    """Return the rate of an index; one that is not known as it is: far below any rate."""
    return SampleRate(index).hz if index in {rate.value for rate in SampleRate} else index


_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "content_type": ("content_type", _name(ContentType)),
    "codec": ("codec", _name(PayloadType)),
    "sample_rate": ("sample_rate_hz", _hertz),
    "channel": ("channels", _unchanged),
    "data_opt": ("data_opt", _name(DataOption)),
    "send_rate": ("send_rate_ms", _unchanged),
    "resolution": ("resolution", _name(Resolution)),
    "src_language": ("language", _name(TranscriptLanguage)),
    "enable_lid": ("detect_language", _unchanged),
}
